// Behavior of the page itself: keys, focus, announcements, notifications.
// It changes no values of Gradio's components.
(() => {
  // In a frame of another site, a browser may block storage: any access to it throws. Gradio doesn't catch that and would
  // stop loading, so the page gets storage in memory there.
  for (const name of ["localStorage", "sessionStorage"]) {
    try {
      window[name].length;
    } catch {
      const entries = new Map();
      const value = {
        getItem: (key) => entries.get(String(key)) ?? null,
        setItem: (key, item) => void entries.set(String(key), String(item)),
        removeItem: (key) => void entries.delete(String(key)),
        clear: () => entries.clear(),
        key: (index) => [...entries.keys()][index] ?? null,
        get length() {
          return entries.size;
        },
      };
      Object.defineProperty(window, name, { value });
    }
  }

  // Gradio has a timer in each component that waits for an answer, and one that its first screen leaves behind. They ask for
  // each frame that the screen can show, for a text that is hidden, which takes up to a tenth of a core.
  const { requestAnimationFrame } = window;
  const TIMER_INTERVAL = 1000; // ms
  const isTimer = (callback) => {
    const text = String(callback);
    return text.length < 100 && text.includes("(performance.now()-");
  };
  const requestFrame = (callback) =>
    isTimer(callback) ? setTimeout(callback, TIMER_INTERVAL) : requestAnimationFrame.call(window, callback);
  if (window.gradio_config !== undefined) window.requestAnimationFrame = requestFrame; // not on another site's page

  const byId = (id) => document.getElementById(id);
  const isShown = (element) => element !== null && element.offsetParent !== null;
  const press = (id) => {
    if (isShown(byId(id))) byId(id).click();
  };

  // Ctrl or Cmd + Enter generates; Escape leaves a field, and does nothing else. While an input method composes text, these
  // keys belong to it.
  const onKey = (event) => {
    if (event.isComposing || event.keyCode === 229) return; // Safari's last key of a composition has this code alone
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!event.repeat) press("generate"); // else a key that is held down would make dozens of images
    } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
      document.activeElement?.blur();
    }
  };
  document.addEventListener("keydown", onKey, true);

  // Screen readers announce the start and the end of a job, not each step.
  const announcer = document.createElement("div");
  announcer.setAttribute("role", "status");
  announcer.className = "visually-hidden";

  // On a phone the image is below the form. The page moves only when nothing is being pressed or typed: a second press on
  // Generate would hit something else.
  const QUIET_TIME = 1000; // ms
  let pressedAt = 0;
  document.addEventListener("pointerdown", () => (pressedAt = Date.now()), true);
  let outputTimer = 0;
  const showOutput = () => {
    if (!matchMedia("(max-width: 900px)").matches) return;
    clearTimeout(outputTimer);
    const quietFor = Date.now() - pressedAt;
    if (quietFor < QUIET_TIME) outputTimer = setTimeout(showOutput, QUIET_TIME - quietFor);
    else if (!document.activeElement?.matches("input, textarea")) byId("output").scrollIntoView({ block: "nearest" });
  };

  let status;
  const updateStatus = () => {
    const panel = document.querySelector("#panel [data-status]");
    if (!panel || panel.dataset.status === status) return;
    const former = status;
    status = panel.dataset.status;
    // What the page opens with is no news, and a phone stays at the prompt.
    if (former === undefined || (former === "idle" && status === "completed")) return;
    announcer.textContent = status === "running" ? "Generating" : panel.textContent;
    showOutput();
  };

  // Gradio removes a field's error with the next update of a running job. It stays until the form is changed.
  const formText = () =>
    [...document.querySelectorAll(":is(#prompt-area, #settings) :is(textarea, input)")]
      .map((input) => (["checkbox", "radio"].includes(input.type) ? input.checked : input.value))
      .join("\n");
  const keptErrors = new Map(); // of the fields: { form, copy }
  const keepError = (field) => {
    const error = field.querySelector(".validation-error:not([data-kept])");
    const kept = keptErrors.get(field);
    if (error !== null && kept === undefined) {
      const copy = Object.assign(document.createElement("div"), { className: "validation-error", textContent: error.textContent });
      copy.dataset.kept = "";
      keptErrors.set(field, { form: formText(), copy });
    } else if (error === null && kept?.form === formText()) {
      if (!kept.copy.isConnected) field.prepend(kept.copy);
    } else kept?.copy.remove();
  };
  // Each press of Generate has errors of its own.
  const forgetErrors = () => {
    keptErrors.forEach(({ copy }) => copy.remove());
    keptErrors.clear();
  };
  document.addEventListener("click", (event) => event.target.closest?.("#generate") && forgetErrors(), true);
  // Gradio draws no error that arrives together with an update of a running job, which removes it: then it is asked again.
  const CHECK_TIME = 1000; // ms
  const checkFields = (attempts = 5, form = formText()) => {
    window.sd35.raise("check");
    setTimeout(() => {
      const isShown = document.querySelector(".validation-error") !== null;
      if (!isShown && attempts > 1 && formText() === form) checkFields(attempts - 1, form);
    }, CHECK_TIME);
  };

  // A field with an error may be off the screen, above all on a phone.
  let hadErrors = false;
  const updateFieldErrors = () => {
    const fields = document.querySelectorAll("#prompt-area .block, #settings .block");
    fields.forEach(keepError);
    const invalid = [...fields].filter((field) => field.querySelector(".validation-error"));
    fields.forEach((field) =>
      field.querySelectorAll("textarea, input").forEach((input) => {
        input.ariaInvalid = invalid.includes(field) ? "true" : null; // an attribute without a value means false
      }),
    );
    if (invalid.length > 0 && !hadErrors) {
      invalid[0].scrollIntoView({ block: "center" });
      invalid[0].querySelector("textarea, input")?.focus({ preventScroll: true });
      announcer.textContent = invalid.map((field) => field.querySelector(".validation-error").textContent).join(" ");
    }
    hadErrors = invalid.length > 0;
  };

  // Times are shown by the reader's clock, which may not be the server's.
  // A moment of the next days as a part of a sentence: "Thursday at 9:38", or "Thu 9:38".
  const dayTime = (moment, style) => {
    const clock = moment.toLocaleTimeString([], { hour: "numeric", minute: "2-digit" });
    const days = Math.round((new Date(moment).setHours(0, 0, 0, 0) - new Date().setHours(0, 0, 0, 0)) / 86_400_000);
    if (style === "short" && days === 0) return clock;
    const day = ["today", "tomorrow"][days] ?? moment.toLocaleDateString("en", { weekday: style });
    return style === "short" ? `${day} ${clock}` : `${day} at ${clock}`;
  };
  const updateTimes = () => {
    document.querySelectorAll("time:not([data-local])").forEach((time) => {
      const moment = new Date(time.dateTime);
      const clock = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const isToday = moment.toDateString() === new Date().toDateString();
      time.dataset.local = "";
      if (time.dataset.day !== undefined) time.textContent = dayTime(moment, time.dataset.day);
      else time.textContent = isToday ? clock : `${moment.toLocaleDateString([], { weekday: "long" })}, ${clock}`;
    });
  };

  // The title of the tab shows how many jobs are left. A system notification, where allowed, says when they are finished.
  let counts = { remaining: 0, completed: 0, failed: 0 };
  const notifyButton = document.createElement("button");
  notifyButton.type = "button";
  notifyButton.className = "notify";
  notifyButton.textContent = "Notify me when done";
  notifyButton.onclick = async () => {
    await Notification.requestPermission();
    isButtonNeeded = canAskPermission();
    if (!isButtonNeeded) notifyButton.remove();
  };
  const canAskPermission = () => "Notification" in window && Notification.permission === "default";
  let isButtonNeeded = false;

  const notify = (text) => {
    if ("Notification" in window && Notification.permission === "granted" && document.visibilityState === "hidden") {
      try {
        new Notification(text, { icon: document.querySelector("link[rel~=icon]")?.href, tag: "sd35" });
      } catch {
        // Chrome on Android allows notifications from service workers only
      }
    }
  };

  let unseen = { completed: 0, failed: 0 }; // since the queue was last empty, or the visitor last used the page
  let baseTitle, shownTitle;
  const showTitle = () => {
    if (document.title !== shownTitle) baseTitle = document.title; // Gradio has set it
    const parts = [];
    if (unseen.failed > 0) parts.push(`✗ ${unseen.failed} failed`);
    const remaining = counts.remaining + Number(document.querySelector("#outbox [data-pending]")?.dataset.pending ?? 0);
    if (remaining > 0) parts.push(`${remaining} left`);
    else if (unseen.completed > 0) parts.push(`✓ ${unseen.completed} done`);
    shownTitle = [...parts, baseTitle].join(" · ");
    if (document.title !== shownTitle) document.title = shownTitle;
  };
  const clearUnseen = () => {
    if (counts.remaining > 0 || (unseen.completed === 0 && unseen.failed === 0)) return;
    unseen = { completed: 0, failed: 0 };
    showTitle();
  };
  document.addEventListener("pointerdown", clearUnseen, true);
  document.addEventListener("keydown", clearUnseen, true);

  let isFirstQueue = true;
  const updateQueue = () => {
    const queue = document.querySelector("#queue .queue");
    if (!queue) return;
    const { remaining, completed, failed } = queue.dataset;
    const current = { remaining: Number(remaining), completed: Number(completed), failed: Number(failed) };
    const added = { completed: current.completed - counts.completed, failed: current.failed - counts.failed };
    if (counts.remaining === 0 && current.remaining > 0) unseen = { completed: 0, failed: 0 };
    if (!isFirstQueue && (added.completed > 0 || added.failed > 0)) {
      unseen.completed += Math.max(0, added.completed);
      unseen.failed += Math.max(0, added.failed);
      if (added.failed > 0) notify(`${window.sd35.pluralize(added.failed, "image")} failed`);
      if (current.remaining === 0 && added.completed > 0)
        notify(unseen.completed === 1 ? "Your image is ready" : `${unseen.completed} images ready`);
    }
    isFirstQueue = false;
    const isRunning = current.remaining > 0;
    // Browsers take long to tell, so not with each update.
    if (isRunning !== counts.remaining > 0) isButtonNeeded = isRunning && canAskPermission();
    if (isButtonNeeded && !notifyButton.isConnected) byId("rail")?.append(notifyButton);
    if (!isButtonNeeded) notifyButton.remove();
    counts = current;
    showTitle();
  };

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") clearUnseen();
  });

  // The buttons of the image: their values are in the page.
  let file = null;
  const download = () => {
    const link = Object.assign(document.createElement("a"), { href: file.url, download: file.orig_name });
    document.body.append(link);
    link.click();
    link.remove();
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#download") && file) download();
  });

  Object.assign((window.sd35 ??= {}), {
    setDownload(value) {
      file = value;
      return [];
    },
    announce: (text) => (announcer.textContent = text),
    forgetErrors,
    checkFields,
  });

  // The page's own address, whatever its server takes for that: a proxy may have changed the host or the path. As an element
  // of another page, relative addresses would lead to that page's server.
  const isOwnPage = () => window.gradio_config !== undefined;
  const address = () => {
    const source = isOwnPage() ? "./" : (document.querySelector("gradio-app")?.getAttribute("src") ?? "./");
    const url = new URL(source, document.baseURI);
    return url.origin + url.pathname.replace(/\/+$/, "");
  };
  const url = (path) => (isOwnPage() ? path : `${address()}/${path}`);
  Object.assign((window.sd35 ??= {}), { isOwnPage, address, url });
  const updateUrls = () => {
    if (isOwnPage()) return;
    for (const name of ["src", "href"]) {
      document.querySelectorAll(`:is([${name}^="studio/"], [${name}^="assets/"])`).forEach((element) => {
        element.setAttribute(name, url(element.getAttribute(name)));
      });
    }
  };

  // ⌘ on a Mac; style.css hides the keys where there is no keyboard.
  const updateKeys = () => {
    if (!/Mac|iPhone|iPad/.test(navigator.platform)) return;
    document.querySelectorAll("[data-key=ctrl]").forEach((key) => {
      key.removeAttribute("data-key"); // otherwise each update would cause the next one
      key.textContent = "⌘";
    });
  };

  const update = () => {
    isScheduled = false;
    updateUrls();
    updateKeys();
    updateQueue();
    if (!announcer.isConnected) document.body.append(announcer);
    // Gradio gives each radio input a name of its own, but arrow keys only move between inputs of the same name.
    document.querySelectorAll("#size input:not([name=size])").forEach((input) => (input.name = "size"));
    // Gradio's image has a button without a name, and a label on an element without a role.
    document.querySelectorAll("#picture .image-container > button:not([aria-label])").forEach((button) => (button.ariaLabel = "Image"));
    document.querySelectorAll("#picture .empty:not([role])").forEach((element) => (element.role = "img"));
    // The seed is a text for Gradio, and a number for the keyboards of phones.
    document.querySelectorAll("#seed input:not([inputmode])").forEach((input) => (input.inputMode = "numeric"));
    updateTimes();
    updateStatus();
    updateFieldErrors();
  };
  let isScheduled = false;
  const schedule = () => {
    if (isScheduled) return;
    isScheduled = true;
    // Hidden pages have no animation frames, but a title, and notifications.
    if (document.visibilityState === "hidden") setTimeout(update, 50);
    else requestAnimationFrame(update);
  };
  new MutationObserver(schedule).observe(document.documentElement, {
    subtree: true,
    childList: true,
    attributes: true,
    attributeFilter: ["data-status", "data-remaining", "data-completed", "data-failed", "data-pending"],
  });
  document.addEventListener("visibilitychange", () => isScheduled && update());
  document.addEventListener("input", schedule, true); // it may remove an error
})();
