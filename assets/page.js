// What the page does by itself: keys, focus, and telling those who don't see the screen. It changes no values.
(() => {
  // In another site's frame a browser may keep nothing for this page, and throw where it is asked: Gradio stops there.
  for (const name of ["localStorage", "sessionStorage"]) {
    try {
      window[name].length;
    } catch {
      const kept = new Map();
      const value = {
        getItem: (key) => kept.get(String(key)) ?? null,
        setItem: (key, what) => void kept.set(String(key), String(what)),
        removeItem: (key) => void kept.delete(String(key)),
        clear: () => kept.clear(),
        key: (index) => [...kept.keys()][index] ?? null,
        get length() {
          return kept.size;
        },
      };
      Object.defineProperty(window, name, { value });
    }
  }

  const byId = (id) => document.getElementById(id);
  const isShown = (element) => element !== null && element.offsetParent !== null;
  const press = (id) => {
    if (isShown(byId(id))) byId(id).click();
  };

  // Ctrl or Cmd + Enter generates, Escape stops; but the Escape that leaves the full screen, or an input method, is not ours.
  const onKey = (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      press("generate");
    } else if (event.key === "Escape" && !document.querySelector("#picture.fullscreen")) {
      press("stop");
    }
  };
  document.addEventListener("keydown", onKey, true);

  // One voice, that speaks when something begins or ends, and not at each step.
  const voice = document.createElement("div");
  voice.setAttribute("role", "status");
  voice.className = "voice";

  let phase;
  const followPhase = () => {
    const panel = document.querySelector("#panel [data-phase]");
    if (!panel || panel.dataset.phase === phase) return;
    const isFirst = phase === undefined;
    phase = panel.dataset.phase;
    if (isFirst) return;
    voice.textContent = phase === "running" ? "Generating" : panel.textContent;
    // The button that was pressed has made way for the other.
    if (document.activeElement === document.body || !isShown(document.activeElement)) {
      [byId("stop"), byId("generate")].find(isShown)?.focus({ preventScroll: true });
    }
    byId("output").scrollIntoView({ block: "nearest" });
  };

  // A mistake may be said at a field that is off the screen.
  let hadMistakes = false;
  const followMistakes = () => {
    const fields = document.querySelectorAll("#ask .block, #settings .block");
    const wrong = [...fields].filter((field) => field.querySelector(".validation-error"));
    fields.forEach((field) =>
      field.querySelectorAll("textarea, input").forEach((input) => {
        input.toggleAttribute("aria-invalid", wrong.includes(field));
      }),
    );
    if (wrong.length > 0 && !hadMistakes) {
      wrong[0].scrollIntoView({ block: "center" });
      wrong[0].querySelector("textarea, input")?.focus({ preventScroll: true });
      voice.textContent = wrong.map((field) => field.querySelector(".validation-error").textContent).join(" ");
    }
    hadMistakes = wrong.length > 0;
  };

  // A time is shown by the clock of who reads it, which may be another than the server's.
  const followTimes = () => {
    document.querySelectorAll("#panel time:not([data-here]), #banner time:not([data-here])").forEach((time) => {
      const moment = new Date(time.dateTime);
      const clock = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const isToday = moment.toDateString() === new Date().toDateString();
      time.dataset.here = "";
      time.textContent = isToday ? clock : `${moment.toLocaleDateString([], { weekday: "long" })}, ${clock}`;
    });
  };

  const follow = () => {
    scheduled = false;
    if (!voice.isConnected) document.body.append(voice);
    // Gradio names each radio input differently, so that the arrow keys don't know that they belong together.
    document.querySelectorAll("#size input:not([name=size])").forEach((input) => (input.name = "size"));
    followTimes();
    followPhase();
    followMistakes();
  };
  let scheduled = false;
  new MutationObserver(() => {
    if (!scheduled) requestAnimationFrame(follow);
    scheduled = true;
  }).observe(document.documentElement, { subtree: true, childList: true });
})();
