// What the page remembers: the prompts that were used, by ↑ in an empty prompt and in a dialog with a search.
(() => {
  const sd35 = (window.sd35 ??= {});
  const { create, pluralize } = sd35;
  const byId = (id) => document.getElementById(id);
  const prompt = () => document.querySelector("#prompt-area textarea");

  // ---- Questions to the server --------------------------------------------------------------------

  const questions = new Map(); // by number, what takes the answer
  let questionCount = 0;
  const ask = (action, data = {}) =>
    new Promise((resolve) => {
      questionCount += 1;
      questions.set(questionCount, resolve);
      sd35.raise("memory", { ...data, action, question: questionCount, request_id: questionCount });
    });
  const receiveAnswer = async (question, response) => {
    const answer = await response.json().catch(() => null);
    const isGood = response.ok && typeof answer?.data?.[0] === "string";
    questions.get(question)?.(isGood ? JSON.parse(answer.data[0]) : { error: "The app didn't answer. Try again." });
    questions.delete(question);
  };

  // ---- The prompt ---------------------------------------------------------------------------------

  let isReplacing = false; // then an input isn't typed by anybody
  // Typed by the browser itself, so that its own Undo brings back what was there.
  const insert = (field, start, end, text) => {
    isReplacing = true;
    field.focus();
    field.setSelectionRange(start, end);
    const type = () => (text === "" ? document.execCommand("delete") : document.execCommand("insertText", false, text));
    const isNothing = text === "" && start === end;
    if (!isNothing && !type()) {
      field.setRangeText(text, start, end, "end");
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    isReplacing = false;
  };
  // It was one prompt, whatever its lines look like.
  const keepLines = (text) => text.includes("\n") && setTimeout(() => sd35.setBatchOptions({ one_per_line: false }));
  const setPrompt = (text) => {
    const field = prompt();
    insert(field, 0, field.value.length, text);
    field.setSelectionRange(text.length, text.length);
    keepLines(text);
  };

  const hasModifier = (event) => event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
  const isComposing = (event) => event.isComposing || event.keyCode === 229;

  // ---- ↑ in an empty prompt -----------------------------------------------------------------------

  const PAGE = 100; // prompts in an answer
  let browsed = null; // { prompts, index, hasMore, steps, isLoading } while somebody goes through the prompts

  const show = () => {
    const { prompts, index } = browsed;
    setPrompt(index < 0 ? "" : prompts[index]);
    sd35.announce(index < 0 ? "Empty prompt" : `Prompt ${index + 1}: ${prompts[index]}`);
    if (index < 0) browsed = null;
  };
  const loadMore = async () => {
    const former = browsed;
    former.isLoading = true;
    const answer = await ask("search", { text: "", limit: PAGE, offset: former.prompts.length });
    former.isLoading = false;
    if (browsed !== former) return; // somebody has begun to type
    former.prompts.push(...(answer.prompts ?? []).map((used) => used.prompt));
    former.hasMore = answer.has_more === true;
    if (former.prompts.length === 0) {
      sd35.announce(answer.error ?? "No prompts yet");
      browsed = null;
    } else step(0);
  };
  // Presses before the answer count, too.
  const step = (direction) => {
    browsed.steps += direction;
    if (browsed.isLoading) return;
    const target = browsed.index + browsed.steps;
    const isBeyond = target >= browsed.prompts.length;
    if (isBeyond && browsed.hasMore) {
      loadMore();
      return;
    }
    browsed.steps = 0;
    browsed.index = Math.max(-1, Math.min(target, browsed.prompts.length - 1));
    show();
  };
  const isBrowsing = () => browsed !== null && prompt()?.value === (browsed.prompts[browsed.index] ?? "");
  const onHistoryKey = (event) => {
    if (event.target !== prompt() || isComposing(event) || hasModifier(event) || event.defaultPrevented) return;
    if (browsed !== null && !isBrowsing()) browsed = null;
    const isStart = event.key === "ArrowUp" && browsed === null && event.target.value === "";
    if (isStart) browsed = { prompts: [], index: -1, hasMore: true, steps: 0, isLoading: false };
    if (browsed === null) return;
    if (event.key === "ArrowUp") step(1);
    else if (event.key === "ArrowDown") step(-1);
    else if (event.key === "Escape") {
      browsed.index = -1;
      show();
    } else {
      browsed = null; // any other key: the prompt is somebody's text now
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // Escape would leave the field
  };
  const stopBrowsing = ({ target }) => {
    if (target === prompt() && !isReplacing) browsed = null;
  };
  window.addEventListener("keydown", onHistoryKey, true);
  for (const name of ["input", "pointerdown", "blur"]) window.addEventListener(name, stopBrowsing, true);

  // ---- The dialog ---------------------------------------------------------------------------------

  const SEARCH_DELAY = 120; // ms
  const LOADING_DELAY = 400; // ms
  const DOUBLE_CLICK = 500; // ms
  const ROWS = 40;
  const dialog = () => byId("prompt-history");

  const dateText = (seconds) => {
    const moment = new Date(seconds * 1000);
    const now = new Date();
    const isToday = moment.toDateString() === now.toDateString();
    if (isToday) return moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const year = moment.getFullYear() === now.getFullYear() ? undefined : "numeric";
    return moment.toLocaleDateString([], { day: "numeric", month: "short", year });
  };
  const createThumbnail = ({ picture_id: id, picture_count: count }) => {
    const frame = create("span", { className: "thumbnail" });
    if (id === "" || count === 0) return frame;
    const image = create("img", { alt: "", loading: "lazy", src: sd35.url(`studio/thumbnail/${id}`) });
    image.onerror = () => image.remove(); // the file may be gone
    frame.append(image);
    return frame;
  };
  const createRow = (used) => {
    const count = used.picture_count > 0 ? pluralize(used.picture_count, "image") : "No image";
    const text = create("span", { className: "text" }, create("b", { textContent: used.prompt, dir: "auto" }));
    text.append(create("span", { className: "facts", textContent: `${dateText(used.used_at)} · ${count}` }));
    const take = create("button", { type: "button", className: "take" }, createThumbnail(used), text);
    take.onclick = ({ shiftKey }) => choose(used, shiftKey);
    const all = create("button", { type: "button", className: "all", textContent: "With settings" });
    all.title = "Fill in the prompt and all settings (Shift+Enter)";
    all.onclick = () => choose(used, true);
    return create("li", {}, take, all);
  };

  const choose = (used, hasSettings) => {
    dialog().close();
    if (hasSettings) {
      sd35.raise("recall", { id: used.job_id || used.picture_id });
      prompt().focus();
      return;
    }
    sd35.fillPrompt(used.prompt); // with a button Undo
    keepLines(used.prompt);
    prompt().focus();
  };

  let search = null; // { text, offset } of the newest question
  const load = async (text, offset) => {
    const question = (search = { text, offset });
    const isCurrent = () => search === question && dialog() !== null;
    const note = dialog().querySelector(".note");
    const timer = setTimeout(() => isCurrent() && (note.textContent = "Loading…"), LOADING_DELAY);
    const answer = await ask("search", { text, offset, limit: ROWS });
    clearTimeout(timer);
    if (!isCurrent()) return; // it has been asked something else since
    const list = dialog().querySelector("ul");
    const rows = (answer.prompts ?? []).map(createRow);
    if (offset === 0) list.replaceChildren(...rows);
    else list.append(...rows);
    if (offset > 0) rows[0]?.querySelector("button").focus();
    dialog().querySelector(".more").hidden = answer.has_more !== true;
    showNote(answer, list.children.length);
  };
  const showNote = (answer, count) => {
    const note = dialog().querySelector(".note");
    note.toggleAttribute("data-error", answer.error !== undefined);
    if (answer.error !== undefined) note.textContent = answer.error;
    else if (answer.is_anonymous) note.textContent = "Without cookies, this page can't remember your prompts.";
    else if (count > 0) note.textContent = "";
    else if (search.text.trim() !== "") note.textContent = "No prompt has these words.";
    else note.textContent = "No prompts yet. Each prompt that you use will be here.";
    const hasCount = count > 0 && answer.error === undefined;
    dialog().querySelector("[role=status]").textContent = hasCount ? pluralize(count, "prompt") : note.textContent;
  };

  const moveFocus = (direction) => {
    const input = dialog().querySelector("input");
    const buttons = [...dialog().querySelectorAll("ul .take")];
    const row = document.activeElement?.closest("li");
    const index = row ? buttons.findIndex((button) => button.closest("li") === row) : -1;
    const next = index + direction;
    if (next < 0) input.focus();
    else (buttons[next] ?? buttons.at(-1))?.focus();
  };
  const onDialogKey = (event) => {
    if (isComposing(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    const { key, shiftKey, target } = event;
    const isInput = target.matches("input");
    if (key === "ArrowDown" || key === "ArrowUp") moveFocus(key === "ArrowDown" ? 1 : -1);
    else if (key === "Escape") dialog().close(); // a field for searches would only be emptied
    else if (key === "Enter" && (isInput || (shiftKey && target.closest("li")))) {
      const row = isInput ? dialog().querySelector("ul li") : target.closest("li");
      row?.querySelector(shiftKey ? ".all" : ".take").click();
    } else if (key.length === 1 && key !== " " && !isInput) {
      dialog().querySelector("input").focus(); // what is typed goes on with the search
      return;
    } else return;
    event.preventDefault();
  };

  const openHistory = () => {
    if (dialog() !== null || document.querySelector("dialog[open]")) return;
    const name = "Search your prompts";
    const input = create("input", { type: "search", placeholder: name, ariaLabel: name, autocomplete: "off", spellcheck: false });
    const more = create("button", { type: "button", className: "more secondary-button", textContent: "Show more", hidden: true });
    const status = create("p", { className: "visually-hidden", role: "status" });
    const [enter, shift, otherEnter] = ["Enter", "Shift", "Enter"].map((text) => create("kbd", {}, text));
    const keys = create("p", { className: "keys" }, enter, " takes the prompt · ", shift, " ", otherEnter, " with all settings");
    const body = create("div", { className: "body" }, create("ul"), more, create("p", { className: "note" }));
    const element = sd35.openDialog("prompt-history", "Prompts", input, body, status, keys);
    let timer = 0;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => dialog() && load(input.value, 0), SEARCH_DELAY);
    });
    more.onclick = () => load(search.text, element.querySelectorAll("li").length);
    element.addEventListener("keydown", onDialogKey);
    input.focus();
    load("", 0);
  };

  // ⌘ on a Mac, where Ctrl+K deletes the rest of a line.
  const IS_MAC = /Mac|iPhone|iPad/.test(navigator.platform);
  const onKey = (event) => {
    const hasKey = IS_MAC ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey;
    const isKey = hasKey && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k";
    if (!isKey || isComposing(event) || document.documentElement.dataset.tab !== "create") return;
    event.preventDefault(); // some browsers search by it
    if (dialog() === null) openHistory();
    else dialog().close();
  };
  window.addEventListener("keydown", onKey, true);
  let recalledAt = 0;
  const recallLast = () => {
    if (Date.now() - recalledAt < DOUBLE_CLICK) return; // Undo would bring back what the first click has filled in
    recalledAt = Date.now();
    sd35.raise("recall", {});
  };
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.("#show-prompts")) openHistory();
    else if (target.closest?.("#last-settings")) recallLast();
  });

  Object.assign(sd35, { ask, receiveAnswer, insertText: insert, isInserting: () => isReplacing });
})();
