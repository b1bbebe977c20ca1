// The library tab: which tab is shown, the grid, the selection, the viewer, and their addresses.
//
// Everything that happens (a click, a key, an answer of the server, another address) is an event.
// `transitions` has a function for each event, which changes `state` and sends requests; then `render`
// updates the page to match `state`. The HTML of the grid and the viewer comes from the server.
(() => {
  const sd35 = (window.sd35 ??= {});
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);

  const STALE_GRID_DELAY = 400; // ms in which a newer answer may still arrive
  const MAX_STALE_RETRIES = 3;
  const SCAN_POLL_INTERVAL = 1500; // ms
  const SET_POLL_INTERVAL = 3000; // ms: images of the set that is shown are still to come
  const KEY_REPEAT_LIMIT = 1500; // ms in which the same image isn't requested again
  const DOUBLE_CLICK_GUARD = 1000; // ms after a deletion, or after a button that leads to the other tab
  const DELETION_INTERVAL = 400; // ms: the second press of a key or finger doesn't count as a double click
  const COPIED_LABEL_DURATION = 1800; // ms
  const LONG_PRESS_DURATION = 500; // ms
  const MAX_FINGER_MOVE = 10; // pixels: beyond that it scrolls

  const state = {
    tab: null, // "create" or "library"
    scrollPositions: {}, // of the tabs that were left
    requestId: 0, // of the newest request; the answer carries it, too
    // Viewer
    requestedIds: null, // what the viewer should show: null, an id, or, compared, two to four ids with commas
    requestedAt: 0,
    shownIds: null, // what it shows: the same as `requestedIds`, unless an answer is pending
    staleBefore: 0, // answers for the viewer are ignored up to this request
    lastViewedId: null, // gets the focus when the viewer closes
    isGoingBack: false, // `history.back()` was called, and takes a moment
    // Selection
    selected: new Set(),
    rangeStart: null, // where a range begins that Shift+click ends
    firstToCompare: null,
    deletedAt: 0,
    leftAt: 0, // a button has led to the other tab
    lastRetry: "", // id and kind of the last variation
    deletions: [], // ids of each deletion that Ctrl+Z can still undo, the newest last
    // Grid
    isTrash: false,
    setTimer: 0,
    newestGrid: { query: null, html: "" }, // to put back if an older answer replaces it
    retries: { query: "", count: 0 },
  };

  // ---- Elements of the page ---------------------------------------------------------------------

  const components = {}; // Gradio's, by name: { props, trigger }
  let showGallery = () => {}; // Gradio builds the components when the tab is first opened
  const grid = () => one("#grid .grid");
  const viewer = () => one("#viewer dialog");
  const toolbar = () => one("#selection .selection");
  const confirmDialog = () => one("#selection .confirm");
  const checkboxes = () => all("#grid .pick input");
  const idOf = (element) => element.closest("[data-id]")?.dataset.id ?? "";
  const viewerIds = () => sd35.comparedIds() ?? (viewer()?.open ? viewer().dataset.id : null);
  const isComparing = () => state.requestedIds?.includes(",") ?? false;

  // A query is "filter|text". The fields have one, and the answer in the grid has one.
  const fieldsQuery = () =>
    `${one("#filter input:checked")?.value ?? "All"}|${one("#search :is(input, textarea)")?.value ?? ""}`;
  const gridQuery = () => one("#grid .answer")?.dataset.query ?? null;
  const isSetPending = () => one("#grid .set-sheet[data-pending]") !== null;
  const isGridStale = () => gridQuery() !== null && gridQuery() !== fieldsQuery();

  // ---- The server -------------------------------------------------------------------------------

  const sendEvent = (action, payload = {}) =>
    components.grid?.trigger({
      action,
      position: grid()?.dataset.position ?? "",
      is_viewer_open: viewer()?.open ?? false,
      request_id: ++state.requestId,
      ...payload,
    });

  // A plain form, because only then does the browser write the ZIP to the disk while it arrives.
  // Its target is a hidden frame: an error would otherwise replace the page.
  const zipFrame = () => {
    let frame = one("iframe[name=sd35-zip]");
    if (frame !== null) return frame;
    frame = Object.assign(document.createElement("iframe"), { name: "sd35-zip", hidden: true });
    frame.addEventListener("load", () => {
      const error = frame.contentDocument?.body?.textContent.trim();
      if (!error) return; // a download loads nothing into the frame
      const message = Object.assign(document.createElement("p"), { textContent: error });
      message.setAttribute("role", "alert");
      one("#grid .notice")?.replaceChildren(message);
    });
    document.body.append(frame);
    return frame;
  };
  const downloadZip = (ids) => {
    const properties = { method: "post", action: sd35.url("studio/zip"), target: zipFrame().name };
    const form = Object.assign(document.createElement("form"), properties);
    const field = { type: "hidden", name: "ids", value: ids.join(",") };
    form.append(Object.assign(document.createElement("input"), field));
    document.body.append(form);
    form.submit();
    form.remove();
  };

  sd35.downloadZip = downloadZip;

  // ---- Addresses: #create, #library, #library/ID, #library/ID,ID,…, each with ?q=fox&show=Starred ----
  // No element has an id that is an address: the browser would move the focus to it.

  const parseAddress = () => location.hash.match(/^#library(?:\/([\w-]+(?:,[\w-]+){0,3}))?(?:\?(.*))?$/);
  const addressIds = () => parseAddress()?.[1] ?? null;
  const addressQuery = () => parseAddress()?.[2] ?? "";
  const gridQueryParams = () => {
    const [filter, ...text] = (gridQuery() ?? "All|").split("|");
    const params = new URLSearchParams();
    if (text.join("|")) params.set("q", text.join("|"));
    if (filter !== "All") params.set("show", filter);
    return params.size ? `?${params}` : "";
  };
  const address = (ids) =>
    `${location.pathname}${location.search}#library${ids === null ? "" : `/${ids}`}${gridQueryParams()}`;
  // As a custom element within another site's page, the address belongs to that page.
  const { isOwnPage } = sd35;
  // Not by `state.tab` alone: after a change of the hash, its event comes later.
  const isAddressOurs = () =>
    isOwnPage() && state.tab === "library" && parseAddress() !== null && !state.isGoingBack;

  // ---- Steps that several transitions share -------------------------------------------------------

  const requestViewer = (ids) => {
    sd35.closeComparison();
    state.requestedIds = ids.join(",");
    state.requestedAt = Date.now();
    state.staleBefore = state.requestId;
    if (ids.length === 1) {
      sendEvent("open", { ids });
      return;
    }
    emptyViewer();
    state.shownIds = state.requestedIds;
    sd35.compare(ids);
  };
  const emptyViewer = () => {
    viewer()?.close(); // at once, because nothing beneath a modal dialog can get the focus
    if (components.viewer !== undefined) components.viewer.props.value = "";
  };
  const closeViewer = () => {
    state.requestedIds = state.shownIds = null;
    state.staleBefore = state.requestId;
    sd35.closeComparison();
    if (viewer() === null) return;
    emptyViewer();
    (one(`#grid [data-id="${state.lastViewedId}"] .open`) ?? one("#grid .item .open"))?.focus();
  };
  const followAddressIds = () => {
    if (addressIds() === null) closeViewer();
    else if (addressIds() !== viewerIds()) requestViewer(addressIds().split(","));
  };
  // If the address has a query, the server puts it into the fields.
  const loadLibrary = () => {
    const params = new URLSearchParams(addressQuery());
    const [filter, text] = [params.get("show") ?? "All", params.get("q") ?? ""];
    if (addressQuery() && `${filter}|${text}` !== fieldsQuery()) {
      sendEvent("search", { is_viewer_open: false, filter, text });
    } else {
      sendEvent("page", { is_viewer_open: false });
    }
    followAddressIds();
  };
  // An interval: of an answer that is the same as the last one, Gradio tells nothing.
  const pollSet = () => {
    const isVisible = state.tab === "library" && document.visibilityState === "visible" && viewerIds() === null;
    if (isVisible && isSetPending()) sendEvent("page");
  };
  const leave = () => {
    state.leftAt = Date.now();
    location.hash = "#create";
  };
  const clearSelection = () => {
    state.selected.clear();
    state.rangeStart = null;
  };
  const forgetDeletions = (ids) => {
    state.deletions = state.deletions.map((all) => all.filter((id) => !ids.includes(id))).filter((all) => all.length > 0);
  };
  const restore = (ids) => {
    state.deletedAt = 0;
    forgetDeletions(ids);
    sendEvent("restore", { ids });
  };
  const copyText = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    // Browsers have no clipboard API for pages without HTTPS.
    const field = Object.assign(document.createElement("textarea"), { value: text });
    viewer().append(field); // within the modal dialog: elsewhere it couldn't be selected
    field.select();
    document.execCommand("copy");
    field.remove();
  };

  // ---- Transitions ------------------------------------------------------------------------------

  const transitions = {
    "address changed": () => {
      const wasGoingBack = state.isGoingBack;
      state.isGoingBack = false;
      const tab = parseAddress() ? "library" : "create";
      const previousTab = state.tab;
      state.tab = tab;
      if (tab === previousTab) {
        if (wasGoingBack || tab === "create") return;
        if (addressQuery() && `?${addressQuery()}` !== gridQueryParams()) loadLibrary();
        else followAddressIds();
        return;
      }
      if (previousTab) state.scrollPositions[previousTab] = window.scrollY;
      renderTab(); // before the scroll position: the tab has no height while it is hidden
      if (tab === "library") showGallery();
      window.scrollTo(0, state.scrollPositions[tab] ?? 0);
      if (tab === "library") loadLibrary();
      else closeViewer();
    },

    "grid answered": () => {
      const { newestGrid } = state;
      if (!isGridStale()) Object.assign(newestGrid, { query: gridQuery(), html: components.grid.props.value });
      else if (newestGrid.query === fieldsQuery()) components.grid.props.value = newestGrid.html;
      const isTrash = grid()?.dataset.scope === "trash";
      if (isTrash !== state.isTrash) state.selected.clear(); // other actions apply there
      state.isTrash = isTrash;
      if (grid()?.dataset.scope === "scanning") {
        setTimeout(() => state.tab === "library" && sendEvent("page"), SCAN_POLL_INTERVAL);
      }
      clearInterval(state.setTimer);
      if (isSetPending()) state.setTimer = setInterval(pollSet, SET_POLL_INTERVAL);
      if (isGridStale()) setTimeout(() => dispatch("stale grid waited"), STALE_GRID_DELAY);
      else if (isAddressOurs() && address(addressIds()) !== location.pathname + location.search + location.hash) {
        history.replaceState(history.state, "", address(addressIds()));
      }
    },
    "stale grid waited": () => {
      if (!isGridStale()) return;
      const count = state.retries.query === fieldsQuery() ? state.retries.count + 1 : 0;
      state.retries = { query: fieldsQuery(), count };
      if (count < MAX_STALE_RETRIES) sendEvent("page", { position: "" });
    },
    "viewer answered": () => {
      const answer = one("#viewer [data-request-id]");
      if (answer === null) return; // `emptyViewer` did that
      const isStale = Number(answer.dataset.requestId) <= state.staleBefore;
      if (isComparing()) {
        emptyViewer();
        return;
      }
      if (!isStale) state.requestedIds = viewer()?.dataset.id ?? null;
      if (state.requestedIds === null) {
        if (isStale) emptyViewer();
        state.shownIds = null;
        return;
      }
      renderViewer();
      if (viewerIds() === state.requestedIds) state.shownIds = state.requestedIds;
      else requestViewer(state.requestedIds.split(",")); // a late answer has replaced it
    },

    "item picked": ({ checkbox, isRange }) => {
      const boxes = checkboxes();
      const start = isRange ? boxes.findIndex((box) => idOf(box) === state.rangeStart) : -1;
      const end = boxes.indexOf(checkbox);
      const range = start < 0 ? [checkbox] : boxes.slice(Math.min(start, end), Math.max(start, end) + 1);
      for (const box of range) state.selected[checkbox.checked ? "add" : "delete"](idOf(box));
      state.rangeStart = idOf(checkbox);
    },
    "tags added": ({ text }) => sendEvent("tag", { ids: [...state.selected], text }),
    "tags edited": ({ id, text }) => sendEvent("set_tags", { ids: [id], text }),

    "comparison closed": () => {
      if (isComparing()) state.requestedIds = state.shownIds = null;
    },
    // Elsewhere on the page: the comparison, or the stage.
    "pictures changed": ({ action, ids }) => {
      if (action === "trash") {
        for (const id of ids) state.selected.delete(id);
        state.deletions.push(ids);
      } else if (action === "restore") forgetDeletions(ids);
      // In the order of what is done to the images, so that no answer is older than what was done last: see connection.js.
      if (state.tab === "library") sendEvent("refresh");
    },

    // The rest are buttons, by their data-action. `ids` are the images that the button acts on.
    page: ({ button }) => {
      sendEvent("page", { position: button.dataset.to, is_viewer_open: false });
      window.scrollTo({ top: 0 });
    },
    "clear-search": () => sendEvent("search", { position: "", filter: "All", text: "" }),
    "show-set": ({ button }) => {
      closeViewer();
      sendEvent("search", { position: "", filter: "All", text: `set:${button.dataset.set}`, is_viewer_open: false });
      window.scrollTo({ top: 0 });
    },
    rescan: () => sendEvent("rescan"),
    open: ({ button }) => {
      const id = idOf(button);
      // A key that is held down repeats faster than the server answers.
      if (state.requestedIds === id && Date.now() - state.requestedAt < KEY_REPEAT_LIMIT) return;
      const first = state.firstToCompare;
      state.firstToCompare = null;
      requestViewer(first === null || first === id ? [id] : [first, id]);
    },
    close: closeViewer,
    star: ({ button, ids }) => {
      const isStarred = button.getAttribute("aria-pressed") === "true";
      // At once; the server's answer corrects this if need be.
      if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", String(!isStarred));
      sendEvent(isStarred ? "unstar" : "star", { ids });
    },
    trash: ({ ids }) => {
      if (Date.now() - state.deletedAt < DELETION_INTERVAL) return;
      state.deletedAt = Date.now();
      for (const id of ids) state.selected.delete(id);
      state.deletions.push(ids);
      sendEvent("trash", { ids });
    },
    restore: ({ button, ids }) => {
      restore(button.dataset.ids?.split(" ") ?? ids);
      if (button.closest(".selection")) clearSelection();
    },
    undo: () => {
      if (state.deletions.length > 0) restore(state.deletions.at(-1));
    },
    remove: ({ ids }) => sendEvent("remove", { ids }),
    "ask-empty-trash": ({ button }) => {
      one("#confirm-title").textContent = `Permanently delete ${button.dataset.count}?`;
      confirmDialog().showModal();
    },
    "cancel-empty-trash": () => confirmDialog().close(),
    "empty-trash": () => {
      confirmDialog().close();
      clearSelection();
      state.deletions = [];
      sendEvent("empty_trash");
    },
    zip: ({ ids }) => downloadZip(ids),
    "toggle-tag-form": ({ button }) => {
      const form = one(".tag-form", toolbar());
      form.hidden = !form.hidden;
      button.setAttribute("aria-expanded", String(!form.hidden));
      if (!form.hidden) one("input", form).focus();
    },
    "clear-selection": clearSelection,
    compare: ({ ids }) => requestViewer(ids),
    "find-best": ({ ids }) => sd35.findBest(ids),
    "compare-with": ({ button }) => {
      state.firstToCompare = idOf(button);
      closeViewer();
    },
    "cancel-compare": () => (state.firstToCompare = null),
    copy: async ({ button }) => {
      const label = one("span", button);
      try {
        await copyText(viewer().dataset.infotext);
        label.textContent = "Copied";
      } catch {
        label.textContent = "Couldn't copy";
      }
      setTimeout(() => (label.textContent = "Copy settings"), COPIED_LABEL_DURATION);
    },
    import: ({ button }) => {
      const kind = button.closest(".job-row") ? "job" : "picture";
      components["import-event"].trigger({ id: idOf(button), group: button.dataset.group ?? "all", kind });
      leave();
    },
    retry: ({ button }) => {
      const variation = button.dataset.variation ?? "job";
      const press = `${idOf(button)} ${variation}`;
      if (press === state.lastRetry && Date.now() - state.leftAt < DELETION_INTERVAL) return;
      state.lastRetry = press;
      components["retry-event"].trigger({ id: idOf(button), variation, key: sd35.newKey() });
      leave();
    },
  };
  const dispatch = (name, data = {}) => {
    transitions[name]?.(data);
    render();
  };

  // ---- Rendering --------------------------------------------------------------------------------

  const renderTab = () => {
    root.dataset.tab = state.tab;
    for (const link of all("#tabs a")) {
      if (link.getAttribute("href") === `#${state.tab}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };
  const renderSelection = () => {
    if (!toolbar()) return;
    const { selected, firstToCompare } = state;
    const boxes = checkboxes();
    for (const box of boxes) box.checked = selected.has(idOf(box));
    const elsewhere = selected.size - boxes.filter((box) => box.checked).length;
    const text = `${selected.size} selected${elsewhere > 0 ? `, ${elsewhere} on other pages` : ""}`;
    one(".number", toolbar()).textContent = text;
    const status = one("#selection .visually-hidden");
    const announcement = selected.size > 0 ? `${selected.size} selected` : "";
    // Screen readers repeat a status whenever it is written, even if its text is the same.
    if (status.textContent !== announcement) status.textContent = announcement;
    toolbar().hidden = selected.size === 0;
    if (selected.size === 0) one(".tag-form", toolbar()).hidden = true;
    for (const button of all("[data-in]", toolbar())) {
      button.hidden = (button.dataset.in === "trash") !== state.isTrash;
    }
    one("[data-action=compare]", toolbar()).disabled = selected.size < 2 || selected.size > 4;
    one("[data-action=find-best]", toolbar()).disabled = selected.size < 3 || selected.size > 64;
    one("#selection .compare-hint").hidden = firstToCompare === null;
    one("#grid").classList.toggle("is-selecting", selected.size > 0);
  };
  const renderViewer = () => {
    const dialog = viewer();
    // After `emptyViewer` the closed dialog is still there for a moment, until Gradio removes it.
    if (dialog === null || state.requestedIds === null) return;
    if (!dialog.matches(":modal")) {
      dialog.removeAttribute("open"); // `showModal` throws on a dialog that is open already
      dialog.showModal();
      one("[data-action=close]", dialog).focus();
    }
    if (dialog.dataset.id && dialog.dataset.id !== state.lastViewedId) {
      state.lastViewedId = dialog.dataset.id;
      dialog.scrollTop = 0;
      for (const arrow of all(".arrow:not([hidden])", dialog)) new Image().src = sd35.url(`studio/picture/${arrow.dataset.id}`);
    }
  };
  const renderAddress = () => {
    const { requestedIds, shownIds } = state;
    if (!isAddressOurs() || requestedIds !== shownIds || shownIds === addressIds()) return;
    if (shownIds === null && history.state?.sd35 === "viewer") {
      state.isGoingBack = true;
      history.back(); // so that "back" doesn't open the viewer again
    } else if (addressIds() === null) {
      history.pushState({ sd35: "viewer" }, "", address(shownIds));
    } else {
      history.replaceState(history.state, "", address(shownIds));
    }
  };
  // Gradio reuses image elements with another URL: the old image stays until the new one is loaded.
  const renderLoadingImages = () => {
    for (const image of all("#grid img, #viewer img")) {
      if (!image.complete) image.dataset.loading = "";
    }
  };
  const render = () => {
    renderTab();
    renderSelection();
    renderViewer();
    renderAddress();
    renderLoadingImages();
  };

  // ---- Fingers ----------------------------------------------------------------------------------
  // As in the galleries of phones: a tap on an item opens it, a long press selects it, and as long as something is selected, a
  // tap selects, too. Mouse, keyboard and screen reader use the buttons in the item.

  let touch = null; // the press of a finger: { id, x, y, timer, isLong }
  const cancelLongPress = () => clearTimeout(touch?.timer);
  const pickItem = (id) => {
    const checkbox = one(`#grid [data-id="${id}"] .pick input`);
    if (checkbox === null) return; // removed meanwhile
    checkbox.checked = !checkbox.checked;
    dispatch("item picked", { checkbox, isRange: false });
  };
  const onPressStart = (event) => {
    const { target, pointerType, isPrimary, clientX: x, clientY: y } = event;
    cancelLongPress(); // a second finger zooms
    touch = null;
    const item = target.closest(".item[data-id]");
    if (pointerType !== "touch" || !isPrimary || item === null) return;
    const press = { id: idOf(item), x, y, isLong: false };
    const onLongPress = () => {
      press.isLong = true;
      pickItem(press.id);
    };
    press.timer = setTimeout(onLongPress, LONG_PRESS_DURATION);
    touch = press;
  };
  const onPressMove = ({ clientX, clientY }) => {
    if (touch !== null && Math.hypot(clientX - touch.x, clientY - touch.y) > MAX_FINGER_MOVE) cancelLongPress();
  };
  // Before the buttons and checkboxes in the item get it.
  const onTap = (event) => {
    const press = touch;
    touch = null;
    if (press === null || event.detail === 0) return; // 0: a key
    event.preventDefault();
    event.stopPropagation();
    if (press.isLong || isAccidental(event)) return;
    if (state.selected.size > 0) pickItem(press.id);
    else dispatch("open", { button: event.target.closest(".item") });
  };
  // The browser's menu for images, or dragging one, would end the press.
  const onPressMenu = (event) => touch !== null && event.preventDefault();
  const bindFingers = (element) => {
    element.addEventListener("pointerdown", onPressStart);
    element.addEventListener("pointermove", onPressMove);
    element.addEventListener("pointerup", cancelLongPress);
    element.addEventListener("pointercancel", cancelLongPress);
    element.addEventListener("contextmenu", onPressMenu);
    element.addEventListener("dragstart", onPressMenu);
    element.addEventListener("click", onTap, true);
  };

  // ---- Listeners --------------------------------------------------------------------------------

  // The second click of a double click would hit the image that has replaced the deleted one.
  const isAccidental = (event) => event.detail > 1 && Date.now() - state.deletedAt < DOUBLE_CLICK_GUARD;
  const onClick = (event) => {
    const button = event.target.closest("[data-action]");
    const checkbox = event.target.closest(".pick input");
    if (isAccidental(event)) return;
    if (checkbox) dispatch("item picked", { checkbox, isRange: event.shiftKey });
    else if (button) {
      const ids = button.closest(".selection") ? [...state.selected] : [idOf(button)].filter(Boolean);
      dispatch(button.dataset.action, { button, ids });
    } else if (event.target === viewer()) dispatch("close");
  };
  const onSubmit = (event) => {
    event.preventDefault();
    if (!event.target.matches(".tag-form")) return; // the viewer's tags are sent on change
    dispatch("tags added", { text: event.target.elements.tags.value });
    event.target.reset();
  };
  const onChange = ({ target }) => {
    if (target.matches(".tags input")) dispatch("tags edited", { id: idOf(target), text: target.value });
  };
  const onImageEnd = (event) => {
    if (event.target.tagName !== "IMG") return;
    delete event.target.dataset.loading;
    event.target.closest(".item, .stage")?.classList.toggle("is-broken", event.type === "error");
  };
  const onDialogCancel = (event) => {
    if (event.target !== viewer()) return;
    event.preventDefault();
    dispatch("close");
  };
  const onDialogClose = (event) => {
    if (event.target === viewer() && !event.target.open) dispatch("close");
  };

  const VIEWER_KEYS = {
    ArrowLeft: ".newer:not([hidden])",
    ArrowRight: ".older:not([hidden])",
    s: "[data-action=star]",
    Delete: ".actions [data-action=trash]:not([hidden])",
  };
  const ITEM_KEYS = { s: ".star", x: ".pick input" };
  const pressKey = (key, item) => {
    if (viewer() === null && key === "/") {
      one("#search :is(input, textarea)").focus();
      return true;
    }
    if (viewer() === null && item && key === "Delete" && grid().dataset.scope === "shown") {
      dispatch("trash", { ids: [idOf(item)] });
      return true;
    }
    if (viewer() === null && key === "c" && state.selected.size > 0) {
      one("[data-action=compare]", toolbar()).click(); // does nothing while it is disabled
      return true;
    }
    const [area, selector] = viewer() ? [viewer(), VIEWER_KEYS[key]] : [item, ITEM_KEYS[key]];
    const target = area && selector ? one(selector, area) : null;
    target?.click();
    return target !== null;
  };
  const isTextField = (element) => element.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
    if (isUndo && state.tab === "library" && !isTextField(event.target) && !confirmDialog()?.open) {
      event.preventDefault();
      dispatch("undo");
      return;
    }
    const hasModifier = event.isComposing || event.ctrlKey || event.metaKey || event.altKey;
    if (state.tab !== "library" || hasModifier || isTextField(event.target) || confirmDialog()?.open) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.repeat && !key.startsWith("Arrow")) return;
    if (pressKey(key, event.target.closest?.("#grid .item"))) event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href="#library"], a[href="#create"]');
    if (!link || !isOwnPage()) return;
    event.preventDefault(); // Gradio's page has a <base>, so this link would reload the page
    location.hash = link.getAttribute("href");
  });
  // The second click of a double click would start another job, or hit what is at its place on the other tab.
  let lastClick = { x: 0, y: 0 };
  const onClickAfterLeaving = (event) => {
    const { isTrusted, detail, clientX: x, clientY: y } = event;
    if (!isTrusted) return; // of a script
    const interval = detail === 0 ? DELETION_INTERVAL : DOUBLE_CLICK_GUARD; // 0: a key
    const isSecond = Date.now() - state.leftAt < interval && Math.hypot(x - lastClick.x, y - lastClick.y) < MAX_FINGER_MOVE;
    lastClick = { x, y };
    if (!isSecond) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  window.addEventListener("click", onClickAfterLeaving, true);
  window.addEventListener("hashchange", () => dispatch("address changed"));
  document.addEventListener("sd35:comparison-closed", () => dispatch("comparison closed"));
  document.addEventListener("sd35:pictures-changed", ({ detail }) => dispatch("pictures changed", detail));

  // This script runs in the head, before Gradio has drawn the links.
  const linksObserver = new MutationObserver(() => {
    if (one("#tabs a") === null) return;
    linksObserver.disconnect();
    renderTab();
  });
  linksObserver.observe(root, { subtree: true, childList: true });

  sd35.bindTabs = (show) => {
    showGallery = show;
    if (state.tab === "library") show();
  };

  // Each of Gradio's components (see `Gallery`) calls this when it is loaded.
  sd35.gallery = (name, element, props, watch, trigger) => {
    components[name] = { props, trigger };
    element.addEventListener("click", onClick);
    element.addEventListener("submit", onSubmit);
    element.addEventListener("change", onChange);
    // These don't bubble, so they are captured.
    element.addEventListener("load", onImageEnd, true);
    element.addEventListener("error", onImageEnd, true);
    element.addEventListener("cancel", onDialogCancel, true);
    element.addEventListener("close", onDialogClose, true);
    if (name === "viewer") watch("value", () => dispatch("viewer answered"));
    if (name !== "grid") return;
    bindFingers(element);
    watch("value", () => {
      // Gradio names each radio input differently; with one name, the arrow keys work on them.
      for (const input of all("#filter input")) input.name = "filter";
      dispatch("grid answered");
    });
    if (state.tab === "library") {
      loadLibrary();
      render();
    }
  };

  dispatch("address changed");
})();
