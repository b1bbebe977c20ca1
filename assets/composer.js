// How many images a press makes, of which prompts, and with which seeds and styles; and what that would be, while one types.
(() => {
  const sd35 = (window.sd35 ??= {});
  const { create } = sd35;
  const byId = (id) => document.getElementById(id);

  // ---- The options --------------------------------------------------------------------------------

  const DEFAULTS = { count: 1, one_per_line: false, seeds: "increment", combinations: false, is_literal: false, styles: [] };
  const MAX_COUNT = 8;

  let options = { ...DEFAULTS };
  const sentTexts = []; // on their way to Gradio's component, which tells of each change

  const isNameList = (value) => Array.isArray(value) && value.every((name) => typeof name === "string");
  // What a draft or another page has written may be anything.
  const parse = (text) => {
    let saved = null;
    try {
      saved = JSON.parse(text);
    } catch {
      // an empty text: the defaults
    }
    const { count, one_per_line, seeds, combinations, is_literal, styles } = saved ?? {};
    return {
      count: Number.isInteger(count) && count >= 1 && count <= MAX_COUNT ? count : 1,
      one_per_line: one_per_line === true,
      seeds: seeds === "fixed" ? "fixed" : "increment",
      combinations: combinations === true,
      is_literal: is_literal === true,
      styles: isNameList(styles) ? styles : [],
    };
  };
  const announceChange = () => {
    showOptions();
    askSoon();
    document.dispatchEvent(new CustomEvent("sd35:batch-options", { detail: sd35.batchOptions() }));
  };

  // ---- The draw: which random seeds the next press has --------------------------------------------

  const newDraw = () => Number(crypto.getRandomValues(new BigUint64Array(1))[0] >> 11n);
  let draw = newDraw();

  // ---- What a press would make --------------------------------------------------------------------

  const TYPING_DELAY = 250; // ms
  const MAX_TYPING = 1500; // ms
  const ANSWER_TIME = 20_000; // ms after which a question counts as lost

  let values = null; // of the form, as Gradio has them
  let plan = null; // the newest answer
  let plannedText = ""; // the prompt that it is about
  let requestId = 0;
  let askedAt = 0; // 0: every question was answered
  let isStale = false;
  let timer = 0;
  let dueAt = Infinity;

  const prompts = () => document.querySelectorAll("#prompt-area textarea");
  const promptText = () => prompts()[0]?.value ?? "";
  const [SEED_INDEX, RANDOM_INDEX] = [7, 8]; // in the order of the form
  const isRandom = () => values === null || values[RANDOM_INDEX] === true || ["", "-1"].includes(String(values[SEED_INDEX] ?? "").trim());

  const ask = () => {
    dueAt = Infinity;
    if (promptText().trim() === "") return showPlan(null);
    isStale = askedAt > 0 && Date.now() - askedAt < ANSWER_TIME;
    if (isStale) return; // asked again after the answer
    requestId += 1;
    askedAt = Date.now();
    plannedText = promptText();
    sd35.raise("plan", { action: "plan", request_id: requestId, draw, batch: sd35.batchText() });
  };
  const askSoon = (delay = TYPING_DELAY) => {
    clearTimeout(timer);
    dueAt = Math.min(dueAt, Date.now() + MAX_TYPING); // who types on and on sees it, too
    timer = setTimeout(ask, Math.max(0, Math.min(delay, dueAt - Date.now())));
  };

  let isChosen = false; // an option, for which a screen reader says what a press makes now
  const showPlan = (answer) => {
    plan = answer;
    if (isChosen && plan !== null) sd35.announce?.(plan.summary || plan.error?.message);
    isChosen = plan === null && isChosen;
    showSummary();
    showItems();
    showTokens();
    showTemplate();
    showSyntaxes();
    drawVeil();
  };

  // Shown at the prompt, as it has a place there.
  const isTemplateError = () => plan?.error?.is_template === true;
  const setText = (id, text) => {
    const element = byId(id);
    if (element !== null && element.textContent !== text) element.textContent = text;
  };
  const showSummary = () => {
    setText("press-summary", plan?.summary ?? "");
    setText("press-warning", plan?.warning ?? "");
    setText("press-error", isTemplateError() ? "" : plan?.error?.message ?? "");
    byId("press-plan")?.toggleAttribute("hidden", !plan?.summary);
    byId("seed-order")?.toggleAttribute("hidden", isRandom() || (plan?.image_count ?? 1) < 2);
  };

  const createItem = (item, index) => {
    const number = create("span", { className: "number", textContent: index + 1 });
    const prompt = create("span", { className: "prompt", textContent: item.prompt });
    return create("li", {}, number, prompt, create("span", { className: "seed", textContent: `seed ${item.seed}` }));
  };
  const showItems = () => {
    const list = byId("press-items");
    if (list === null || !byId("press-plan").open) return;
    const items = plan?.items ?? [];
    list.replaceChildren(...items.map(createItem));
    const rest = (plan?.image_count ?? 0) - items.length; // the server sends the first ones
    setText("press-rest", rest > 0 ? `and ${rest} more` : "");
  };

  const showTokens = () => {
    const tokens = plan?.tokens;
    const parts = [["CLIP", tokens?.clip], ["T5", tokens?.t5]].map(([name, estimate]) => {
      const isOver = Boolean(estimate) && estimate.count > estimate.limit;
      const text = estimate ? `${name} ~${estimate.count}/${estimate.limit}` : "";
      return create("span", { textContent: text, className: isOver ? "over" : "" });
    });
    const element = byId("token-counts");
    if (element === null || element.textContent === parts.map((part) => part.textContent).join("")) return;
    element.replaceChildren(...parts);
    byId("token-button").hidden = !tokens;
    if (!tokens) byId("token-help").hidden = true;
  };

  const createLink = (text, onclick) => create("button", { type: "button", textContent: text, onclick });
  const templateParts = () => {
    if (plan?.is_literal) return [create("span", { textContent: "Sent as plain text" }), createLink("Use as a template", () => setOptions({ is_literal: false }))];
    const asText = (text) => createLink(text, () => setOptions({ is_literal: true }));
    if (isTemplateError()) {
      return [create("span", { className: "wrong", textContent: plan.error.message }), asText("Send as plain text")];
    }
    const isAll = options.combinations;
    const other = createLink(isAll ? "Random ones" : "Make all", () => setOptions({ combinations: !isAll }));
    if (plan?.is_too_large) return [other, asText("Plain text")];
    if (!plan?.template) return [];
    return [create("span", { textContent: plan.template }), ...(plan.is_choice ? [other] : []), asText("Plain text")];
  };
  // Drawn anew only if it differs: a button that is drawn anew while it is pressed takes no click.
  const replaceIfChanged = (element, children) => {
    const next = create("div", {}, ...children);
    if (element === null || element.textContent === next.textContent) return;
    const index = [...element.querySelectorAll("button")].indexOf(document.activeElement);
    element.replaceChildren(...next.childNodes);
    if (index < 0) return;
    const buttons = element.querySelectorAll("button");
    (buttons[Math.min(index, buttons.length - 1)] ?? prompts()[0]).focus();
  };
  const showTemplate = () => replaceIfChanged(byId("template-line"), templateParts());

  // ---- Syntax without effect ----------------------------------------------------------------------

  const fieldOf = (syntax) => prompts()[syntax.field === "prompt" ? 0 : 1];
  // The server counts characters, JavaScript the halves of some.
  const sliceOf = (text, start, end) => [...text].slice(start, end).join("");
  const remove = (syntaxes) => {
    // From the end: the places of the others stay as they are.
    for (const syntax of [...syntaxes].reverse()) {
      const field = fieldOf(syntax);
      let start = sliceOf(field.value, 0, syntax.start).length;
      if (!field.value.startsWith(syntax.text, start)) start = field.value.lastIndexOf(syntax.text); // it was moved meanwhile
      if (start < 0) continue;
      field.focus();
      field.setSelectionRange(start, start + syntax.text.length);
      // As if it was typed, so that Ctrl+Z undoes it.
      if (syntax.replacement === "") document.execCommand("delete");
      else document.execCommand("insertText", false, syntax.replacement);
    }
  };
  const MAX_NAMED = 3;
  // The rows stay while the text around the syntax changes, and with it the places.
  const createSyntax = (syntax, index) => {
    const name = create("code", { textContent: syntax.text.length > 40 ? `${syntax.text.slice(0, 39)}…` : syntax.text });
    const button = createLink("Remove", () => remove(plan.syntaxes.slice(index, index + 1)));
    button.ariaLabel = `Remove ${syntax.text}`;
    return create("li", {}, create("span", {}, name, ` ${syntax.reason}`), button);
  };
  const showSyntaxes = () => {
    const syntaxes = plan?.syntaxes ?? [];
    const rows = syntaxes.slice(0, MAX_NAMED).map(createSyntax);
    if (syntaxes.length > 1) {
      const rest = syntaxes.length > MAX_NAMED ? `${syntaxes.length - MAX_NAMED} more. ` : "";
      rows.push(create("li", {}, rest, createLink(`Remove all ${syntaxes.length}`, () => remove(plan.syntaxes))));
    }
    replaceIfChanged(byId("syntax-list"), rows);
  };

  // ---- The veil: a copy of the prompt above it, without ink but for marks ---------------------------
  // What the model doesn't read is greyed, and wrong or useless syntax is underlined.

  const COPIED = ["font", "letterSpacing", "lineHeight", "padding", "borderWidth", "textAlign", "textIndent", "tabSize", "wordSpacing", "unicodeBidi", "direction"];
  let veil = null;
  let marks = []; // [{ start, end, name }], in halves of characters

  const planMarks = () => {
    const offsets = [0]; // of each character, in halves
    for (const char of plannedText) offsets.push(offsets.at(-1) + char.length);
    const place = (index) => offsets[Math.min(index, offsets.length - 1)];
    const found = (plan?.tokens?.unread ?? []).map(([start, end, name]) => ({ start: place(start), end: place(end), name }));
    for (const syntax of plan?.syntaxes ?? []) {
      if (syntax.field === "prompt") found.push({ start: place(syntax.start), end: place(syntax.end), name: "useless" });
    }
    const position = plan?.error?.position ?? null;
    if (position !== null) found.push({ start: place(position), end: place(position + 1), name: "wrong" });
    return found;
  };
  const drawMarks = (text) => {
    const edges = new Set([0, text.length]);
    for (const mark of marks) edges.add(mark.start).add(mark.end);
    const places = [...edges].filter((edge) => edge <= text.length).sort((one, other) => one - other);
    const parts = places.slice(1).map((end, index) => {
      const start = places[index];
      const names = marks.filter((mark) => mark.start <= start && mark.end >= end).map((mark) => mark.name);
      return create("span", { textContent: text.slice(start, end), className: [...new Set(names)].join(" ") });
    });
    veil.replaceChildren(...parts, "\u200b"); // a line break at the end has a line
  };
  const placeVeil = () => {
    const [field] = prompts();
    if (veil === null || field === undefined) return;
    const style = getComputedStyle(field);
    for (const name of COPIED) veil.style[name] = style[name];
    const [place, frame] = [field, veil.parentElement].map((element) => element.getBoundingClientRect());
    Object.assign(veil.style, {
      left: `${place.left - frame.left - veil.parentElement.clientLeft}px`,
      top: `${place.top - frame.top - veil.parentElement.clientTop}px`,
      width: `${field.clientWidth + parseFloat(style.borderLeftWidth) + parseFloat(style.borderRightWidth)}px`,
      height: `${field.offsetHeight}px`,
    });
    veil.scrollTop = field.scrollTop;
  };
  const resizes = new ResizeObserver(placeVeil);
  const drawVeil = () => {
    const [field] = prompts();
    if (field === undefined) return;
    marks = plan === null ? [] : planMarks();
    if (promptText() !== plannedText) shiftMarks(plannedText, promptText());
    if (marks.length === 0) {
      veil?.remove();
      veil = null;
      resizes.disconnect();
      return;
    }
    if (veil === null || !veil.isConnected) {
      veil = create("div", { className: "prompt-veil" });
      veil.setAttribute("aria-hidden", "true");
      field.closest("label").after(veil); // not in the label, whose text is the field's name
      resizes.disconnect();
      resizes.observe(field.closest(".block")); // an error above moves the field
    }
    drawMarks(promptText());
    placeVeil();
  };
  // Until the next answer, the marks move with the text.
  const shiftMarks = (former, text) => {
    let same = 0;
    while (same < former.length && former[same] === text[same]) same += 1;
    const shift = text.length - former.length;
    const move = (place) => (place > same || place === former.length ? Math.max(same, place + shift) : place);
    marks = marks.map((mark) => ({ ...mark, start: Math.min(move(mark.start), text.length), end: move(mark.end) }));
    marks = marks.filter((mark) => mark.end > mark.start);
  };
  let veiledText = "";
  const onPromptInput = (field) => {
    if (veil !== null) {
      shiftMarks(veiledText, field.value);
      drawMarks(field.value);
      placeVeil();
    }
    veiledText = field.value;
  };

  // ---- Lines --------------------------------------------------------------------------------------
  // Who enters several lines most often means several prompts. Not the lines of one: with commas at their ends, very long,
  // paragraphs, or a template in several lines. Who turns it off once isn't asked again.

  const LINES_KEY = "sd35-lines";
  const MAX_LINE = 300; // characters
  let lineCount = 0;
  const lines = (text) => text.split("\n").map((line) => line.trim());
  const isBalanced = (line) => line.split("{").length === line.split("}").length;
  const looksLikeList = (text) => {
    const all = lines(text.trim());
    const isPrompt = (line) => line !== "" && line.length <= MAX_LINE && isBalanced(line);
    return all.every((line, index) => isPrompt(line) && (index === all.length - 1 || !/[,;:]$/.test(line)));
  };
  const noteLines = (text) => {
    const count = lines(text).filter((line) => line !== "").length;
    const isNew = count > 1 && lineCount < 2;
    lineCount = count;
    if (!isNew || options.one_per_line || localStorage.getItem(LINES_KEY) === "off" || !looksLikeList(text)) return;
    sd35.setBatchOptions({ one_per_line: true });
    sd35.announce?.("One prompt per line");
  };
  const chooseLines = (isOn) => {
    if (isOn) localStorage.removeItem(LINES_KEY);
    else localStorage.setItem(LINES_KEY, "off");
    setOptions({ one_per_line: isOn });
  };

  // ---- Controls -----------------------------------------------------------------------------------

  const setOptions = (changes) => {
    isChosen = true;
    sd35.setBatchOptions(changes);
    askSoon(0);
  };
  const showOptions = () => {
    const count = byId("batch-count");
    if (count === null) return;
    setText("batch-count", `×${options.count}`);
    for (const button of document.querySelectorAll("#stepper [data-step]")) {
      const next = options.count + Number(button.dataset.step);
      button.setAttribute("aria-disabled", String(next < 1 || next > MAX_COUNT));
    }
    byId("one-per-line").checked = options.one_per_line;
    for (const input of document.querySelectorAll("#seed-order input")) input.checked = input.value === options.seeds;
  };
  const step = (change) => {
    setOptions({ count: Math.min(MAX_COUNT, Math.max(1, options.count + change)) });
  };

  document.addEventListener("click", ({ target }) => {
    const button = target.closest?.("#stepper [data-step]");
    if (button) step(Number(button.dataset.step));
    if (target.closest?.("#token-button")) {
      const help = byId("token-help");
      help.hidden = !help.hidden;
      byId("token-button").setAttribute("aria-expanded", String(!help.hidden));
    }
  });
  document.addEventListener("change", ({ target }) => {
    if (target.id === "one-per-line") chooseLines(target.checked);
    else if (target.closest?.("#seed-order")) setOptions({ seeds: target.value });
  });
  document.addEventListener("toggle", ({ target }) => target.id === "press-plan" && showItems(), true);
  document.addEventListener(
    "input",
    ({ target }) => {
      const [field] = prompts();
      if (target !== field) return;
      noteLines(field.value);
      onPromptInput(field);
    },
    true,
  );
  document.addEventListener("scroll", ({ target }) => veil !== null && target === prompts()[0] && placeVeil(), true);

  // The form has changed: typed, imported, restored, or fitted to another Space.
  document.addEventListener("sd35:form", ({ detail }) => {
    values = detail;
    if (promptText() !== veiledText) {
      lineCount = lines(promptText()).filter((line) => line !== "").length;
      veiledText = promptText();
    }
    showSummary();
    askSoon();
  });

  Object.assign(sd35, {
    batchOptions: () => structuredClone(options),

    setBatchOptions(changes) {
      const former = sd35.batchText();
      options = parse(JSON.stringify({ ...options, ...changes }));
      if (sd35.batchText() === former) return;
      sentTexts.push(sd35.batchText());
      sd35.raise("batch");
      announceChange();
    },

    // The field of the form.
    batchText: () => JSON.stringify(options),

    // The field has changed: by an import, a draft, or by what this page has sent before.
    showBatchOptions(text) {
      if (text === sd35.batchText()) sentTexts.length = 0;
      else if (!sentTexts.includes(text)) {
        sentTexts.length = 0;
        options = parse(text);
        announceChange();
      }
      return [];
    },

    // The controls are in the page; Gradio builds them once.
    bindComposer() {
      showOptions();
      showPlan(plan);
    },

    showPlan(text) {
      askedAt = 0;
      const answer = text ? JSON.parse(text) : null;
      // A call that failed leaves the answer to an earlier question.
      if (answer?.request_id === requestId && promptText().trim() !== "") showPlan(answer);
      if (isStale) askSoon(0);
      return [];
    },

    // What has changed is not the form: the quota, or what is known of the time.
    refreshPlan: () => askSoon(),

    // The draw of a press, and how many images it makes as far as this page knows. The next one has other seeds.
    takeDraw() {
      const isPlanned = plan !== null && askedAt === 0 && plannedText === promptText();
      const taken = { draw, image_count: isPlanned ? plan.image_count : options.count * (options.one_per_line ? lineCount : 1) };
      draw = newDraw();
      askSoon();
      return taken;
    },
  });
})();
