// The form: its draft, the sides of a size, and numbers that are empty or out of range.
(() => {
  // The draft is the whole form. A reload of a tab finds its own, another tab or another day the newest.
  const draftKey = () => `sd35-draft:${window.gradio_config?.username ?? ""}`;
  const readDraft = (storage) => {
    try {
      const draft = JSON.parse(storage.getItem(draftKey()));
      return Array.isArray(draft) ? draft : null;
    } catch {
      return null; // written by something else
    }
  };
  // Gradio's components fail with values of other types.
  const isUsable = (saved, current, isNumber) =>
    typeof saved === typeof current || (isNumber && (saved === null || typeof saved === "number"));
  const isSize = (size) => [...document.querySelectorAll("#size input")].some((input) => input.value === size);

  let isRestored = false; // until then the fields have their first values, which must not replace the draft

  // What Gradio's own fields show as numbers, by their order in the form.
  const SIZE_INDEX = 2;
  const NUMBER_INDEXES = [3, 4, 5, 6];

  // The sizes of the Space in pixels, those that it doesn't offer, and its defaults.
  let hints = { sizes: {}, unavailable: [], note: "", defaults: {}, multiple: 1, maxPixels: 0 };
  let hintedSize = null;
  const createHint = () => {
    const hint = Object.assign(document.createElement("div"), { id: "size-hint" });
    for (const _ of ["size", "note"]) hint.append(Object.assign(document.createElement("p"), { className: "size-hint" }));
    document.getElementById("size").after(hint);
    return hint;
  };
  const showSizeHint = (size) => {
    hintedSize = size;
    const [text, note] = (document.getElementById("size-hint") ?? createHint()).children;
    text.textContent = hints.sizes[size]?.text ?? "";
    // What is said of the chosen size is said already.
    note.textContent = hints.unavailable.includes(size) ? "" : hints.note;
    const warning = size === "custom" ? sidesWarning() : "";
    text.toggleAttribute("data-warning", warning !== "");
    if (warning !== "") text.textContent = warning;
  };
  // What the server would refuse. While a number is typed, it may be out of its range.
  const sidesWarning = () => {
    const [width, height] = ["width", "height"].map((id) => document.querySelector(`#${id} input[type=number]`));
    if (width === null || height === null) return "";
    const [columns, rows] = [width.valueAsNumber, height.valueAsNumber];
    if (hints.maxPixels > 0 && columns * rows > hints.maxPixels) {
      const megapixels = (hints.maxPixels / 1e6).toFixed(1);
      return `${columns} × ${rows} is too large: this Space makes up to ${megapixels} megapixels.`;
    }
    const isOff = [columns, rows].some((side) => side % hints.multiple > 0);
    return isOff ? `Width and height must be multiples of ${hints.multiple}.` : "";
  };
  const SLIDERS = "#width, #height, #guidance_scale, #num_inference_steps";

  const setNumber = (input, value) => {
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };

  // Says below a slider what became of a number that was typed.
  const showCorrection = (slider, text) => {
    let note = slider.querySelector(".correction");
    if (note === null && text === "") return;
    if (note === null) {
      note = document.createElement("p");
      note.className = "correction";
      note.setAttribute("role", "status");
      slider.append(note);
    }
    note.textContent = text;
  };

  const onLeave = (event) => {
    const input = event.target;
    const slider = input.closest?.(SLIDERS);
    if (!slider || input.type !== "number") return;
    const [value, minimum, maximum] = [input.valueAsNumber, Number(input.min), Number(input.max)];
    if (Number.isNaN(value)) {
      const byDefault = hints.defaults[slider.id];
      setNumber(input, byDefault);
      showCorrection(slider, `Empty: set to the default, ${byDefault}.`);
    } else if (value > maximum) {
      showCorrection(slider, `${value} is above the maximum: set to ${maximum}.`);
    } else if (value < minimum) {
      showCorrection(slider, `${value} is below the minimum: set to ${minimum}.`);
    }
  };
  // Gradio sets an empty number to the minimum, and others to their range, when its field is left: this has to be earlier.
  document.addEventListener("blur", onLeave, true);
  document.addEventListener(
    "input",
    (event) => {
      const slider = event.target.closest?.(SLIDERS);
      if (slider) showCorrection(slider, "");
      if (slider && hintedSize === "custom") setTimeout(() => showSizeHint(hintedSize)); // both inputs have the number then
    },
    true,
  );

  // Some browsers drop a decimal comma that is typed or pasted: "0,5" would be 5.
  const onComma = (event) => {
    if (event.target.type !== "number" || !event.data?.includes(",") || !event.target.closest(SLIDERS)) return;
    event.preventDefault();
    document.execCommand("insertText", false, event.data.replace(",", "."));
  };
  document.addEventListener("beforeinput", onComma, true);

  // Browsers change a focused number by the wheel, instead of scrolling; not while it is read-only. They act after all
  // listeners, and at once.
  const onWheel = ({ target }) => {
    if (target.type !== "number" || target.readOnly) return;
    target.readOnly = true;
    setTimeout(() => (target.readOnly = false));
  };
  document.addEventListener("wheel", onWheel, { capture: true, passive: true });

  // Gradio's button would set the first default of the page, not that of the connected Space.
  const onReset = (event) => {
    const slider = event.target.closest?.(".reset-button")?.closest(SLIDERS);
    if (!slider) return;
    event.stopPropagation();
    setNumber(slider.querySelector("input[type=number]"), hints.defaults[slider.id]);
  };
  document.addEventListener("click", onReset, true);

  // Pressed again before the server has answered, the keys mean the removal before the one that is still shown.
  let undoneIds = "";
  const undo = (triesLeft = 20) => {
    const button = document.querySelector("#message .toast button");
    if (button?.dataset.id === undoneIds && triesLeft > 0) {
      setTimeout(() => undo(triesLeft - 1), 100);
      return;
    }
    undoneIds = button?.dataset.id ?? "";
    button?.click();
  };
  // In a text field these keys undo typing.
  const onUndo = (event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
    const isTyping = event.target.matches?.("input:not([type=checkbox], [type=radio], [type=range]), textarea");
    const isShown = document.querySelector("#message .toast button") !== null;
    if (!isUndo || isTyping || !isShown || document.documentElement.dataset.tab !== "create") return;
    event.preventDefault();
    undo();
  };
  document.addEventListener("keydown", onUndo, true);

  // The next user of this browser must not see what was typed.
  const onLogOut = (event) => {
    if (!event.target.closest?.('a[href$="logout"]')) return;
    for (const storage of [localStorage, sessionStorage]) storage.removeItem(draftKey());
  };
  document.addEventListener("click", onLogOut, true);

  Object.assign(window.sd35, {
    // The fields, and the limits for which they were filled in.
    saveDraft(values) {
      window.sd35.appliedLimits = values.at(-1);
      showSizeHint(values[SIZE_INDEX]);
      document.dispatchEvent(new CustomEvent("sd35:form", { detail: values }));
      if (!isRestored) return [];
      for (const storage of [localStorage, sessionStorage]) storage.setItem(draftKey(), JSON.stringify(values));
      return [];
    },

    restoreDraft(current) {
      isRestored = true;
      const draft = readDraft(sessionStorage) ?? readDraft(localStorage);
      const [appliedLimits, draftLimits, sizeHints] = current.splice(-3);
      hintedSize = current[SIZE_INDEX];
      this.showSizeHints(sizeHints);
      window.sd35.appliedLimits = appliedLimits;
      if (draft === null || draft.length !== current.length + 1) return [...current, appliedLimits, draftLimits];
      const fields = current.map((value, index) => {
        const saved = draft[index];
        const isGood = index === SIZE_INDEX ? isSize(saved) : isUsable(saved, value, NUMBER_INDEXES.includes(index));
        return isGood ? saved : value;
      });
      // The defaults of another Space may be in the fields: the server replaces them.
      if (draft.at(-1) !== appliedLimits) window.sd35.appliedLimits = "";
      return [...fields, window.sd35.appliedLimits, draft.at(-1)];
    },

    showSizeHints(text) {
      hints = JSON.parse(text);
      // Gradio's Radio can't disable single choices, so they are crossed out.
      document.querySelectorAll("#size label").forEach((label) => {
        label.toggleAttribute("data-unavailable", hints.unavailable.includes(label.querySelector("input").value));
      });
      showSizeHint(hintedSize);
      return [];
    },

    // Updates of the sliders for the sides, which only the custom size has.
    showSides(size) {
      const update = () => ({ __type__: "update", visible: size === "custom" });
      return [update(), update()];
    },

    // The width and height of a preset, for the fields of a custom size; nothing for others.
    sides: (size) => hints.sizes[size]?.sides ?? null,
  });
})();
