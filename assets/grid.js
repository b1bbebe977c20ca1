// The panel of a grid: its axes, its labelled cells and its price before the press.
(() => {
  const sd35 = (window.sd35 ??= {});
  const { create, pluralize } = sd35;

  const STORAGE_KEY = "sd35-grid";
  const ASK_DELAY = 250; // ms after the last change
  const ANSWER_TIME = 8000; // ms, after which the server is asked once more
  const DOUBLE_CLICK_GUARD = 1000; // ms
  const MAX_TEXT = 20000; // the server takes no more
  const SHOWN_COLUMNS = 8;
  const SHOWN_ROWS = 6;

  const KINDS = [
    { kind: "prompt", name: "Prompt part", example: "red, blue, green", hint: "First the words in your prompt, then what replaces them." },
    { kind: "style", name: "Style", example: "Watercolor, Oil painting, none", hint: "Names of styles, all, or none. + combines two." },
    { kind: "seed", name: "Seed", example: "1-4", hint: "Numbers, or ranges such as 1-4. -1 is a random seed." },
    { kind: "steps", name: "Steps", example: "20, 30, 40", hint: "Numbers, or ranges such as 20-40 (+10)." },
    { kind: "guidance", name: "Guidance scale", example: "3-6 (+0.5)", hint: "Numbers, or ranges such as 3-6 (+0.5)." },
    { kind: "size", name: "Size", example: "1:1, 16:9, 768x1024", hint: "Ratios such as 16:9, or sizes such as 768x1024." },
  ];
  const FIELDS = ["columns", "rows"];

  let axes = [
    { kind: "prompt", text: "" },
    { kind: "", text: "" },
  ];
  let styles = []; // names, from the server
  let plan = null; // the newest answer
  let requestId = 0; // of the newest question
  let askTimer = 0;
  let answerTimer = 0;
  let pressedAt = 0;
  let opener = null; // gets the focus back

  const panel = () => document.getElementById("grid-panel");
  const find = (selector) => panel()?.querySelector(selector) ?? null;
  const kindOf = (axis) => KINDS.find(({ kind }) => kind === axis.kind);

  // ---- What is remembered -------------------------------------------------------------------------

  const isAxis = (axis) =>
    typeof axis?.text === "string" && axis.text.length <= MAX_TEXT && (axis.kind === "" || kindOf(axis) !== undefined);
  const remember = () => localStorage.setItem(STORAGE_KEY, JSON.stringify(axes));
  const recall = () => {
    try {
      const saved = JSON.parse(localStorage.getItem(STORAGE_KEY));
      if (saved?.length === 2 && saved.every(isAxis) && saved[0].kind) axes = saved.map(({ kind, text }) => ({ kind, text }));
    } catch {
      // another program's text
    }
  };

  // ---- The plan -------------------------------------------------------------------------------------

  const enteredAxes = () => axes.filter(({ kind }) => kind !== "");
  const isFresh = () => plan !== null && plan.request_id === requestId;
  const canPress = () => isFresh() && plan.image_count > 0 && !plan.error;
  const ask = () => {
    clearTimeout(askTimer);
    clearTimeout(answerTimer);
    if (panel() === null) return;
    sd35.raise("grid", { axes: enteredAxes(), batch: sd35.batchText(), request_id: requestId });
    answerTimer = setTimeout(ask, ANSWER_TIME);
  };
  const change = (delay = ASK_DELAY) => {
    requestId += 1;
    remember();
    clearTimeout(askTimer);
    askTimer = setTimeout(ask, delay);
    renderPlan();
  };

  // ---- Drawing ----------------------------------------------------------------------------------------

  // At first there is nothing to complain about.
  const isComplete = () => enteredAxes().every(({ text }) => text.trim() !== "");
  const errorOf = (field) => (isFresh() && isComplete() && plan.error?.field === field ? plan.error.message : "");

  const renderAxis = (index) => {
    const fieldset = find(`[data-axis="${index}"]`);
    const axis = axes[index];
    const kind = kindOf(axis);
    fieldset.querySelector("select").value = axis.kind;
    const text = fieldset.querySelector("textarea");
    if (text.value !== axis.text) text.value = axis.text;
    text.placeholder = kind?.example ?? "";
    fieldset.querySelector(".values").hidden = kind === undefined;
    fieldset.querySelector(".hint").textContent = kind?.hint ?? "One line of images, without rows.";
    find("[data-action=swap]").hidden = axes[1].kind === "";
    const picker = fieldset.querySelector("details");
    picker.hidden = axis.kind !== "style";
    if (axis.kind === "style") renderPicker(picker, axis);
  };
  const entries = (axis) => axis.text.split(/[,\n]/).map((entry) => entry.trim()).filter(Boolean);
  const renderPicker = (picker, axis) => {
    const list = picker.querySelector(".style-names");
    if (list.childElementCount !== styles.length) {
      list.replaceChildren(
        ...styles.map((name) => create("label", {}, create("input", { type: "checkbox", value: name }), create("span", {}, name))),
      );
    }
    const chosen = new Set(entries(axis).map((entry) => entry.toLowerCase()));
    for (const box of list.querySelectorAll("input")) box.checked = chosen.has("all") || chosen.has(box.value.toLowerCase());
  };

  const cut = (labels, count, limit) => {
    const shown = labels.slice(0, limit);
    return count > shown.length ? [...shown, `+ ${count - shown.length}`] : shown;
  };
  const renderPreview = () => {
    const [columns, rows] = plan.axes ?? [];
    const preview = find(".grid-preview");
    if (columns === undefined) {
      preview.replaceChildren();
      return;
    }
    const columnLabels = cut(columns.labels, columns.count, SHOWN_COLUMNS);
    const rowLabels = rows === undefined ? [""] : cut(rows.labels, rows.count, SHOWN_ROWS);
    const header = (scope, label) => create("th", { scope, title: label }, create("span", {}, label));
    const head = columnLabels.map((label) => header("col", label));
    const corner = rows === undefined ? [] : [create("td")];
    const body = rowLabels.map((label) =>
      create("tr", {}, ...(rows === undefined ? [] : [header("row", label)]), ...columnLabels.map(() => create("td", { className: "preview-cell" }))),
    );
    const caption = rows === undefined ? columns.name : `${columns.name} × ${rows.name}`;
    const table = create("table", {}, create("caption", {}, caption), create("thead", {}, create("tr", {}, ...corner, ...head)), create("tbody", {}, ...body));
    preview.replaceChildren(table);
  };
  const renderPlan = () => {
    if (panel() === null) return;
    FIELDS.forEach((field, index) => {
      const error = errorOf(field);
      const fieldset = find(`[data-axis="${index}"]`);
      fieldset.querySelector(".error").textContent = error;
      fieldset.querySelector("textarea").ariaInvalid = error === "" ? null : "true";
    });
    const isPending = !isFresh();
    panel().toggleAttribute("data-pending", isPending);
    if (!isPending) renderPreview();
    const formError = isFresh() && isComplete() && plan.error && !FIELDS.includes(plan.error.field) ? plan.error.message : "";
    find(".form-error").textContent = formError;
    const price = find(".price");
    const text = isPending ? price.textContent : (plan.error ? "" : plan.summary);
    if (price.textContent !== text) price.textContent = text; // screen readers repeat what is written
    find(".warning").textContent = isPending ? "" : plan.warning;
    const button = find("[type=submit]");
    button.disabled = !canPress();
    button.textContent = canPress() ? `Generate ${pluralize(plan.image_count, "image")}` : "Generate";
  };
  const render = () => {
    axes.forEach((_, index) => renderAxis(index));
    renderPlan();
  };

  const createAxis = (index) => {
    const title = ["Columns", "Rows"][index];
    const options = KINDS.map(({ kind, name }) => new Option(name, kind));
    if (index === 1) options.push(new Option("None", ""));
    const [hintId, errorId] = [`grid-hint-${index}`, `grid-error-${index}`];
    const text = create("textarea", {
      rows: 2,
      maxLength: MAX_TEXT,
      spellcheck: false,
      ariaLabel: `Values of the ${title.toLowerCase()}`,
      ariaDescribedby: `${hintId} ${errorId}`,
    });
    const allButton = create("button", { type: "button", className: "plain-button", data: { action: "all-styles" } }, "All styles");
    const picker = create("details", { hidden: true }, create("summary", {}, "Choose styles"), allButton, create("div", { className: "style-names" }));
    return create(
      "fieldset",
      { data: { axis: index } },
      create("legend", {}, title),
      create("select", { ariaLabel: `What differs between the ${title.toLowerCase()}` }, ...options),
      create("div", { className: "values" }, text),
      create("p", { className: "hint", id: hintId }),
      create("p", { className: "error", id: errorId, role: "alert" }),
      picker,
    );
  };
  const createPanel = () => {
    const swap = create("button", { type: "button", className: "plain-button", data: { action: "swap" } }, "⇄ Swap columns and rows");
    return create(
      "dialog",
      { id: "grid-panel", ariaLabelledby: "grid-title" },
      create("h2", { id: "grid-title" }, "Grid"),
      create("button", { type: "button", className: "close", data: { action: "close" }, ariaLabel: "Close" }, "✕"),
      create("p", { className: "hint" }, "Your prompt and settings, with one or two that differ. The seed stays the same, unless you choose it here."),
      create(
        "form",
        { noValidate: true },
        create("div", { className: "axes" }, createAxis(0), createAxis(1)),
        swap,
        create("div", { className: "grid-preview", tabIndex: 0, role: "region", ariaLabel: "Preview" }),
        create("p", { className: "error form-error", role: "alert" }),
        create(
          "div",
          { className: "press" },
          create("p", {}, create("span", { className: "price", role: "status" }), create("span", { className: "warning" })),
          create("button", { type: "submit", className: "primary-button", disabled: true }, "Generate"),
        ),
      ),
    );
  };

  // ---- Events -------------------------------------------------------------------------------------------

  const close = () => panel()?.close();
  const setAxis = (index, changes) => {
    Object.assign(axes[index], changes);
    renderAxis(index);
    change();
  };
  const axisIndex = (element) => Number(element.closest("[data-axis]").dataset.axis);
  const toggleStyle = (box) => {
    const index = axisIndex(box);
    const chosen = entries(axes[index]);
    const names = chosen.some((entry) => entry.toLowerCase() === "all") ? styles : chosen;
    const others = names.filter((name) => name.toLowerCase() !== box.value.toLowerCase());
    setAxis(index, { text: (box.checked ? [...others, box.value] : others).join(", ") });
  };
  const actions = {
    close,
    swap: () => {
      axes.reverse();
      render();
      change(0);
    },
    "all-styles": (button) => setAxis(axisIndex(button), { text: "all" }),
  };
  const onClick = ({ target }) => {
    if (target === panel()) close(); // beside it
    const button = target.closest("[data-action]");
    if (button) actions[button.dataset.action](button);
  };
  const onInput = ({ target }) => {
    if (target.matches("textarea")) setAxis(axisIndex(target), { text: target.value });
    else if (target.matches("input")) toggleStyle(target);
  };
  const onChange = ({ target }) => {
    // Values of another kind would only be errors.
    if (target.matches("select")) setAxis(axisIndex(target), { kind: target.value, text: "" });
  };
  const onSubmit = (event) => {
    event.preventDefault();
    if (canPress()) sd35.raise("press_grid");
  };
  const onClose = () => {
    clearTimeout(askTimer);
    clearTimeout(answerTimer);
    panel()?.remove();
    opener?.focus();
  };
  // Before page.js, for which these keys are a press of Generate.
  window.addEventListener(
    "keydown",
    (event) => {
      if (!panel()?.open || event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if (!event.repeat) find("form").requestSubmit();
    },
    true,
  );
  document.addEventListener("click", (event) => event.target.closest?.("#open-grid") && sd35.openGrid());
  // The second click of a double click on the button would hit what the panel has covered.
  window.addEventListener(
    "click",
    (event) => {
      if (event.detail < 2 || Date.now() - pressedAt > DOUBLE_CLICK_GUARD) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    true,
  );
  window.addEventListener("hashchange", close); // to the other tab

  Object.assign(sd35, {
    // With these columns and rows, if they are given: { kind, text }.
    openGrid(columns, rows) {
      if (panel() !== null) return;
      recall();
      if (columns) axes = [{ ...columns }, { ...(rows ?? { kind: "", text: "" }) }];
      opener = document.activeElement;
      document.querySelector(".gradio-container").append(createPanel());
      panel().addEventListener("click", onClick);
      panel().addEventListener("input", onInput);
      panel().addEventListener("change", onChange);
      panel().addEventListener("submit", onSubmit);
      panel().addEventListener("close", onClose);
      plan = null;
      render();
      panel().showModal();
      find(columns ? ".close" : "textarea").focus();
      change(0);
    },

    showGridPlan(text) {
      const answer = JSON.parse(text);
      if (panel() === null || answer.request_id !== requestId) return [];
      clearTimeout(answerTimer);
      plan = answer;
      styles = answer.styles;
      render();
      return [];
    },

    // The press, with the form's values.
    pressGrid(values) {
      if (panel() === null || !canPress()) return [];
      sd35.addGrid(values, enteredAxes(), plan.image_count);
      pressedAt = Date.now();
      close();
      return [];
    },
  });
})();
