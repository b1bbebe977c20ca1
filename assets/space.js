// The panel in which the Space is chosen, and a token added. It exists only while it is open.
(() => {
  const sd35 = (window.sd35 ??= {});
  const TURBO = "stabilityai/stable-diffusion-3.5-large-turbo";
  const LOOKUP_INTERVAL = 1500; // ms
  const MAX_LOOKUPS = 6;

  const panel = () => document.getElementById("space-panel");
  const otherPages = new BroadcastChannel("sd35-jobs"); // connection.js listens, on this page too
  let intent = ""; // the way on for which the panel was opened
  let request = ""; // of the panel, "open" or "renew": a visitor may have closed it before it comes
  let opener = null;

  const close = () => {
    panel()?.close();
  };
  const isBusy = () => panel()?.hasAttribute("data-busy") === true;
  const setBusy = (busy) => {
    panel()?.toggleAttribute("data-busy", busy);
    panel()?.setAttribute("aria-busy", String(busy));
  };
  const showError = (name, text) => {
    const error = panel()?.querySelector(`#${name}-error`);
    if (!error) return;
    error.textContent = text;
    const field = panel().querySelector(`[aria-describedby~="${error.id}"]`);
    if (field) field.ariaInvalid = text === "" ? null : "true";
    if (text !== "") (field ?? panel().querySelector("[data-remove-token]"))?.focus();
  };
  const open = (way = "") => {
    if (panel() !== null) return;
    intent = way;
    opener = document.activeElement;
    request = "open";
    sd35.raise("spaces");
  };

  const choose = (target) => {
    if (isBusy()) return;
    showError("space", "");
    setBusy(true);
    sd35.raise("choose", { target });
  };

  // Not one of Gradio's calls: those are repeated, and their values kept.
  const sendToken = async (init) => {
    if (isBusy()) return;
    showError("token", "");
    setBusy(true);
    const headers = { "Content-Type": "application/json" };
    if (sd35.isOwnPage()) headers["X-Page-Address"] = sd35.address();
    let text = "No connection to the app. Try again.";
    try {
      const response = await fetch(sd35.url("studio/token"), { ...init, headers, signal: AbortSignal.timeout(60_000) });
      const isAnswer = response.headers.get("Content-Type")?.startsWith("application/json");
      const { error } = isAnswer ? await response.json() : {};
      text = error ?? (response.status === 401 ? "Log in again first." : `The app answered with an error (${response.status}).`);
    } catch {
      // the text says it
    }
    setBusy(false);
    if (text !== "") {
      showError("token", text);
      return;
    }
    for (const change of ["Space", "changed"]) otherPages.postMessage(change);
    sd35.raise("connection");
    sd35.followJobs();
    const isAdded = init.method === "POST";
    sd35.announce(isAdded ? "Token added" : "Token removed");
    if (panel() === null) return;
    if (intent === "token" && isAdded) {
      close();
      return;
    }
    request = "renew";
    sd35.raise("spaces");
  };

  const onClick = ({ target }) => {
    if (target === panel() || target.closest("[data-close]")) close(); // beside it, or on its button
    if (target.closest("[data-remove-token]")) sendToken({ method: "DELETE" });
    const choice = target.closest("[data-target]");
    if (choice?.getAttribute("aria-current") === "true") close();
    else if (choice) choose(choice.dataset.target);
  };
  const onSubmit = (event) => {
    event.preventDefault();
    const { value } = event.target.querySelector("input");
    if (event.target.dataset.form === "token") sendToken({ method: "POST", body: JSON.stringify({ token: value }) });
    else choose(value);
  };
  const onClose = () => {
    panel()?.remove();
    intent = "";
    const target = opener?.isConnected && opener !== document.body ? opener : document.getElementById("space-name");
    target?.focus();
  };

  const focusFirst = () => {
    const field = ["token", "change"].includes(intent) ? panel().querySelector("#space-token, [data-remove-token]") : null;
    field?.scrollIntoView({ block: "center" });
    (field ?? panel().querySelector("[aria-current]") ?? panel().querySelector("[data-close]")).focus();
  };
  const show = (html) => {
    document.querySelector(".gradio-container").insertAdjacentHTML("beforeend", html);
    panel().toggleAttribute("data-insecure", !window.isSecureContext);
    panel().addEventListener("click", onClick);
    panel().addEventListener("submit", onSubmit);
    panel().addEventListener("close", onClose);
    panel().showModal();
    focusFirst();
    if (intent === "turbo") choose(TURBO);
  };
  // After the token has changed, with the focus where it was.
  const renew = (html) => {
    const { scrollTop } = panel();
    panel().innerHTML = new DOMParser().parseFromString(html, "text/html").querySelector("#space-panel").innerHTML;
    panel().scrollTop = scrollTop;
    const next = panel().querySelector("[data-remove-token], #space-token") ?? panel().querySelector("[data-close]");
    next.focus({ preventScroll: true });
    (next.closest("section") ?? next).scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("click", ({ target }) => {
    if (target.closest?.("#space-name")) open();
    const way = target.closest?.("[data-way]");
    if (way) open(way.dataset.way);
  });

  // Hugging Face's answer about the quota comes after the page.
  let lookups = 0;
  let lastCompleted;
  setInterval(() => {
    const { quota } = document.querySelector("#status .status")?.dataset ?? {};
    const { completed } = document.querySelector("#queue .queue")?.dataset ?? {};
    const isQuotaOld = lastCompleted !== undefined && completed !== lastCompleted;
    lastCompleted = completed;
    if (isQuotaOld && quota === "known") sd35.raise("connection");
    if (quota !== "pending") lookups = 0;
    else if (document.visibilityState !== "hidden" && lookups < MAX_LOOKUPS) {
      lookups += 1;
      sd35.raise("connection");
    }
  }, LOOKUP_INTERVAL);

  Object.assign(sd35, {
    showSpaces(html) {
      const isOpen = panel() !== null;
      if (request === "open" && !isOpen) show(html);
      if (request === "renew" && isOpen) renew(html);
      request = "";
      return [];
    },

    // The answer to a choice: what is wrong with it, or nothing.
    endChoice(error) {
      setBusy(false);
      if (error === "") close();
      else showError("space", error);
      return [];
    },
  });
})();
