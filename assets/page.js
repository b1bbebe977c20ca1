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

  // An event stream that ends without "close_stream" is broken. Gradio would wait for it forever instead of opening another.
  // With these messages it polls the server, and reloads the page if it was waiting for a result.
  const BROKEN_MESSAGES = ["broken_connection", "close_stream"].map((msg) => `data: ${JSON.stringify({ msg, message: "" })}\n\n`);
  const withProperEnd = (body) => {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let tail = "";
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = await reader.read().catch((error) => {
          if (error.name === "AbortError") throw error;
          return { done: true };
        });
        if (!done) {
          tail = (tail + decoder.decode(value.subarray(-400))).slice(-400);
          controller.enqueue(value);
          return;
        }
        if (!tail.includes("close_stream")) controller.enqueue(new TextEncoder().encode(`\n\n${BROKEN_MESSAGES.join("")}`));
        controller.close();
      },
      cancel: (reason) => reader.cancel(reason),
    });
  };
  const originalFetch = window.fetch;
  window.fetch = async (resource, ...options) => {
    const response = await originalFetch(resource, ...options);
    const isStream = String(resource?.url ?? resource).includes("/queue/data?");
    if (!isStream || !response.ok || response.body === null) return response;
    const { status, statusText, headers } = response;
    return new Response(withProperEnd(response.body), { status, statusText, headers });
  };

  const byId = (id) => document.getElementById(id);
  const isShown = (element) => element !== null && element.offsetParent !== null;
  const press = (id) => {
    if (isShown(byId(id))) byId(id).click();
  };

  // Ctrl or Cmd + Enter generates, Escape stops. While an input method composes text, or the image fills the screen, these
  // keys belong to the browser.
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

  // Screen readers announce the start and the end of a job, not each step.
  const announcer = document.createElement("div");
  announcer.setAttribute("role", "status");
  announcer.className = "visually-hidden";

  let status;
  const updateStatus = () => {
    const panel = document.querySelector("#panel [data-status]");
    if (!panel || panel.dataset.status === status) return;
    const isFirst = status === undefined;
    status = panel.dataset.status;
    if (isFirst) return;
    announcer.textContent = status === "running" ? "Generating" : panel.textContent;
    // Stop disappears at the end of a job: without this, keyboard users would start again at the top of the page.
    if (document.activeElement === document.body || !isShown(document.activeElement)) {
      [byId("stop"), byId("generate")].find(isShown)?.focus({ preventScroll: true });
    }
    if (matchMedia("(max-width: 900px)").matches) byId("output").scrollIntoView({ block: "nearest" });
  };

  // A field with an error may be off the screen, above all on a phone.
  let hadErrors = false;
  const updateFieldErrors = () => {
    const fields = document.querySelectorAll("#prompt-area .block, #settings .block");
    const invalid = [...fields].filter((field) => field.querySelector(".validation-error"));
    fields.forEach((field) =>
      field.querySelectorAll("textarea, input").forEach((input) => {
        input.toggleAttribute("aria-invalid", invalid.includes(field));
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
  const updateTimes = () => {
    document.querySelectorAll("time:not([data-local])").forEach((time) => {
      const moment = new Date(time.dateTime);
      const clock = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const isToday = moment.toDateString() === new Date().toDateString();
      time.dataset.local = "";
      time.textContent = isToday ? clock : `${moment.toLocaleDateString([], { weekday: "long" })}, ${clock}`;
    });
  };

  // The title of the tab shows how many jobs are left. A system notification, where allowed, says when they are finished.
  let counts = { remaining: 0, completed: 0, failed: 0 };
  const notifyButton = document.createElement("button");
  notifyButton.type = "button";
  notifyButton.className = "notify";
  notifyButton.textContent = "Notify me when done";
  notifyButton.onclick = () => Notification.requestPermission().then(() => notifyButton.remove());
  const canAskPermission = () => "Notification" in window && Notification.permission === "default";

  const notify = (text) => {
    if ("Notification" in window && Notification.permission === "granted" && document.visibilityState === "hidden") {
      try {
        new Notification(text, { icon: document.querySelector("link[rel~=icon]")?.href, tag: "sd35" });
      } catch {
        // Chrome on Android allows notifications from service workers only
      }
    }
  };

  const pluralize = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  let unseen = { completed: 0, failed: 0 }; // since the queue was last empty, or the visitor last used the page
  let baseTitle, shownTitle;
  const showTitle = () => {
    if (document.title !== shownTitle) baseTitle = document.title; // Gradio has set it
    const parts = [];
    if (unseen.failed > 0) parts.push(`✗ ${unseen.failed} failed`);
    if (counts.remaining > 0) parts.push(`${counts.remaining} left`);
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
      if (added.failed > 0) notify(`${pluralize(added.failed, "image")} failed`);
      if (current.remaining === 0 && added.completed > 0)
        notify(unseen.completed === 1 ? "Your image is ready" : `${unseen.completed} images ready`);
    }
    isFirstQueue = false;
    const isButtonNeeded = current.remaining > 0 && canAskPermission();
    if (isButtonNeeded && !notifyButton.isConnected) byId("message")?.after(notifyButton);
    if (!isButtonNeeded) notifyButton.remove();
    counts = current;
    showTitle();
  };

  // Other pages of the same visitor may have changed the queue while this one was hidden.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    clearUnseen();
    byId("refresh")?.click();
  });

  window.sd35 = {
    // Buttons in HTML from the server raise "click" with their action and the id of their job.
    bindButtons(element, trigger) {
      element.addEventListener("click", (event) => {
        const { action, id } = event.target.closest("[data-action]")?.dataset ?? {};
        if (action) trigger("click", { action, id });
      });
    },
  };

  // Each update contains the server's time. If none arrives while jobs remain, or while an image is still to be saved, the
  // stream is dead and is restarted, less and less often.
  const RETRY_SECONDS = [4, 4, 8, 16];
  let lastUpdate = { time: "", at: Date.now(), retries: 0 };
  setInterval(() => {
    const time = document.querySelector("#queue .queue")?.dataset.time;
    const isWaiting = counts.remaining > 0 || document.querySelector("#panel [data-saving]") !== null;
    if (time !== lastUpdate.time || !isWaiting) lastUpdate = { time, at: Date.now(), retries: 0 };
    if (Date.now() - lastUpdate.at < 1000 * RETRY_SECONDS[Math.min(lastUpdate.retries, 3)]) return;
    lastUpdate = { ...lastUpdate, at: Date.now(), retries: lastUpdate.retries + 1 };
    byId("refresh")?.click();
  }, 1000);

  // Embedded in a page of another site, relative URLs would lead to that site.
  const updateUrls = () => {
    const root = window.gradio_config?.root;
    if (!root || new URL(root, location.href).origin === location.origin) return;
    for (const name of ["src", "href"]) {
      document.querySelectorAll(`[${name}^="studio/"]`).forEach((element) => {
        element.setAttribute(name, `${root}/${element.getAttribute(name)}`);
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
    // The seed is a text for Gradio, and a number for the keyboards of phones.
    document.querySelectorAll("#seed input:not([inputmode])").forEach((input) => (input.inputMode = "numeric"));
    updateTimes();
    updateStatus();
    updateFieldErrors();
  };
  let isScheduled = false;
  new MutationObserver(() => {
    if (!isScheduled) requestAnimationFrame(update);
    isScheduled = true;
  }).observe(document.documentElement, { subtree: true, childList: true });
})();
