// The first minute: the cursor in the prompt, examples on the empty stage, and prompts at random, each of which can be undone.
(() => {
  const sd35 = (window.sd35 ??= {});
  const root = document.documentElement;
  const prompt = () => document.querySelector("#prompt-area textarea");
  const hasKeyboard = matchMedia("(hover: hover) and (pointer: fine)").matches;

  // ---- The cursor is in the prompt ------------------------------------------------------------------
  // On a computer, and only if nobody has begun to do something else: a phone would show its keyboard, and a frame would take
  // the focus from the page around it.

  let isUsed = false;
  for (const name of ["pointerdown", "keydown", "wheel"]) {
    window.addEventListener(name, () => (isUsed = true), { capture: true, once: true, passive: true });
  }
  const focusPrompt = () => {
    if (prompt() === null) return;
    observer.disconnect();
    const isFree = [null, document.body].includes(document.activeElement);
    if (isFree && !isUsed && root.dataset.tab === "create") prompt().focus({ preventScroll: true });
  };
  const observer = new MutationObserver(focusPrompt);
  if (hasKeyboard && window === window.top && sd35.isOwnPage()) observer.observe(root, { subtree: true, childList: true });

  // ---- Prompts that the page fills in ---------------------------------------------------------------
  // Browsers forget what a field can undo when a script sets its value.

  const MAX_PROMPTS = 100;
  const past = [];
  const future = [];
  let filledText = null; // while the prompt is as the page has filled it in

  const showButtons = () => {
    const counts = { undo: past.length, redo: future.length };
    for (const [name, count] of Object.entries(counts)) {
      const button = document.querySelector(`[data-idea=${name}]`);
      if (count === 0 && button === document.activeElement) document.querySelector("[data-idea=surprise]").focus();
      button.hidden = count === 0;
    }
  };
  const setPrompt = (text) => {
    filledText = text;
    prompt().value = text;
    prompt().dispatchEvent(new Event("input", { bubbles: true }));
    showButtons();
  };
  const fill = (text) => {
    if (text === prompt().value) return;
    past.push(prompt().value);
    past.splice(0, past.length - MAX_PROMPTS);
    future.length = 0;
    setPrompt(text);
  };
  const step = (source, target) => {
    if (source.length === 0) return;
    target.push(prompt().value);
    setPrompt(source.pop());
  };

  // The page moves when the finger that has pressed a card is done: a second tap would hit something else.
  const SCROLL_DELAY = 400; // ms
  const useExample = (text) => {
    fill(text);
    if (hasKeyboard) prompt().focus();
    else setTimeout(() => document.getElementById("prompt-area").scrollIntoView({ behavior: "smooth" }), SCROLL_DELAY);
    sd35.announce("Prompt filled in. Change it, or press Generate.");
  };

  const onClick = ({ target }) => {
    const { idea, prompt: text } = target.closest("[data-idea], [data-prompt]")?.dataset ?? {};
    if (text !== undefined) useExample(text);
    else if (idea === "undo") step(past, future);
    else if (idea === "redo") step(future, past);
    else if (idea === "surprise") sd35.raise("surprise");
  };
  // As after typing, as long as nothing was typed since: then these keys undo that.
  const onKey = (event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (!isUndo || event.target !== prompt() || prompt().value !== filledText) return;
    event.preventDefault();
    if (event.shiftKey) step(future, past);
    else step(past, future);
  };
  document.addEventListener("keydown", onKey, true);

  Object.assign(sd35, {
    bindIdeas: (element) => element.addEventListener("click", onClick),

    fillPrompt(text) {
      fill(text);
      sd35.announce(text);
      return [];
    },
  });
})();
