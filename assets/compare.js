// Compare: two to four images side by side, under a slider, or one after the other at the same place; and what differs in
// their settings. One is kept by its key, and the others go to the trash. Also the dialog and the requests to the server that
// assets/tournament.js shares.
(() => {
  const sd35 = (window.sd35 ??= {});
  const { create, pluralize } = sd35;
  const root = document.documentElement;

  const MIN_COUNT = 2;
  const MAX_COUNT = 4;
  const MODES = { grid: "Side by side", slider: "Slider", flicker: "Flicker" };
  const MODE_KEYS = { grid: "g", slider: "l", flicker: "f" };
  const MODE_STORAGE = "sd35-compare-mode";
  const SESSION_STORAGE = "sd35-comparison"; // what a reload of the Create tab opens again
  const ANSWER_TIMEOUT = 60_000; // ms; the call itself is repeated for as long as there is no connection
  const WAIT_NOTE_DELAY = 1500; // ms
  const NO_CONNECTION = "No connection to the app. What you chose is sent when the connection is back.";
  const SETTLING_TIME = 500; // ms in which a key that was meant for something else keeps nothing
  const FLICKER_INTERVAL = 700; // ms: far below three flashes a second
  const PEEK_DELAY = 220; // ms: a key that is held longer shows the next image only as long as it is held
  const PAN_STEP = 80; // pixels
  const SLIDER_STEP = 2; // percent

  // ---- Elements ---------------------------------------------------------------------------------

  const button = (text, properties = {}, ...children) => create("button", { type: "button", ...properties }, text, ...children);
  const key = (text) => create("kbd", { ariaHidden: "true" }, text);

  // ---- The server -------------------------------------------------------------------------------
  // One request at a time: the component holds one answer.

  let sendEvent = null; // once Gradio has loaded the component
  const waiting = []; // { payload, resolve } until then
  const answers = new Map(); // by the request's id: the function that takes its answer
  let requestId = 0;
  let lastRequest = Promise.resolve();

  const parseAnswer = (html) => new DOMParser().parseFromString(html, "text/html").querySelector(".comparison");
  const post = (payload) =>
    new Promise((resolve, reject) => {
      requestId += 1;
      const id = requestId;
      const timer = setTimeout(() => reject(new Error("The app doesn't answer.")), ANSWER_TIMEOUT);
      answers.set(String(id), (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      const send = () => sendEvent({ ...payload, request_id: id });
      if (sendEvent === null) waiting.push(send);
      else send();
    });
  // Resolves to the answer: an element that is in no page.
  const request = (action, ids) => {
    const result = lastRequest.then(() => post({ action, ids }));
    lastRequest = result.catch(() => {});
    return result;
  };
  const onAnswer = (html) => {
    const answer = parseAnswer(html ?? "");
    const take = answers.get(answer?.dataset.requestId);
    answers.delete(answer?.dataset.requestId);
    take?.(answer);
  };
  const messageOf = (answer) => ({
    text: answer.querySelector(".message [role=status]")?.textContent ?? "",
    error: [...answer.querySelectorAll(".message [role=alert]")].map((part) => part.textContent).join(" "),
    ids: answer.querySelector(".message [data-ids]")?.dataset.ids.split(" ") ?? [],
  });
  const picturesOf = (answer) =>
    [...answer.querySelectorAll(".pictures li")].map(({ dataset }) => ({
      id: dataset.id,
      width: Number(dataset.width) || 1,
      height: Number(dataset.height) || 1,
      version: dataset.version,
      alt: dataset.alt,
      caption: dataset.caption,
      isStarred: dataset.starred === "1",
      isTrashed: dataset.trashed === "1",
      isMissing: dataset.missing === "1",
    }));
  // The other parts of the page show the same images.
  const tellPage = (action, ids) =>
    document.dispatchEvent(new CustomEvent("sd35:pictures-changed", { detail: { action, ids } }));

  // ---- Undo -------------------------------------------------------------------------------------
  // The toast is in the dialog, and stays on the page when the dialog closes.

  let toast = null; // the element
  let deletion = null; // what Ctrl+Z undoes: { ids, onUndo }
  const page = () => document.querySelector(".gradio-container") ?? document.body;
  const hideToast = () => {
    toast?.remove();
    toast = null;
  };
  // On the page below, Ctrl+Z means this deletion only as long as its toast is there.
  const onToastEnd = () => {
    hideToast();
    if (current === null) deletion = null;
  };
  const showToast = (text, label = "", run = null) => {
    hideToast();
    toast = create("div", { className: "toast compare-toast" }, create("p", {}, text));
    if (run !== null) toast.append(button(label, { onclick: run }));
    toast.onanimationend = onToastEnd;
    (current?.element ?? page()).append(toast);
    announce(text);
  };
  const showDeletion = (text, ids, onUndo) => {
    deletion = { ids, onUndo };
    showToast(text, "Undo", undo);
  };
  const undo = async () => {
    if (deletion === null) return;
    const { ids, onUndo } = deletion;
    const dialog = current;
    deletion = null;
    hideToast();
    const restoration = request("restore", ids);
    const answer = await (dialog?.during(restoration) ?? restoration).catch(() => null);
    const { text, error } = answer === null ? { error: "Not undone: the app doesn't answer." } : messageOf(answer);
    if (error) return showDeletion(error, ids, onUndo);
    tellPage("restore", ids);
    if (current === null || current !== dialog) return showToast(text);
    announce(text);
    onUndo?.();
  };
  const isTextField = (target) => target.matches?.("input:not([type=range], [type=radio], [type=checkbox]), textarea, select");
  const isUndoKey = (event) => (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
  window.addEventListener(
    "keydown",
    (event) => {
      if (!isUndoKey(event) || deletion === null || isTextField(event.target)) return;
      event.preventDefault();
      event.stopImmediatePropagation(); // the library and the queue have an undo of their own
      if (!event.repeat) undo();
    },
    true,
  );

  // ---- The dialog -------------------------------------------------------------------------------

  let current = null; // the open dialog: what `openDialog` returns
  let announcer = null;
  const announce = (text) => {
    if (announcer?.isConnected) announcer.textContent = text;
    else sd35.announce?.(text);
  };

  const zoomControls = (zoom) => {
    const fit = button("Fit", { title: "Fit (0)", className: "percent", onclick: () => zoom().fit() });
    const full = button("100 %", { title: "100 % (double click)", onclick: () => zoom().toggleFullSize() });
    const element = create(
      "div",
      { className: "zoom", role: "group", ariaLabel: "Zoom" },
      button("−", { title: "Zoom out (−)", ariaLabel: "Zoom out", className: "sign", onclick: () => zoom().out() }),
      fit,
      button("+", { title: "Zoom in (+)", ariaLabel: "Zoom in", className: "sign", onclick: () => zoom().in() }),
      full,
    );
    const update = () => {
      const percent = `${zoom().percent()} %`;
      if (fit.textContent !== percent) fit.textContent = percent;
      fit.setAttribute("aria-label", `${percent}: fit`);
      full.setAttribute("aria-pressed", String(zoom().isFullSize()));
    };
    return { element, update };
  };

  const ZOOM_KEYS = { "+": "in", "=": "in", "-": "out", "−": "out", _: "out", 0: "fit" };
  const PAN_KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const pressZoomKey = (zoom, event) => {
    if (ZOOM_KEYS[event.key]) zoom[ZOOM_KEYS[event.key]]();
    else if (PAN_KEYS[event.key] && zoom.isZoomed()) zoom.pan(...PAN_KEYS[event.key].map((sign) => sign * PAN_STEP));
    else return false;
    return true;
  };

  // Opens a dialog as large as the window. `key(event)` returns whether it has used a key; `close()` is called at the end.
  sd35.openPictureDialog = ({ title, key: onKey, close: onClose }) => {
    current?.close();
    const opener = document.activeElement;
    const view = create("div", { className: "view" });
    const aside = create("aside", { className: "differences-panel", ariaLabel: "Differences" });
    aside.hidden = true;
    const tools = create("div", { className: "tools" });
    const heading = create("h2", {}, title);
    const body = create("div", { className: "body" }, view, aside);
    const status = create("p", { className: "visually-hidden", role: "status" });
    const note = create("p", { className: "compare-note", role: "alert" });
    const closeButton = button("✕", { className: "icon", ariaLabel: "Close", title: "Close (Esc)" });
    const head = create("header", {}, heading, tools, closeButton);
    const element = create("dialog", { className: "compare", tabIndex: -1, ariaLabel: title }, head, note, body, status);
    let isBusy = false;

    const onWindowKey = (event) => {
      if (event.isComposing || !element.open) return;
      const hasModifier = event.ctrlKey || event.metaKey || event.altKey;
      if (event.key !== "Escape" && event.key !== "Tab") event.stopImmediatePropagation(); // not for the page below
      const isHeldOnButton = event.repeat && event.key === "Enter" && event.target.closest("button") !== null;
      const isUsed = !hasModifier && !isTextField(event.target) && onKey(event);
      if (isUsed || isHeldOnButton) event.preventDefault();
    };
    const close = () => {
      if (!element.isConnected) return;
      window.removeEventListener("keydown", onWindowKey, true);
      window.removeEventListener("hashchange", close);
      current = null;
      onClose?.();
      element.close();
      element.remove();
      if (toast !== null) page().append(toast);
      else deletion = null;
      opener?.focus({ preventScroll: true });
      // The opener may be gone, or disabled: what it acts on has changed.
      if (document.activeElement === document.body) document.querySelector("#grid .item .open")?.focus({ preventScroll: true });
    };
    closeButton.onclick = close;
    element.addEventListener("cancel", (event) => {
      event.preventDefault();
      close();
    });
    element.addEventListener("close", close);
    window.addEventListener("keydown", onWindowKey, true);
    window.addEventListener("hashchange", close); // "back", or another address

    // Shows that an answer is awaited, and takes no further press meanwhile.
    const during = async (promise) => {
      isBusy = true;
      element.setAttribute("aria-busy", "true");
      const timer = setTimeout(() => showNote(NO_CONNECTION), WAIT_NOTE_DELAY);
      try {
        const answer = await promise;
        showNote("");
        return answer;
      } catch (error) {
        showNote(`${error.message} Check the connection, then try again.`);
        throw error;
      } finally {
        clearTimeout(timer);
        isBusy = false;
        element.removeAttribute("aria-busy");
      }
    };
    const showNote = (text) => (note.textContent = text);
    page().append(element);
    element.showModal();
    element.focus();
    announcer = status;
    if (deletion === null) hideToast();
    else if (toast !== null) element.append(toast);
    current = { element, view, aside, tools, heading, close, during, showNote, isBusy: () => isBusy };
    return current;
  };

  // ---- Panes ------------------------------------------------------------------------------------

  const thumbnailUrl = ({ id, version }) => sd35.url(`studio/thumbnail/${id}?v=${version}`);
  const pictureUrl = ({ id, version }) => sd35.url(`studio/picture/${id}?v=${version}`);
  const brokenImages = new Set();

  // The thumbnail is there at once, at the image's size; the image covers it when it has arrived.
  const buildPane = (picture, label) => {
    const thumbnail = create("img", { alt: "", src: thumbnailUrl(picture), className: "thumbnail", draggable: false });
    const image = create("img", { alt: `${label}: ${picture.alt}`, decoding: "async", draggable: false });
    const content = create("div", { className: "picture" }, thumbnail, image);
    const error = create("div", { className: "pane-error" });
    error.hidden = true;
    const element = create("div", { className: "pane" }, content, error);
    const pane = { element, picture: content, width: picture.width, height: picture.height };
    pane.shown = new Promise((resolve) => (pane.onShown = resolve));
    const showError = (...parts) => {
      error.hidden = false;
      error.replaceChildren(...parts);
      pane.onShown();
    };
    const load = () => {
      error.hidden = true;
      image.src = pictureUrl(picture);
    };
    image.onload = () => {
      brokenImages.delete(load);
      content.dataset.loaded = "";
      pane.onShown();
    };
    image.onerror = () => {
      brokenImages.add(load);
      showError(create("p", {}, "Can't load this image"), button("Try again", { onclick: load }));
    };
    thumbnail.onload = pane.onShown;
    thumbnail.onerror = () => thumbnail.remove();
    if (picture.isMissing) showError(create("p", {}, "File missing"));
    else load();
    return pane;
  };
  // Nothing is chosen before all images can be seen, or by a press that was meant for what was there before.
  const setReady = async (view, panes, delay) => {
    delete view.dataset.ready;
    view.panes = panes;
    await Promise.all([...panes.map(({ shown }) => shown), new Promise((resolve) => setTimeout(resolve, delay))]);
    if (view.panes === panes) view.dataset.ready = "";
  };
  const retryImages = () => {
    const loads = [...brokenImages];
    brokenImages.clear();
    loads.forEach((load) => load());
  };
  window.addEventListener("online", retryImages);

  const buildRetry = (load) => create("div", { className: "pane-empty" }, button("Try again", { onclick: load }));
  const buildEmpty = (reason) => {
    const title = create("b", {}, "No images");
    return create("p", { className: "pane-empty" }, title, reason || "They were deleted, or belong to another user.");
  };

  // The number of columns with which the images are largest.
  const bestColumns = (pictures, width, height, barHeight) => {
    let best = { columns: 1, area: 0 };
    for (let columns = 1; columns <= pictures.length; columns += 1) {
      const rows = Math.ceil(pictures.length / columns);
      const [paneWidth, paneHeight] = [width / columns, Math.max(1, height / rows - barHeight)];
      const area = pictures.reduce((sum, picture) => {
        const scale = Math.min(paneWidth / picture.width, paneHeight / picture.height);
        return sum + picture.width * picture.height * scale ** 2;
      }, 0);
      if (area > best.area) best = { columns, area };
    }
    return best.columns;
  };

  const setStar = async (dialog, picture, update) => {
    picture.isStarred = !picture.isStarred;
    update();
    const isStarred = picture.isStarred;
    const answer = await request(isStarred ? "star" : "unstar", [picture.id]).catch(() => null);
    const error = answer === null ? "The star isn't saved: the app doesn't answer." : messageOf(answer).error;
    if (error) {
      picture.isStarred = !isStarred;
      update();
      dialog.showNote(error);
    } else tellPage(isStarred ? "star" : "unstar", [picture.id]);
  };
  // Resolves to whether at least one of the images is in the trash now.
  const moveToTrash = async (dialog, ids, text, onUndo) => {
    let answer;
    try {
      answer = await dialog.during(request("trash", ids));
    } catch {
      return false;
    }
    const { ids: trashedIds, error } = messageOf(answer);
    if (error) dialog.showNote(error);
    if (trashedIds.length === 0) return false;
    const message = `${text}${pluralize(trashedIds.length, "image")} moved to trash.`;
    showDeletion(message, trashedIds, onUndo);
    tellPage("trash", trashedIds);
    return true;
  };

  const updateStar = (star, picture) => {
    star.textContent = picture.isStarred ? "★" : "☆";
    star.setAttribute("aria-pressed", String(picture.isStarred));
  };

  // ---- Compare ----------------------------------------------------------------------------------

  const isPhone = () => matchMedia("(max-width: 900px)").matches;
  const isMotionReduced = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  const storedMode = () => localStorage.getItem(MODE_STORAGE) ?? (isPhone() ? "flicker" : "grid");

  class Comparison {
    constructor(ids) {
      this.ids = ids;
      this.pictures = [];
      this.error = "";
      this.panes = [];
      this.bars = [];
      this.mode = "grid";
      this.at = 50; // of the slider, in percent
      this.shown = 0; // image of the flicker mode
      this.active = 0; // image that the key S means
      this.peek = null; // a key or a button of the mouse that is held: { from, at }
      this.timer = null;
      this.dialog = sd35.openPictureDialog({
        title: "Compare",
        key: (event) => this.pressKey(event),
        close: () => this.onClose(),
      });
      this.dialog.view.dataset.opening = "";
      this.zoom = sd35.createZoom(this.dialog.view, {
        change: () => this.controls?.update(),
        swipe: (direction) => this.mode === "flicker" && this.showNext(direction),
        drag: (event) => this.mode === "slider" && this.dragSlider(event),
        press: (pane, isDown, event) => this.pressPane(isDown, event),
      });
      this.controls = zoomControls(() => this.zoom);
      this.onKeyUp = (event) => event.key === " " && this.endPeek();
      this.onResize = () => this.layOut();
      window.addEventListener("keyup", this.onKeyUp, true);
      window.addEventListener("resize", this.onResize);
      this.dialog.view.addEventListener("pointerover", (event) => this.point(event));
      this.dialog.view.addEventListener("focusin", (event) => this.point(event));
    }

    async load() {
      const { dialog } = this;
      let answer;
      try {
        answer = await dialog.during(request("compare", this.ids));
      } catch {
        dialog.view.replaceChildren(buildRetry(() => this.load()));
        return;
      }
      if (current !== dialog) return;
      delete dialog.view.dataset.opening;
      this.pictures = picturesOf(answer);
      this.differences = answer.querySelector(".differences");
      const { error } = messageOf(answer);
      const missing = answer.querySelector(".pictures")?.dataset.missing ?? "";
      this.error = error;
      dialog.showNote(this.pictures.length > 0 ? error || missing : "");
      this.build();
    }

    // ---- What is shown

    build() {
      const { dialog, pictures } = this;
      dialog.element.setAttribute("aria-label", `Compare ${pluralize(pictures.length, "image")}`);
      dialog.heading.textContent = pictures.length > 1 ? `Compare ${pictures.length}` : "Compare";
      this.panes = pictures.map((picture, index) => this.buildPane(picture, index));
      this.bars = pictures.map((picture, index) => this.buildBar(picture, index));
      this.barRow = create("div", { className: "bars" }, ...this.bars);
      dialog.view.replaceChildren(
        ...(pictures.length > 0 ? this.panes.map(({ element }) => element) : [buildEmpty(this.error)]),
        ...this.buildSlider(),
        this.barRow,
      );
      dialog.tools.replaceChildren(...this.buildTools());
      dialog.aside.replaceChildren(create("h3", { className: "visually-hidden" }, "Differences"), this.differences ?? "");
      this.setDetails(pictures.length > 1 && !isPhone());
      this.shown = Math.min(this.shown, Math.max(0, pictures.length - 1));
      this.active = this.shown;
      this.setMode(this.allowedMode(storedMode()));
      setReady(dialog.view, this.panes, SETTLING_TIME);
    }

    buildPane(picture, index) {
      const pane = buildPane(picture, `Image ${index + 1}`);
      pane.element.append(create("span", { className: "number", ariaHidden: "true" }, String(index + 1)));
      pane.element.dataset.index = index;
      if (picture.isTrashed) pane.element.append(create("span", { className: "trashed" }, "In the trash"));
      return pane;
    }

    buildBar(picture, index) {
      const number = String(index + 1);
      const name = `image ${number}`;
      const show = button(key(number), {
        className: "show",
        ariaLabel: `Show ${name} alone`,
        title: `Show ${name} alone`,
        onclick: () => this.showAlone(index),
      });
      const keepLabel = `Keep ${name}, move the others to the trash`;
      const keep = button(key(number), { className: "keep", ariaLabel: keepLabel, title: `${keepLabel} (${number})` }, "Keep");
      keep.onclick = () => this.keep(index);
      keep.hidden = this.pictures.length < MIN_COUNT || picture.isTrashed;
      const star = button("☆", { className: "star", title: "Star (S)", ariaLabel: `Star ${name}` });
      star.onclick = () => setStar(this.dialog, picture, () => updateStar(star, picture));
      updateStar(star, picture);
      const caption = create("span", { className: "caption", title: picture.caption }, picture.caption);
      const bar = create("div", { className: "bar", role: "group", ariaLabel: `Image ${number}` }, show, keep, star, caption);
      bar.dataset.index = index;
      return bar;
    }

    buildSlider() {
      if (this.pictures.length !== 2) return [];
      this.range = create("input", { type: "range", min: "0", max: "100", step: "1", ariaLabel: "Divider" });
      this.range.value = this.at;
      this.range.oninput = () => this.setSlider(Number(this.range.value));
      this.handle = create("div", { className: "handle" }, create("i", { ariaHidden: "true" }), this.range);
      this.handle.addEventListener("pointerdown", (event) => this.grabHandle(event));
      return [this.handle];
    }

    buildTools() {
      if (this.pictures.length < MIN_COUNT) return this.pictures.length > 0 ? [this.controls.element] : [];
      const modes = Object.entries(MODES).filter(([mode]) => mode !== "slider" || this.pictures.length === 2);
      const choices = modes.map(([mode, label]) => {
        const input = create("input", { type: "radio", name: "compare-mode", value: mode });
        input.onchange = () => this.setMode(mode, { isStored: true });
        return create("label", { title: `${label} (${MODE_KEYS[mode].toUpperCase()})` }, input, label);
      });
      this.playButton = button("Play", { className: "play", ariaPressed: "false", onclick: () => this.togglePlay() });
      this.detailsButton = button("Differences", { className: "details-button", title: "Differences (D)" });
      this.detailsButton.onclick = () => this.setDetails(this.dialog.aside.hidden);
      const group = create("div", { className: "modes", role: "radiogroup", ariaLabel: "View" }, ...choices);
      return [group, this.playButton, this.controls.element, this.detailsButton];
    }

    allowedMode(mode) {
      if (this.pictures.length < MIN_COUNT) return "grid";
      return mode === "slider" && this.pictures.length !== 2 ? "grid" : mode in MODES ? mode : "grid";
    }

    setMode(mode, { isStored = false } = {}) {
      this.mode = mode;
      this.dialog.view.dataset.mode = mode;
      if (isStored) localStorage.setItem(MODE_STORAGE, mode);
      this.dialog.tools.querySelectorAll(".modes input").forEach((input) => (input.checked = input.value === mode));
      this.stopPlaying();
      if (this.playButton) this.playButton.hidden = mode !== "flicker" || isMotionReduced();
      this.layOut();
      this.show(this.shown);
      this.setSlider(this.at);
    }

    layOut() {
      const { view } = this.dialog;
      const isGrid = this.mode === "grid";
      const barHeight = 48;
      const columns = isGrid ? bestColumns(this.pictures, view.clientWidth, view.clientHeight, barHeight) : 1;
      const rows = Math.ceil(this.pictures.length / columns);
      view.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
      view.style.gridTemplateRows = isGrid ? `repeat(${rows}, minmax(0, 1fr) auto)` : "minmax(0, 1fr) auto";
      this.panes.forEach(({ element }, index) => {
        const [row, column] = isGrid ? [2 * Math.floor(index / columns) + 1, (index % columns) + 1] : [1, 1];
        element.style.gridArea = `${row} / ${column}`;
        this.bars[index].style.gridArea = isGrid ? `${row + 1} / ${column}` : "";
      });
      this.zoom.show(this.panes);
    }

    setDetails(isShown) {
      this.dialog.aside.hidden = !isShown;
      this.detailsButton?.setAttribute("aria-expanded", String(isShown));
      if (this.panes.length > 0) this.layOut();
    }

    setActive(index) {
      this.active = index;
      this.bars.forEach((bar, at) => bar.toggleAttribute("data-active", at === index && this.bars.length > 1));
    }

    point({ target, type }) {
      const at = target.closest?.("[data-index]")?.dataset.index;
      if (at !== undefined && !(this.mode === "flicker" && type === "pointerover")) this.setActive(Number(at));
    }

    // ---- Flicker

    show(index) {
      this.shown = index;
      const isFlicker = this.mode === "flicker";
      this.panes.forEach(({ element }, at) => element.toggleAttribute("data-hidden", isFlicker && at !== index));
      this.bars.forEach((bar, at) => {
        bar.toggleAttribute("data-shown", isFlicker && at === index);
        bar.querySelector(".show").setAttribute("aria-pressed", String(isFlicker && at === index));
      });
      if (isFlicker) this.setActive(index);
    }

    showNext(direction) {
      const count = this.pictures.length;
      this.show((this.shown + direction + count) % count);
      const picture = this.pictures[this.shown];
      if (this.timer === null) announce(`Image ${this.shown + 1} of ${count}. ${picture.caption}`);
    }

    showAlone(index) {
      this.shown = index;
      if (this.mode !== "flicker" && this.pictures.length > 1) this.setMode("flicker");
      else this.show(index);
    }

    startPeek() {
      if (this.peek !== null) return;
      this.peek = { from: this.shown, at: Date.now() };
      this.showNext(1);
    }

    endPeek() {
      const { peek } = this;
      this.peek = null;
      if (peek !== null && Date.now() - peek.at > PEEK_DELAY && this.mode === "flicker") this.show(peek.from);
    }

    // A mouse that is held on an image shows the next one.
    pressPane(isDown, event) {
      if (event.pointerType !== "mouse" || this.mode !== "flicker" || this.pictures.length < MIN_COUNT) return;
      if (!isDown) {
        if (this.peek !== null) this.show(this.peek.from);
        this.peek = null;
      } else if (!this.zoom.isZoomed()) this.startPeek();
    }

    togglePlay() {
      if (this.timer !== null) return this.stopPlaying();
      this.timer = setInterval(() => this.showNext(1), FLICKER_INTERVAL);
      this.playButton.textContent = "Pause";
      this.playButton.setAttribute("aria-pressed", "true");
    }

    stopPlaying() {
      clearInterval(this.timer);
      this.timer = null;
      if (!this.playButton) return;
      this.playButton.textContent = "Play";
      this.playButton.setAttribute("aria-pressed", "false");
    }

    // ---- Slider

    setSlider(at) {
      this.at = Math.min(100, Math.max(0, at));
      if (!this.range) return;
      this.range.value = this.at;
      this.range.setAttribute("aria-valuetext", `${Math.round(this.at)} % image 1`);
      this.dialog.view.style.setProperty("--at", `${this.at}%`);
    }

    dragSlider({ clientX }) {
      const box = this.panes[0].element.getBoundingClientRect();
      this.setSlider(((clientX - box.x) / box.width) * 100);
    }

    grabHandle(event) {
      event.preventDefault();
      event.stopPropagation();
      const { handle } = this;
      this.range.focus();
      handle.setPointerCapture(event.pointerId);
      handle.onpointermove = (move) => this.dragSlider(move);
      handle.onlostpointercapture = () => (handle.onpointermove = null);
    }

    // ---- Keys

    pressKey(event) {
      const { key: name, repeat, target } = event;
      if (this.pictures.length === 0) return false;
      const isOnButton = target.closest("button, summary, a") !== null;
      if (name === " " && this.mode === "flicker" && !isOnButton) {
        if (!repeat) this.startPeek();
        return true;
      }
      if (target.matches("input") && name.startsWith("Arrow")) return false; // moves the divider, or changes the view
      if (pressZoomKey(this.zoom, event)) return true;
      if (name.startsWith("Arrow")) return this.pressArrow(name, repeat);
      if (repeat) return false;
      const lower = name.toLowerCase();
      const mode = Object.keys(MODE_KEYS).find((option) => MODE_KEYS[option] === lower);
      if (/^[1-4]$/.test(name)) this.keep(Number(name) - 1);
      else if (lower === "s") this.bars[this.active].querySelector(".star").click();
      else if (lower === "d") this.detailsButton?.click();
      else if (mode && this.allowedMode(mode) === mode) this.setMode(mode, { isStored: true });
      else return false;
      return true;
    }

    pressArrow(name, isRepeat) {
      const direction = { ArrowLeft: -1, ArrowRight: 1 }[name];
      if (direction === undefined || this.pictures.length < MIN_COUNT) return false;
      if (this.mode === "slider") this.setSlider(this.at + direction * SLIDER_STEP);
      else if (this.mode === "grid") this.setActive((this.active + direction + this.pictures.length) % this.pictures.length);
      else if (!isRepeat) this.showNext(direction);
      return true;
    }

    // ---- One is kept

    async keep(index) {
      const picture = this.pictures[index];
      if (picture === undefined || picture.isTrashed || this.pictures.length < MIN_COUNT) return;
      if (!("ready" in this.dialog.view.dataset) || this.dialog.isBusy()) return;
      const rest = this.pictures.filter(({ id, isTrashed }) => id !== picture.id && !isTrashed).map(({ id }) => id);
      if (rest.length === 0) return;
      this.stopPlaying();
      const isMoved = await moveToTrash(this.dialog, rest, `Image ${index + 1} kept. `, () => this.load());
      if (!isMoved || current !== this.dialog) return;
      this.pictures = [picture];
      this.shown = 0;
      this.zoom.fit();
      this.build();
      this.dialog.element.focus();
    }

    onClose() {
      this.stopPlaying();
      this.zoom.stop();
      brokenImages.clear();
      window.removeEventListener("keyup", this.onKeyUp, true);
      window.removeEventListener("resize", this.onResize);
      comparison = null;
      sessionStorage.removeItem(SESSION_STORAGE);
      document.dispatchEvent(new CustomEvent("sd35:comparison-closed"));
    }
  }

  let comparison = null;

  const readSession = (name) => {
    try {
      return JSON.parse(sessionStorage.getItem(name));
    } catch {
      return null; // written by something else
    }
  };
  const areIds = (ids) => Array.isArray(ids) && ids.every((id) => typeof id === "string" && /^[\w-]{1,64}$/.test(id));

  Object.assign(sd35, {
    // Opens the dialog for the ids of two to four images in the library.
    compare(ids) {
      const distinct = [...new Set(ids)].slice(0, MAX_COUNT);
      if (distinct.length < MIN_COUNT) return;
      comparison = new Comparison(distinct);
      // The address of the library names the images already.
      if (root.dataset.tab !== "library") sessionStorage.setItem(SESSION_STORAGE, JSON.stringify(distinct));
      comparison.load();
    },
    comparedIds: () => comparison?.ids.join(",") ?? null,
    closeComparison: () => comparison?.dialog.close(),

    bindComparison(_name, _element, props, watch, trigger) {
      sendEvent = trigger;
      watch("value", () => onAnswer(props.value));
      waiting.splice(0).forEach((send) => send());
      const ids = readSession(SESSION_STORAGE);
      if (areIds(ids) && root.dataset.tab !== "library") sd35.compare(ids);
      sd35.resumeTournament?.();
    },

    // For assets/tournament.js
    pictures: {
      button, key, request, messageOf, picturesOf, showToast, buildPane, buildEmpty, buildRetry, setReady,
      bestColumns, setStar, updateStar, moveToTrash, announce, pictureUrl, zoomControls, pressZoomKey, readSession,
      areIds, current: () => current,
    },
  });

})();
