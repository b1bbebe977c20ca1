// Styles: the chosen ones, the panel in which they are chosen, the user's own ones, and the presets of the negative prompt.
(() => {
  const sd35 = (window.sd35 ??= {});
  const { create, pluralize } = sd35;

  const MAX_CHOSEN = 20; // the server takes no more
  const ANSWER_TIME = 20_000; // ms
  const TOAST_TIME = 8_000; // ms in which a deletion can be undone
  const NO_ANSWER = "The app doesn't answer. Try again.";

  const byId = (id) => document.getElementById(id);
  const panel = () => byId("styles-panel");
  const form = () => byId("style-form");

  // ---- Questions to the server ----------------------------------------------------------------------

  const waiting = new Map(); // of each question, by its number: what to do with the answer
  let lastRequest = 0;
  const ask = (action, payload, onAnswer) => {
    const number = ++lastRequest;
    const settle = (answer) => {
      if (waiting.delete(number)) onAnswer(answer);
    };
    waiting.set(number, settle);
    setTimeout(settle, ANSWER_TIME, { error: NO_ANSWER });
    sd35.raise("styles", { action, request_id: number, ...payload });
  };

  // ---- The chosen styles ----------------------------------------------------------------------------

  const chosen = () => sd35.batchOptions().styles;
  const choose = (styles) => sd35.setBatchOptions({ styles });
  const toggle = (name) => {
    const names = chosen();
    if (names.includes(name)) choose(names.filter((other) => other !== name));
    else if (names.length >= MAX_CHOSEN) showToast(`Up to ${MAX_CHOSEN} styles at once.`);
    else choose([...names, name]);
  };

  let bar = null; // the element
  const createChip = (name) => {
    const chip = create("button", { type: "button", title: "Remove", ariaLabel: `Remove style ${name}` }, create("span", {}, name), "✕");
    chip.onclick = () => {
      const next = chip.parentElement.nextElementSibling ?? chip.parentElement.previousElementSibling;
      const target = next?.firstElementChild ?? byId("show-styles");
      const hadFocus = chip === document.activeElement;
      toggle(name);
      if (hadFocus) target.focus();
    };
    const item = create("li", {}, chip);
    item.dataset.name = name;
    return item;
  };
  const renderBar = () => {
    if (bar === null) return;
    const list = bar.querySelector("#chosen-styles");
    const items = new Map([...list.children].map((item) => [item.dataset.name, item]));
    const names = chosen();
    items.forEach((item, name) => names.includes(name) || item.remove());
    names.forEach((name, index) => {
      const item = items.get(name) ?? createChip(name);
      if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    });
    list.hidden = names.length === 0;
  };

  // ---- The panel ------------------------------------------------------------------------------------

  const items = () => [...panel().querySelectorAll(".groups li")];
  const tiles = () => items().filter((item) => !item.hidden).map((item) => item.querySelector(".tile"));
  const nameOf = (element) => element.closest("[data-name]").dataset.name;

  const renderPanel = () => {
    if (panel() === null) return;
    const names = chosen();
    for (const item of items()) {
      const order = names.indexOf(nameOf(item)) + 1;
      item.querySelector(".tile").ariaPressed = String(order > 0);
      if (order > 0 && names.length > 1) item.dataset.order = order;
      else delete item.dataset.order;
    }
    const text = names.length === 0 ? "Choose one or more." : `${pluralize(names.length, "style")}: ${names.join(", ")}`;
    panel().querySelector(".chosen").textContent = text;
    panel().querySelector("[data-clear]").disabled = names.length === 0;
    panel().querySelector("[data-try]").textContent = names.length > 1 ? `Try each of the ${names.length}` : "Try in all styles";
  };

  const applySearch = () => {
    const text = panel().querySelector("#styles-search").value.trim();
    const parts = text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const section of panel().querySelectorAll(".groups section")) {
      const group = section.querySelector("h3").textContent;
      for (const item of section.querySelectorAll("li")) {
        const haystack = `${nameOf(item)} ${group} ${item.querySelector(".tile").title}`.toLowerCase();
        item.hidden = !parts.every((part) => haystack.includes(part));
      }
      section.hidden = section.querySelector("li:not([hidden])") === null;
    }
    const note = panel().querySelector(".no-match");
    note.hidden = tiles().length > 0;
    note.textContent = note.hidden ? "" : `No style matches “${text}”.`;
  };

  // As many rows further up or down, the tile that is nearest to this one's column.
  const tileInRow = (tile, direction) => {
    const { left, top } = tile.getBoundingClientRect();
    const rows = tiles().map((other) => ({ other, box: other.getBoundingClientRect() }));
    const beyond = rows.filter(({ box }) => (box.top - top) * direction > 1);
    const nearest = Math.min(...beyond.map(({ box }) => Math.abs(box.top - top)));
    const row = beyond.filter(({ box }) => Math.abs(Math.abs(box.top - top) - nearest) < 1);
    row.sort((a, b) => Math.abs(a.box.left - left) - Math.abs(b.box.left - left));
    return row[0]?.other;
  };
  const onTileKey = (event) => {
    const tile = event.target;
    const all = tiles();
    const index = all.indexOf(tile);
    const search = panel().querySelector("#styles-search");
    const targets = {
      ArrowLeft: () => all[index - 1],
      ArrowRight: () => all[index + 1],
      ArrowUp: () => tileInRow(tile, -1) ?? search,
      ArrowDown: () => tileInRow(tile, 1),
      Home: () => all[0],
      End: () => all.at(-1),
    };
    if (targets[event.key]) {
      event.preventDefault();
      targets[event.key]()?.focus();
    } else if (event.key.length === 1 && event.key !== " ") search.focus(); // and the key is typed there
  };
  const onPanelKey = (event) => {
    if (event.isComposing || event.altKey) return;
    if (event.ctrlKey || event.metaKey) {
      if (event.key === "Enter") panel().close(); // page.js has pressed Generate
    } else if (event.target.matches(".tile")) onTileKey(event);
    else if (event.target.id === "styles-search" && ["ArrowDown", "Enter"].includes(event.key)) {
      event.preventDefault();
      const [first] = tiles();
      if (event.key !== "Enter") first?.focus();
      else if (first && !event.repeat) toggle(nameOf(first));
    }
  };

  // A sheet with one image in each: a grid with a column for each style, which says first what it costs.
  const tryStyles = () => {
    const names = chosen().length > 1 ? chosen() : ["all"];
    const text = names.map((name) => (name.includes('"') ? `"${name.replaceAll('"', '""')}"` : name)).join(", ");
    panel().close();
    sd35.openGrid({ kind: "style", text });
  };

  const deleteStyle = (name) => {
    const wasChosen = chosen().includes(name);
    ask("delete", { name }, (answer) => {
      if (answer.error !== undefined) return showToast(answer.error);
      refreshPanel(answer.panel);
      if (wasChosen) toggle(name);
      const restore = () => {
        ask("restore", answer.deleted, (restored) => {
          if (restored.error !== undefined) return showToast(restored.error);
          refreshPanel(restored.panel, name);
          if (wasChosen) toggle(name);
        });
      };
      const isDeleted = answer.deleted.name !== undefined; // or another page was faster
      if (isDeleted) showToast(`Deleted “${name}”.`, "Undo", restore).querySelector("button").focus();
    });
  };

  const onPanelClick = ({ target }) => {
    if (target === panel() || target.closest("[data-close]")) return panel().close(); // beside it, or on a button
    const button = target.closest("button");
    if (button === null) return;
    if (button.matches("[data-clear]")) choose([]);
    else if (button.matches("[data-try]")) tryStyles();
    else if (button.matches("[data-new]")) ask("new", {}, showForm);
    else if (button.matches("[data-edit]")) ask("edit", { name: nameOf(button) }, showForm);
    else if (button.matches("[data-delete]")) deleteStyle(nameOf(button));
    else if (button.matches(".tile")) toggle(nameOf(button));
  };

  const append = (html) => document.querySelector(".gradio-container").insertAdjacentHTML("beforeend", html);
  const showPanel = ({ panel: html, error }) => {
    if (error !== undefined) return showToast(error);
    if (panel() !== null) return;
    append(html);
    const dialog = panel();
    const search = dialog.querySelector("#styles-search");
    dialog.addEventListener("click", onPanelClick);
    dialog.addEventListener("keydown", onPanelKey);
    search.addEventListener("input", applySearch);
    dialog.addEventListener("close", () => {
      const toast = dialog.querySelector(".style-toast"); // a deletion can still be undone
      if (toast) document.querySelector(".gradio-container").append(toast);
      dialog.remove();
      byId("show-styles")?.focus();
    });
    renderPanel();
    dialog.showModal();
    // On a phone, the keyboard would cover half of it.
    (matchMedia("(hover: hover)").matches ? search : dialog.querySelector("header [data-close]")).focus();
  };
  const refreshPanel = (html, focusedName) => {
    if (panel() === null) return;
    const { content } = create("template", { innerHTML: html });
    panel().querySelector(".groups").replaceWith(content.querySelector(".groups"));
    applySearch();
    renderPanel();
    tiles().find((tile) => nameOf(tile) === focusedName)?.focus();
  };

  // ---- The form of an own style ---------------------------------------------------------------------

  const showForm = ({ form: html, error }) => {
    if (error !== undefined) return showToast(error);
    if (form() !== null) return;
    const opener = document.activeElement;
    append(html);
    const dialog = form();
    dialog.addEventListener("click", ({ target }) => target.closest("[data-close]") && dialog.close());
    dialog.addEventListener("submit", onSubmit);
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (opener?.isConnected) opener.focus();
    });
    dialog.showModal();
    dialog.querySelector("#style-name").select();
  };
  const showFormError = (text, field) => {
    form().querySelector("#style-error").textContent = text;
    const fields = [...form().querySelectorAll("input, textarea")];
    fields.forEach((input) => (input.ariaInvalid = input.name === field ? "true" : null));
    fields.find((input) => input.name === field)?.focus();
  };
  const onSubmit = (event) => {
    event.preventDefault();
    const dialog = form();
    if (dialog.hasAttribute("data-busy")) return;
    dialog.setAttribute("data-busy", "");
    const values = Object.fromEntries(new FormData(event.target));
    const { former, picture } = dialog.dataset;
    ask("save", { ...values, former, picture }, (answer) => {
      dialog.removeAttribute("data-busy");
      if (answer.error !== undefined) {
        if (dialog.open) showFormError(answer.error, answer.field);
        return;
      }
      dialog.close();
      if (former) choose(chosen().map((name) => (name === former ? answer.saved : name)));
      refreshPanel(answer.panel, answer.saved);
      const isChosen = chosen().includes(answer.saved);
      if (isChosen) showToast(`Saved the style “${answer.saved}”.`);
      else showToast(`Saved the style “${answer.saved}”.`, "Use it", () => toggle(answer.saved));
    });
  };
  // While the form is open, keys belong to it: not to the viewer or the page below.
  const onFormKey = (event) => {
    if (form()?.open !== true || event.key === "Escape") return;
    event.stopImmediatePropagation();
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (!event.repeat) form().querySelector("form").requestSubmit();
  };
  window.addEventListener("keydown", onFormKey, true);

  // ---- Messages, above a dialog if one is open ------------------------------------------------------

  const showToast = (text, buttonText, action) => {
    document.querySelector(".style-toast")?.remove();
    const host = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.querySelector(".gradio-container");
    const toast = create("div", { className: "style-toast" }, create("p", {}, text));
    toast.setAttribute("role", "status");
    const hide = () => {
      const hadFocus = toast.contains(document.activeElement);
      toast.remove();
      if (hadFocus) (panel()?.querySelector("#styles-search") ?? byId("show-styles"))?.focus();
    };
    if (buttonText !== undefined) {
      const onclick = () => {
        hide();
        action();
      };
      toast.append(create("button", { type: "button", textContent: buttonText, onclick }));
    }
    host.append(toast);
    setTimeout(hide, TOAST_TIME);
    return toast;
  };

  // ---- Presets of the negative prompt ---------------------------------------------------------------

  const phrases = (text) => text.split(",").map((phrase) => phrase.trim()).filter(Boolean);
  const keys = (text) => phrases(text).map((phrase) => phrase.toLowerCase());
  const field = () => document.querySelector("#negative-prompt textarea");
  const presetButtons = () => [...bar.querySelectorAll("[data-words]")];
  const isOn = (button, text) => {
    const present = keys(text);
    return keys(button.dataset.words).every((key) => present.includes(key));
  };
  const renderPresets = (text) => {
    for (const button of presetButtons()) button.ariaPressed = String(isOn(button, text));
  };
  const onPreset = ({ target }) => {
    const button = target.closest("[data-words]");
    const input = field();
    if (button === null || input === null || input.disabled) return;
    const text = input.value;
    const words = keys(button.dataset.words);
    if (isOn(button, text)) {
      const others = presetButtons().filter((other) => other !== button && isOn(other, text));
      const shared = others.flatMap((other) => keys(other.dataset.words));
      const rest = phrases(text).filter((phrase) => !words.includes(phrase.toLowerCase()) || shared.includes(phrase.toLowerCase()));
      input.value = rest.join(", ");
    } else {
      const present = keys(text);
      const added = phrases(button.dataset.words).filter((phrase) => !present.includes(phrase.toLowerCase()));
      input.value = [text.trim().replace(/,$/, ""), ...added].filter(Boolean).join(", ");
    }
    input.dispatchEvent(new Event("input", { bubbles: true }));
    renderPresets(input.value);
  };

  // ---- The page -------------------------------------------------------------------------------------

  document.addEventListener("sd35:batch-options", () => {
    renderBar();
    renderPanel();
  });
  document.addEventListener("click", ({ target }) => {
    const button = target.closest?.("#show-styles, [data-save-style]");
    if (!button) return;
    button.closest(".menu")?.hidePopover();
    if (button.id === "show-styles") ask("show", {}, showPanel);
    else ask("new", { id: button.dataset.saveStyle, kind: "picture" }, showForm);
  });

  Object.assign(sd35, {
    bindStyles(element) {
      bar = element;
      element.addEventListener("click", onPreset);
      renderBar();
      renderPresets(field()?.value ?? "");
    },
    showNegativePresets(text) {
      if (bar !== null) renderPresets(text ?? "");
      return [];
    },

    // An answer of the server to a question of this page.
    showStyles(text) {
      const { request_id: number, ...answer } = JSON.parse(text || "{}");
      waiting.get(number)?.(answer);
      return [];
    },
  });
})();
