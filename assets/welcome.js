// The first minute: the page is ready to be typed in when it opens.
(() => {
  const root = document.documentElement;
  const prompt = () => document.querySelector("#prompt-area textarea");

  // On a computer, and only if nobody has begun to do something else: a phone would show its keyboard, and a frame would take
  // the focus from the page around it.
  const hasKeyboard = matchMedia("(hover: hover) and (pointer: fine)").matches;
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
  if (hasKeyboard && window === window.top && window.sd35.isOwnPage()) observer.observe(root, { subtree: true, childList: true });
})();
