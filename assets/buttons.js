// Buttons in HTML from the server. That HTML changes at any time, also while a button is being pressed: a press counts for
// what the button was when it began, and a button that has just appeared, or has become another one, takes none.
(() => {
  const sd35 = (window.sd35 ??= {});

  const AREAS = "#sheet, #panel, #queue, #recent, #message, #outbox";
  const SETTLING_TIME = 500; // ms
  const COSTLY_SETTLING_TIME = 1000; // ms
  const COSTLY_ACTIONS = ["stop", "stop-all", "stop-set", "clear-queue"];
  const HARMLESS = ":not([data-action=select], [data-action=restore], [data-action=live], [data-action=show-set])"; // they take each press
  const RESULT_BUTTONS = "#actions :is(button, a), #recent a"; // they appear where Stop was

  const changes = new WeakMap(); // of each button: what it does, and since when
  const meaning = (button) => `${button.dataset.action ?? button.id} ${button.dataset.id ?? ""}`;
  const settlingTime = (button) =>
    COSTLY_ACTIONS.includes(button.dataset.action) || button.matches(RESULT_BUTTONS) ? COSTLY_SETTLING_TIME : SETTLING_TIME;
  const isSettling = (button) => changes.has(button) && Date.now() - changes.get(button).at < settlingTime(button);

  // Assistive technology and the style sheet see that a button takes no press yet.
  const showSettling = (button) => {
    if (isSettling(button)) {
      if (button.getAttribute("aria-disabled") !== "true") button.setAttribute("aria-disabled", "true");
    } else if (button.hasAttribute("aria-disabled")) button.removeAttribute("aria-disabled");
  };
  const settle = (button) => {
    changes.set(button, { meaning: meaning(button), at: Date.now() });
    showSettling(button);
    setTimeout(() => showSettling(button), settlingTime(button) + 10);
  };

  // The focus stays on what it was on, not on the element: Gradio makes one button of another.
  let focused = null; // { element, area, meaning }
  document.addEventListener("focusin", ({ target }) => {
    const area = target.closest?.(AREAS);
    focused = area && target.dataset.action ? { element: target, area, meaning: meaning(target) } : null;
  });
  const keepFocus = (area) => {
    if (focused?.area !== area || !area.isConnected) return;
    const { element } = focused;
    const isLost = !element.isConnected && [null, document.body].includes(document.activeElement);
    const isOther = element === document.activeElement && meaning(element) !== focused.meaning;
    if (!isLost && !isOther) return;
    const same = [...area.querySelectorAll("[data-action]")].find((button) => meaning(button) === focused.meaning);
    // Never to another button: a key that is pressed at this moment would press it.
    const other = area.id === "panel" ? area.querySelector(".job") : area; // the panel itself has no box
    if (same === undefined) other.tabIndex = -1;
    (same ?? other).focus({ preventScroll: true });
  };

  const update = (area) => {
    for (const button of area.querySelectorAll(`[data-action]${HARMLESS}`)) {
      if (changes.get(button)?.meaning !== meaning(button)) settle(button);
      else showSettling(button); // Gradio has removed the attribute
    }
    area.querySelectorAll(RESULT_BUTTONS).forEach(showSettling);
    keepFocus(area);
  };

  // The press that has begun: { button, action, id, trigger, isSettling, x, y }
  let pressed = null;
  const triggers = new WeakMap(); // of the areas
  const BUTTONS = `[data-action], ${RESULT_BUTTONS}`;
  const MAX_MOVE = 10; // pixels

  const onPressStart = ({ target, clientX: x, clientY: y }) => {
    const button = target.closest?.(BUTTONS) ?? null;
    const { action, id } = button?.dataset ?? {};
    const trigger = triggers.get(button?.closest(AREAS));
    pressed = button && { button, action, id, trigger, isSettling: isSettling(button), x, y };
  };
  // The button may have gone or moved under a pointer that hasn't: to the browser that is no click.
  const onPressEnd = ({ target, clientX, clientY }) => {
    if (pressed === null || target.closest?.(BUTTONS) === pressed.button) return;
    const { action, id, trigger, isSettling: wasSettling, x, y } = pressed;
    pressed = null;
    if (!wasSettling && Math.hypot(clientX - x, clientY - y) < MAX_MOVE) trigger?.({ action, id });
  };
  const onClick = (event) => {
    const button = event.target.closest?.(BUTTONS);
    const wasSettling = pressed !== null && pressed.button === button && pressed.isSettling;
    if (!button || !(wasSettling || isSettling(button))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  document.addEventListener("pointerdown", onPressStart, true);
  document.addEventListener("pointerup", onPressEnd, true);
  document.addEventListener("pointercancel", () => (pressed = null), true);
  document.addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && onPressStart(event), true);
  document.addEventListener("click", onClick, true);

  // A key that is held down would press a button thirty times a second.
  document.addEventListener(
    "keydown",
    (event) => event.repeat && event.key === "Enter" && event.target.closest?.("button, [role=button]") && event.preventDefault(),
    true,
  );

  let status;
  const updateStatus = (area) => {
    const { job, status: newStatus } = area.querySelector("[data-status]")?.dataset ?? {};
    if (`${newStatus} ${job}` === status) return;
    status = `${newStatus} ${job}`;
    document.querySelectorAll(RESULT_BUTTONS).forEach(settle);
  };

  // Buttons raise "click" with their action and the id of their job.
  sd35.bindButtons = (element, trigger) => {
    const area = element.closest(AREAS);
    const send = (data) => trigger("click", data);
    triggers.set(area, send);
    const onChange = () => {
      update(area);
      if (area.id === "panel") updateStatus(area);
    };
    new MutationObserver(onChange).observe(element, {
      subtree: true,
      childList: true,
      attributes: true,
      attributeFilter: ["data-action", "data-id", "data-status", "data-job", "aria-disabled"],
    });
    onChange();
    element.addEventListener("click", (event) => {
      const button = event.target.closest("[data-action]");
      if (button === null) return;
      const { action, id } = pressed?.button === button ? pressed : button.dataset;
      pressed = null;
      send({ action, id });
    });
  };

  // For buttons that the page's own scripts draw.
  sd35.settleButtons = (element) => update(element.closest(AREAS));
})();
