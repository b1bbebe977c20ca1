// Presets: settings of the form under names. The owner's are in a file of the library, a visitor's in the browser.
(() => {
  const sd35 = (window.sd35 ??= {});
  const { create } = sd35;
  const byId = (id) => document.getElementById(id);
  const panel = () => byId("preset-panel");

  const MAX_PRESETS = 200;
  const MAX_NAME_LENGTH = 60;
  const GAP = 6; // pixels between the button and the panel
  const LOADING_DELAY = 400; // ms

  // ---- Where they are -----------------------------------------------------------------------------

  let state = { presets: [], version: "" };

  const storageKey = () => `sd35-presets:${window.gradio_config?.username ?? ""}`;
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  const isPreset = (preset) => isObject(preset) && typeof preset.name === "string" && isObject(preset.settings);
  const readBrowser = () => {
    const text = localStorage.getItem(storageKey());
    try {
      const presets = JSON.parse(text) ?? [];
      if (Array.isArray(presets) && presets.every(isPreset)) return { presets, is_in_browser: true };
    } catch {
      // written by something else
    }
    return { presets: [], is_in_browser: true, error: "The presets in this browser's storage can't be read." };
  };
  const load = async () => {
    const answer = await sd35.ask("presets");
    state = answer.is_in_browser ? readBrowser() : { presets: [], version: "", ...answer };
  };
  // Changes the presets by a function of the newest ones, as another page may have changed them; returns what is wrong.
  const change = async (operation) => {
    for (let attempts = 3; attempts > 0; attempts -= 1) {
      if (state.is_in_browser) state = readBrowser();
      if (state.error) return state.error;
      const presets = operation(state.presets);
      if (presets.length > MAX_PRESETS) return `There is room for ${MAX_PRESETS} presets. Delete some first.`;
      if (state.is_in_browser) {
        try {
          localStorage.setItem(storageKey(), JSON.stringify(presets));
        } catch {
          return "The browser's storage is full.";
        }
        state.presets = presets;
        return "";
      }
      const answer = await sd35.ask("store-presets", { presets, version: state.version });
      if (answer.error) return answer.error;
      state = { ...state, ...answer };
      if (!answer.is_outdated) return "";
    }
    return "Another page is changing the presets. Try again.";
  };

  const keyOf = (name) => name.trim().toLowerCase();
  const indexOf = (presets, name) => presets.findIndex((preset) => keyOf(preset.name) === keyOf(name));
  const withPreset = (preset, at) => (presets) => {
    const index = indexOf(presets, preset.name);
    if (index >= 0) return presets.with(index, { ...presets[index], ...preset });
    return presets.toSpliced(at ?? presets.length, 0, preset);
  };
  const without = (name) => (presets) => presets.filter((preset) => keyOf(preset.name) !== keyOf(name));
  const renamed = (name, newName) => (presets) =>
    presets.map((preset) => (keyOf(preset.name) === keyOf(name) ? { ...preset, name: newName } : preset));

  // ---- The panel ----------------------------------------------------------------------------------

  const iconButton = (text, label, onclick) =>
    create("button", { type: "button", className: "icon", title: label, ariaLabel: label, onclick }, text);
  const factsOf = ({ size, width, height, guidance_scale: guidance, num_inference_steps: steps, styles, count }) =>
    [
      size === "custom" ? `${width} × ${height}` : size,
      typeof steps === "number" && `${steps} steps`,
      typeof guidance === "number" && `guidance ${guidance}`,
      Array.isArray(styles) && styles.length > 0 && styles.join(", "),
      typeof count === "number" && count > 1 && `× ${count}`,
    ]
      .filter((fact) => typeof fact === "string" && fact !== "")
      .join(" · ");

  let renaming = null; // the name of the preset whose name is being changed
  let deleted = []; // { preset, index } of this opening of the panel

  const say = (text, isError = false) => {
    const note = panel()?.querySelector(".note");
    if (!note) return;
    note.textContent = text;
    note.toggleAttribute("data-error", isError);
  };
  const run = async (operation, done = "") => {
    const error = await change(operation);
    say(error || done, error !== "");
    render();
    return error === "";
  };
  const apply = ({ name, settings }) => {
    panel().close();
    sd35.raise("recall", { name, settings });
  };
  const remove = async (preset) => {
    const index = indexOf(state.presets, preset.name);
    if (!(await run(without(preset.name)))) return;
    const item = { preset, index };
    deleted.push(item);
    render();
    item.button?.focus();
  };
  const restore = async (item) => {
    if (!(await run(withPreset(item.preset, item.index)))) return;
    deleted = deleted.filter((other) => other !== item);
    render();
    focusPreset(item.preset.name);
  };
  const focusPreset = (name) => {
    const rows = [...(panel()?.querySelectorAll("li[data-name]") ?? [])];
    rows.find((row) => row.dataset.name === name)?.querySelector("button").focus();
  };

  const createRow = (preset) => {
    const name = create("b", { textContent: preset.name, dir: "auto" });
    const facts = create("span", { textContent: factsOf(preset.settings) });
    const use = create("button", { type: "button", className: "take", onclick: () => apply(preset) }, name, facts);
    const row = create("li", {}, use);
    if (!state.is_read_only) {
      const startRenaming = () => {
        renaming = preset.name;
        render();
        panel().querySelector("li input").select();
      };
      row.append(iconButton("✎", `Rename ${preset.name}`, startRenaming));
      row.append(iconButton("✕", `Delete ${preset.name}`, () => remove(preset)));
    }
    row.dataset.name = preset.name;
    return row;
  };
  const createNameForm = (preset) => {
    const ariaLabel = `New name of ${preset.name}`;
    const input = create("input", { value: preset.name, maxLength: MAX_NAME_LENGTH, autocomplete: "off", ariaLabel });
    const end = (name) => {
      renaming = null;
      render();
      focusPreset(name);
    };
    const form = create("form", {}, input, create("button", { className: "secondary-button", textContent: "Rename" }));
    form.onsubmit = async (event) => {
      event.preventDefault();
      const name = input.value.trim();
      const other = state.presets[indexOf(state.presets, name)];
      if (name === "" || name === preset.name) end(preset.name);
      else if (other !== undefined && other.name !== preset.name) say(`There is a preset “${other.name}” already.`, true);
      else if (await run(renamed(preset.name, name), `Renamed to “${name}”`)) end(name);
    };
    input.onkeydown = (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault(); // else the panel would be closed
      end(preset.name);
    };
    return create("li", {}, form);
  };
  const createDeletedRow = (item) => {
    const ariaLabel = `Undo: restore ${item.preset.name}`;
    const undo = create("button", { type: "button", className: "undo", ariaLabel, onclick: () => restore(item) }, "Undo");
    item.button = undo;
    const text = create("span", { textContent: `“${item.preset.name}” deleted`, dir: "auto" });
    return create("li", { className: "deleted" }, text, undo);
  };
  const updateSave = () => {
    const input = panel().querySelector("#preset-name");
    const exists = indexOf(state.presets, input.value) >= 0;
    panel().querySelector(".save button").textContent = exists && input.value.trim() !== "" ? "Replace" : "Save";
  };
  const render = () => {
    if (panel() === null) return;
    const rows = state.presets.map((preset) => (preset.name === renaming ? createNameForm(preset) : createRow(preset)));
    for (const item of deleted) rows.splice(item.index, 0, createDeletedRow(item));
    panel().querySelector("ul").replaceChildren(...rows);
    const canSave = !state.error && !state.is_read_only;
    panel().querySelector(".save").hidden = !canSave;
    const empty = panel().querySelector(".empty");
    empty.hidden = rows.length > 0 || Boolean(state.error);
    empty.textContent = state.is_read_only
      ? "The library is read-only, so no preset can be saved."
      : "No presets yet. A preset has all settings but the prompt and the seed.";
    updateSave();
  };

  let pressed = null; // the name under which the form is to be saved
  const onSave = (event) => {
    event.preventDefault();
    const name = panel().querySelector("#preset-name").value.trim();
    if (name === "") say("Enter a name.", true);
    else {
      pressed = name;
      sd35.raise("capture");
    }
  };
  const saveValues = async (values) => {
    const [, negative_prompt, size, width, height, guidance_scale, num_inference_steps] = values;
    const { count, styles } = sd35.batchOptions();
    const settings = { size, width, height, guidance_scale, num_inference_steps, negative_prompt, count, styles };
    const name = pressed;
    pressed = null;
    if (name === null || !(await run(withPreset({ name, settings }), `“${name}” saved`)) || panel() === null) return;
    deleted = deleted.filter((item) => keyOf(item.preset.name) !== keyOf(name));
    panel().querySelector("#preset-name").value = "";
    render();
  };

  const place = (element) => {
    if (matchMedia("(max-width: 900px)").matches) return; // in the middle of the screen
    const { left, top, bottom } = byId("show-presets").getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = element;
    const below = bottom + GAP;
    const inside = (position, room) => `${Math.max(GAP, Math.min(position, room - GAP))}px`;
    const y = below + height + GAP < innerHeight ? below : top - height - GAP;
    Object.assign(element.style, { margin: "0", top: inside(y, innerHeight - height), left: inside(left, innerWidth - width) });
  };
  const openPanel = () => {
    const input = create("input", { id: "preset-name", maxLength: MAX_NAME_LENGTH, autocomplete: "off", oninput: updateSave });
    const label = create("label", { htmlFor: input.id, textContent: "Save the current settings as" });
    const save = create("form", { className: "save", onsubmit: onSave, noValidate: true, hidden: true });
    save.append(label, create("div", {}, input, create("button", { className: "secondary-button", textContent: "Save" })));
    const note = create("p", { className: "note", role: "status" });
    const empty = create("p", { className: "empty", hidden: true });
    return sd35.openDialog("preset-panel", "Presets", create("ul"), empty, note, save);
  };
  const open = async () => {
    if (document.querySelector("dialog[open]")) return;
    [renaming, deleted, pressed] = [null, [], null];
    const element = openPanel();
    place(element);
    const timer = setTimeout(() => say("Loading…"), LOADING_DELAY);
    await load();
    clearTimeout(timer);
    if (panel() !== element) return; // it has been closed
    render();
    say(state.error ?? "", state.error !== undefined);
    place(element);
    const save = element.querySelector(".save");
    (element.querySelector(".take") ?? element.querySelector(save.hidden ? ".close" : "#preset-name")).focus();
  };

  document.addEventListener("click", ({ target }) => target.closest?.("#show-presets") && open());

  // The form's values, when they have been asked for.
  sd35.capturePreset = (values) => {
    saveValues(values);
    return [];
  };
})();
