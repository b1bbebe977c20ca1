// Suggestions while a prompt is typed: one's own words and phrases, tags, styles, and wildcards after "__".
(() => {
  const sd35 = (window.sd35 ??= {});
  const prompt = () => document.querySelector("#prompt-area textarea");

  const MAX_SUGGESTIONS = 6;
  const MIN_LETTERS = 2;
  const MIN_GAIN = 2; // characters that a suggestion saves
  const OPENING_DELAY = 200; // ms: nothing flickers while somebody types on
  const LEXICON_LIFETIME = 300_000; // ms
  // On a keyboard of a screen there is no Tab, and it has suggestions of its own.
  const hasKeyboard = !matchMedia("(hover: none) and (pointer: coarse)").matches;

  // ---- What is suggested --------------------------------------------------------------------------

  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const toEntries = (texts, kind) => (texts ?? []).map((text) => ({ text, kind, key: fold(text) }));
  let lexicon = null; // { entries, wildcards, at }
  let isLoading = false;
  const loadLexicon = async () => {
    if (isLoading || (lexicon !== null && Date.now() - lexicon.at < LEXICON_LIFETIME)) return;
    isLoading = true;
    const { phrases, tags, styles, wildcards } = await sd35.ask("phrases");
    const entries = [...toEntries(phrases, ""), ...toEntries(tags, "tag"), ...toEntries(styles, "style")];
    lexicon = { entries, wildcards: toEntries(wildcards, "wildcard"), at: Date.now() };
    isLoading = false;
    if (timer === 0 && list === null) scheduleOpening(); // somebody may wait for it
  };

  // A suggestion is { text, kind, start }: `start` is where what it replaces begins.
  const suggestWildcards = (before) => {
    const typed = /__([\w/-]*)$/.exec(before);
    const isOpen = typed !== null && before.split("__").length % 2 === 0;
    if (!isOpen) return null;
    const key = fold(typed[1]);
    const matches = lexicon.wildcards.filter((entry) => entry.key.startsWith(key) || entry.key.includes(`/${key}`));
    return matches.map(({ text }) => ({ text: `__${text}__`, kind: "wildcard", start: typed.index }));
  };
  const WORD_START = /(?<![\p{L}\p{N}'’-])\p{L}/gu;
  const suggestPhrases = (before) => {
    const partStart = before.search(/[^,;:.!?\n|{}()[\]]*$/u);
    const part = before.slice(partStart);
    const suggestions = [];
    // "a misty lighthouse" is found for "in a misty li", and then what begins with "li".
    for (const { index } of part.matchAll(WORD_START)) {
      const typed = part.slice(index);
      const letters = typed.match(/\p{L}/gu)?.length ?? 0;
      const isFinished = !/[\p{L}'’-]$/u.test(typed); // a phrase may go on after a space, a word can't
      if (letters < MIN_LETTERS || (isFinished && !/\p{L}\s+\p{L}/u.test(typed))) continue;
      const key = fold(typed);
      const isPart = part.slice(0, index).trim() === "";
      for (const entry of lexicon.entries) {
        const isMatch = entry.key.startsWith(key) && entry.key.length >= key.length + MIN_GAIN;
        if (isMatch && (entry.kind !== "style" || isPart)) suggestions.push({ ...entry, start: partStart + index });
        if (suggestions.length >= MAX_SUGGESTIONS) return suggestions;
      }
    }
    return suggestions;
  };
  const suggest = (field) => {
    const { selectionStart: caret, selectionEnd, value } = field;
    const isInWord = /^[\p{L}\p{N}_]/u.test(value.slice(caret));
    if (lexicon === null || caret !== selectionEnd || isInWord) return [];
    const before = value.slice(0, caret);
    const texts = new Set();
    const isNew = ({ text }) => !texts.has(fold(text)) && texts.add(fold(text));
    return (suggestWildcards(before) ?? suggestPhrases(before)).filter(isNew).slice(0, MAX_SUGGESTIONS);
  };

  // ---- The list -----------------------------------------------------------------------------------

  let list = null; // { element, suggestions, index }
  let timer = 0; // of its opening
  let closedAt = -1; // the beginning of the word for which the list was closed: it stays so, until something is deleted
  let lastLength = 0; // of the prompt

  // Where the caret is: a copy of the field with the text before it shows that.
  const COPIED_STYLES = [
    ...["fontFamily", "fontSize", "fontWeight", "fontStyle", "letterSpacing", "lineHeight", "textIndent", "tabSize", "direction"],
    ...["paddingTop", "paddingRight", "paddingBottom", "paddingLeft", "borderTopWidth", "borderRightWidth", "borderLeftWidth"],
  ];
  const caretPosition = (field, index) => {
    const styles = getComputedStyle(field);
    const copy = document.createElement("div");
    for (const name of COPIED_STYLES) copy.style[name] = styles[name];
    const width = `${field.offsetWidth}px`;
    Object.assign(copy.style, { position: "fixed", top: "0", left: "0", width, visibility: "hidden", boxSizing: "border-box" });
    Object.assign(copy.style, { borderStyle: "solid", whiteSpace: "pre-wrap", overflowWrap: "break-word" });
    const marker = document.createElement("span");
    marker.textContent = field.value.slice(index, index + 1) || ".";
    copy.append(field.value.slice(0, index), marker);
    document.body.append(copy);
    const [box, place] = [field.getBoundingClientRect(), marker.getBoundingClientRect()];
    copy.remove();
    const y = box.top - field.scrollTop;
    return { left: box.left + place.left, top: y + place.top, bottom: y + place.bottom };
  };
  const placeList = (field) => {
    const { element, suggestions } = list;
    const { left, top, bottom } = caretPosition(field, suggestions[0].start);
    const { offsetWidth: width, offsetHeight: height } = element;
    const isBelow = bottom + height + 8 < innerHeight;
    element.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
    element.style.top = `${isBelow ? bottom + 4 : top - height - 4}px`;
  };
  const close = () => {
    clearTimeout(timer);
    timer = 0;
    if (list === null) return;
    list.element.remove();
    list = null;
    for (const name of ["aria-controls", "aria-activedescendant"]) prompt()?.removeAttribute(name);
  };
  const select = (index) => {
    const options = [...list.element.children];
    list.index = (index + options.length) % options.length;
    options.forEach((option, at) => option.setAttribute("aria-selected", String(at === list.index)));
    prompt().setAttribute("aria-activedescendant", options[list.index].id);
  };
  const createOption = ({ text, kind }, index) => {
    const option = document.createElement("li");
    option.id = `suggestion-${index}`;
    option.setAttribute("role", "option");
    option.append(Object.assign(document.createElement("span"), { textContent: text, dir: "auto" }));
    if (kind !== "") option.append(Object.assign(document.createElement("i"), { textContent: kind }));
    option.onpointerdown = (event) => event.preventDefault(); // the field keeps the focus
    option.onclick = () => take(index);
    return option;
  };
  const open = (field) => {
    timer = 0;
    const suggestions = document.activeElement === field ? suggest(field) : [];
    const isUnwanted = suggestions.length === 0 || suggestions[0].start === closedAt;
    const wasOpen = list !== null;
    close();
    if (isUnwanted) return;
    closedAt = -1;
    const element = document.createElement("ul");
    element.id = "suggestions";
    element.setAttribute("role", "listbox");
    element.setAttribute("aria-label", "Suggestions");
    element.append(...suggestions.map(createOption));
    list = { element, suggestions, index: 0 };
    (field.closest("main") ?? document.querySelector(".gradio-container")).append(element);
    // HTML allows no other role than that of a text field here; the rest is the pattern of a combobox.
    field.setAttribute("aria-autocomplete", "list");
    field.setAttribute("aria-controls", element.id);
    select(0);
    placeList(field);
    const noun = suggestions.length === 1 ? "suggestion" : "suggestions";
    if (!wasOpen) sd35.announce(`${suggestions.length} ${noun}, Tab takes one`);
  };
  const scheduleOpening = () => {
    const field = prompt();
    clearTimeout(timer);
    if (list !== null) open(field);
    else timer = setTimeout(() => open(field), OPENING_DELAY);
  };
  const take = (index) => {
    const { text, kind, start } = list.suggestions[index];
    const field = prompt();
    const end = field.selectionStart;
    close();
    closedAt = start;
    if (kind === "style") {
      sd35.insertText(field, start, end, "");
      const { styles } = sd35.batchOptions();
      if (!styles.includes(text)) sd35.setBatchOptions({ styles: [...styles, text] });
      sd35.announce(`Style added: ${text}`);
    } else sd35.insertText(field, start, end, text);
  };

  // ---- Listeners ----------------------------------------------------------------------------------

  const isTyped = ({ inputType, isComposing, target }) =>
    target === prompt() && !isComposing && !sd35.isInserting() && ["insertText", "deleteContentBackward"].includes(inputType);
  const onInput = (event) => {
    if (event.target !== prompt()) return;
    if (event.target.value.length < lastLength && !sd35.isInserting()) closedAt = -1;
    lastLength = event.target.value.length;
    if (sd35.isInserting()) return;
    // Deleting narrows an open list, and opens none.
    if (!isTyped(event) || (event.inputType !== "insertText" && list === null)) {
      close();
      return;
    }
    loadLexicon();
    scheduleOpening();
  };
  const onKey = (event) => {
    if (event.target !== prompt() || event.isComposing || event.keyCode === 229) return;
    const { key, ctrlKey, metaKey, altKey, shiftKey } = event;
    const isTyping = [...key].length === 1 || ["Backspace", "Shift", "Dead", "Process"].includes(key);
    if (list === null || ctrlKey || metaKey || altKey || (shiftKey && !isTyping)) {
      if (!isTyping || ctrlKey || metaKey) close();
      return;
    }
    if (key === "ArrowDown" || key === "ArrowUp") select(list.index + (key === "ArrowDown" ? 1 : -1));
    else if (key === "Tab") take(list.index);
    else if (key === "Escape") {
      closedAt = list.suggestions[0].start;
      close();
    } else {
      if (!isTyping) close(); // Enter is a new line, as ever
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation(); // Escape would leave the field
  };
  if (hasKeyboard) {
    window.addEventListener("input", onInput, true);
    window.addEventListener("keydown", onKey, true);
    window.addEventListener("blur", ({ target }) => target === prompt() && close(), true);
    window.addEventListener("pointerdown", ({ target }) => target.closest?.("#suggestions") ?? close(), true);
    window.addEventListener("scroll", ({ target }) => list !== null && !list.element.contains(target) && close(), true);
    window.addEventListener("resize", close);
    const forgetLexicon = () => lexicon !== null && (lexicon.at = 0); // it is used until the next one is there
    document.addEventListener("click", ({ target }) => target.closest?.("#generate") && forgetLexicon(), true);
  }
})();
