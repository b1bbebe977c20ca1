// The library's room: which room is shown, what is selected, keys, and telling the page what is asked for.
(() => {
  const sd35 = (window.sd35 ??= {});
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);

  // Gradio's components here, each with its element and how it is told something.
  const parts = {};
  const shelf = () => one("#shelf .shelf");
  const viewer = () => one("#viewer dialog");
  const bar = () => one("#selection .selection");
  const at = () => shelf()?.dataset.at ?? "";
  let ticket = 0; // each question has a number, which its answer has too
  const ask = (what, told = {}) =>
    parts.shelf?.tell({ what, at: at(), is_open: inViewer() !== null, ticket: ++ticket, ...told });
  let voiced;
  const say = (text) => {
    const voice = one("#selection .voice");
    if (voice && voiced !== text) voice.textContent = voiced = text;
  };

  // Rooms. In another site's page, which shows this one as an element of its own, there is one room.
  const isOwnPage = () => window.gradio_config !== undefined;
  const scrolled = {};
  const showRoom = (wasGoingBack = false) => {
    const room = parsed() ? "library" : "create";
    const before = root.dataset.room;
    if (before === room) {
      if (wasGoingBack) followViewer();
      else if (room === "library") parsed()[2] && `?${parsed()[2]}` !== question() ? showLibrary() : showAddressed();
      return;
    }
    if (before) scrolled[before] = window.scrollY;
    root.dataset.room = room;
    markRoom();
    window.scrollTo(0, scrolled[room] ?? 0);
    if (room === "library") showLibrary();
    else closeViewer();
  };
  const markRoom = () => {
    for (const link of all("#rooms a")) {
      const isCurrent = link.getAttribute("href") === `#${root.dataset.room}`;
      if (isCurrent !== link.hasAttribute("aria-current")) link.toggleAttribute("aria-current", isCurrent);
      if (isCurrent) link.setAttribute("aria-current", "page");
    }
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href="#library"], a[href="#create"]');
    if (!link || !isOwnPage()) return;
    event.preventDefault(); // the page has a <base>: as a plain link this would load it again
    location.hash = link.getAttribute("href");
  });
  const untilLinks = new MutationObserver(() => {
    if (one("#rooms a") === null) return;
    untilLinks.disconnect();
    markRoom();
  });
  untilLinks.observe(root, { subtree: true, childList: true });
  window.addEventListener("hashchange", () => {
    const wasGoingBack = isGoingBack;
    isGoingBack = false;
    showRoom(wasGoingBack);
  });

  // Selecting.
  const selected = new Set();
  let anchor = null;
  let first = null; // of two pictures that are to be compared
  const boxes = () => all(".pick input", shelf() ?? document.createElement("i"));
  const idOf = (element) => element.closest("[data-id]")?.dataset.id ?? "";
  const showSelection = () => {
    for (const box of boxes()) box.checked = selected.has(idOf(box));
    const place = shelf()?.dataset.place;
    const count = selected.size;
    if (!bar()) return;
    bar().hidden = count === 0;
    const hidden = count - boxes().filter((box) => box.checked).length;
    one(".number", bar()).textContent = hidden > 0 ? `${count} (${hidden} not shown here)` : count;
    for (const button of all("[data-in]", bar())) button.hidden = (button.dataset.in === "trash") !== (place === "trash");
    one("[data-do=compare]", bar()).disabled = count !== 2;
    if (count === 0) one(".tagging", bar()).hidden = true;
    one("#selection .choosing").hidden = first === null;
    one("#shelf").classList.toggle("is-selecting", count > 0);
    say(count > 0 ? `${count} selected` : "");
  };
  const select = (box, isRange) => {
    const row = boxes();
    const from = isRange && anchor ? row.findIndex((each) => idOf(each) === anchor) : -1;
    const to = row.indexOf(box);
    const range = from < 0 ? [box] : row.slice(Math.min(from, to), Math.max(from, to) + 1);
    for (const each of range) box.checked ? selected.add(idOf(each)) : selected.delete(idOf(each));
    anchor = idOf(box);
    showSelection();
  };
  const clear = () => {
    selected.clear();
    anchor = null;
    showSelection();
  };

  // Many pictures as one file: a plain form, so that the browser saves what comes as it comes; or else a sentence comes.
  const zipFrame = () => {
    let frame = document.querySelector("iframe[name=sd35-zip]");
    if (frame !== null) return frame;
    frame = Object.assign(document.createElement("iframe"), { name: "sd35-zip", hidden: true });
    frame.addEventListener("load", () => {
      const words = frame.contentDocument?.body?.textContent.trim();
      if (!words) return;
      const said = Object.assign(document.createElement("p"), { textContent: words });
      said.setAttribute("role", "alert");
      one("#shelf .said")?.replaceChildren(said);
    });
    document.body.append(frame);
    return frame;
  };
  const downloadZip = () => {
    const form = document.createElement("form");
    form.method = "post";
    form.action = "studio/zip";
    form.target = zipFrame().name;
    const field = document.createElement("input");
    field.type = "hidden";
    field.name = "ids";
    field.value = [...selected].join(",");
    form.append(field);
    document.body.append(form);
    form.submit();
    form.remove();
  };

  // One picture, large.
  const asked = { id: null, at: 0 };
  const open = (id) => {
    if (asked.id === id && Date.now() - asked.at < 1500) return; // a key that is held down asks again and again
    Object.assign(asked, { id, at: Date.now() });
    if (first !== null && first !== id) {
      want([first, id]);
      first = null;
      showSelection();
    } else want([id]);
  };
  // What is to be seen large: none, one or two. An answer to what was asked before that was wanted comes too late.
  let wanted = null;
  let late = 0;
  const want = (ids) => {
    wanted = ids.join(",");
    late = ticket;
    askFor(ids);
  };
  const askFor = (ids) => ask(ids.length === 2 ? "compare" : "open", { ids });
  const dropLate = () => {
    if (wanted === null) return emptyViewer();
    showViewer();
    if (inViewer() !== wanted) askFor(wanted.split(","));
  };
  // Its address is `#library/` and its id, or two with a comma, and what was searched for: `?q=fox&show=Starred`. No
  // element has an id that is an address: to leave such a one, or come back to it, would move the focus.
  const parsed = () => location.hash.match(/^#library(?:\/([\w-]+(?:,[\w-]+)?))?(?:\?(.*))?$/);
  const addressed = () => parsed()?.[1] ?? null;
  const inViewer = () => (viewer()?.open ? (viewer().dataset.id ?? viewer().dataset.pair) : null);
  const showAddressed = () => {
    if (addressed() === null) closeViewer();
    else if (addressed() !== inViewer()) want(addressed().split(","));
  };
  // What was searched for is put into the fields, if the address tells it; and into the address, when it is answered.
  const showLibrary = () => {
    const told = parsed()?.[2];
    const [show, words] = [new URLSearchParams(told).get("show") ?? "All", new URLSearchParams(told).get("q") ?? ""];
    if (told && `${show}|${words}` !== searched()) ask("find", { is_open: false, show, words });
    else ask("page", { is_open: false });
    showAddressed();
  };
  const question = () => {
    const [show, ...words] = (one("#shelf .answer")?.dataset.for ?? "All|").split("|");
    const told = new URLSearchParams();
    if (words.join("|")) told.set("q", words.join("|"));
    if (show !== "All") told.set("show", show);
    return told.size ? `?${told}` : "";
  };
  const addressOf = (shown) => `${location.pathname}${location.search}#library${shown === null ? "" : `/${shown}`}`;
  const followSearch = () => {
    if (!isOwnPage() || root.dataset.room !== "library" || isGoingBack || isStale()) return;
    const address = addressOf(addressed()) + question();
    if (address !== location.pathname + location.search + location.hash) history.replaceState(history.state, "", address);
  };
  let isGoingBack = false;
  const followViewer = () => {
    const shown = inViewer();
    if (!isOwnPage() || root.dataset.room !== "library" || shown === addressed()) return;
    if (isGoingBack) return;
    if (shown === null && history.state?.sd35 === "over the shelf") {
      isGoingBack = true; // which takes a moment
      return history.back();
    }
    const isFirst = addressed() === null;
    const state = isFirst ? { sd35: "over the shelf" } : history.state;
    history[isFirst ? "pushState" : "replaceState"](state, "", addressOf(shown) + question());
  };

  let shownLast = null;
  const emptyViewer = () => {
    viewer()?.close(); // at once: what is beneath it can't have the focus before
    parts.viewer.props.value = "";
  };
  const closeViewer = () => {
    asked.id = wanted = null;
    late = ticket;
    if (viewer() === null) return;
    emptyViewer();
    (one(`#shelf [data-id="${shownLast}"] .open`) ?? one("#shelf .item .open"))?.focus();
    followViewer();
  };
  const showViewer = () => {
    const dialog = viewer();
    if (dialog === null) return;
    if (!dialog.matches(":modal")) {
      dialog.removeAttribute("open");
      dialog.showModal();
      one("[data-do=close]", dialog).focus();
    }
    if (dialog.dataset.id && dialog.dataset.id !== shownLast) {
      shownLast = dialog.dataset.id;
      dialog.scrollTop = 0;
      for (const arrow of all(".arrow:not([hidden])", dialog)) new Image().src = `studio/picture/${arrow.dataset.id}`;
    }
    const both = one(".both", dialog);
    if (both) both.style.setProperty("--at", `${one("input", both).value}%`);
  };

  const copy = async (text, within) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = document.createElement("textarea"); // without https, there is nothing better
    field.value = text;
    within.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  };
  const copySettings = async (button) => {
    const label = one("span", button);
    try {
      await copy(viewer().dataset.infotext, viewer());
      label.textContent = "Copied";
    } catch {
      label.textContent = "Can’t be copied";
    }
    setTimeout(() => (label.textContent = "Copy settings"), 1800);
  };

  // What each button does, by its data-do; `ids` are the pictures that it is about.
  const does = {
    page: (button) => {
      ask("page", { at: button.dataset.to, is_open: false });
      window.scrollTo({ top: 0 });
    },
    reset: () => ask("reset", { at: "" }),
    open: (button) => open(idOf(button)),
    close: closeViewer,
    star: (button, ids) => {
      const isOn = button.getAttribute("aria-pressed") === "true";
      if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", String(!isOn));
      ask(isOn ? "unstar" : "star", { ids });
    },
    trash: (_, ids) => {
      deletedAt = Date.now();
      ids.forEach((id) => selected.delete(id));
      showSelection();
      ask("trash", { ids });
    },
    forget: (_, ids) => ask("forget", { ids }),
    restore: (button, ids) => {
      ask("restore", { ids: button.dataset.ids?.split(" ") ?? ids });
      if (button.closest(".selection")) clear();
    },
    "ask-erase": () => one("#selection .sure").showModal(),
    keep: () => one("#selection .sure").close(),
    erase: () => {
      one("#selection .sure").close();
      clear();
      ask("erase");
    },
    zip: downloadZip,
    "ask-tag": (button) => {
      const form = one(".tagging", bar());
      form.hidden = !form.hidden;
      button.setAttribute("aria-expanded", String(!form.hidden));
      if (!form.hidden) one("input", form).focus();
    },
    look: () => ask("look"),
    compare: () => ask("compare", { ids: [...selected] }),
    clear,
    choose: (button) => {
      first = idOf(button);
      closeViewer();
      showSelection();
    },
    "choose-none": () => {
      first = null;
      showSelection();
    },
    copy: copySettings,
    form: (button) => {
      const isJob = button.closest(".job-row") !== null;
      parts["to-form"].tell({ id: idOf(button), what: button.dataset.what ?? "all", kind: isJob ? "job" : "picture" });
      location.hash = "#create";
    },
    retry: (button) => {
      parts.again.tell({ id: idOf(button), what: button.dataset.what ?? "job" });
      location.hash = "#create";
    },
  };
  const idsFor = (button) => (button.closest(".selection") ? [...selected] : [idOf(button)].filter(Boolean));

  let deletedAt = 0;
  const onClick = (event) => {
    if (event.detail > 1 && Date.now() - deletedAt < 1000) return; // a double click isn't for what is there then
    const box = event.target.closest(".pick input");
    const button = event.target.closest("[data-do]");
    if (box) select(box, event.shiftKey);
    else if (button) does[button.dataset.do]?.(button, idsFor(button));
    else if (event.target === viewer()) closeViewer();
  };
  const onSubmit = (event) => {
    event.preventDefault();
    const words = event.target.elements.words;
    if (!event.target.matches(".tagging")) return; // a picture's own tags are told when they have changed
    ask("tag", { ids: [...selected], words: words.value });
    words.value = "";
  };
  const onChange = (event) => {
    if (event.target.matches(".tags input")) ask("tags", { ids: [idOf(event.target)], words: event.target.value });
  };
  const onInput = (event) => {
    const both = event.target.closest(".both");
    if (both) both.style.setProperty("--at", `${event.target.value}%`);
  };

  // Keys.
  const isTyping = (element) => element.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
  const keysOfViewer = {
    ArrowLeft: ".newer:not([hidden])",
    ArrowRight: ".older:not([hidden])",
    s: "[data-do=star]",
    Delete: ".doing [data-do=trash]:not([hidden])",
  };
  const pressIn = (place, selector) => {
    const button = selector && one(selector, place);
    if (button) button.click();
    return Boolean(button);
  };
  const keysOfItem = { s: ".star", x: ".pick input" };
  const pressed = (key, item) => {
    if (viewer() !== null) return pressIn(viewer(), keysOfViewer[key]);
    if (key === "/") {
      one("#search input, #search textarea").focus();
      return true;
    }
    if (item && key === "Delete" && shelf().dataset.place === "shown") {
      does.trash(item, [idOf(item)]);
      return true;
    }
    return item ? pressIn(item, keysOfItem[key]) : false;
  };
  const onKey = (event) => {
    const hasOther = event.isComposing || event.ctrlKey || event.metaKey || event.altKey;
    if (root.dataset.room !== "library" || hasOther || isTyping(event.target) || one("#selection .sure")?.open) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.repeat && !key.startsWith("Arrow")) return;
    if (pressed(key, event.target.closest?.("#shelf .item"))) event.preventDefault();
  };
  document.addEventListener("keydown", onKey);

  // A picture that is still coming isn't mistaken for the one whose place it takes.
  const followPictures = () => {
    for (const image of all("#shelf img, #viewer img")) if (!image.complete) image.dataset.waits = "";
  };
  const arrived = (event) => {
    if (event.target.tagName !== "IMG") return;
    delete event.target.dataset.waits;
    event.target.closest(".item, .stage")?.classList.toggle("is-broken", event.type === "error");
  };

  // An answer that another one has overtaken isn't shown; where nothing better is there, it is asked again.
  const searched = () => `${one("#show input:checked")?.value ?? "All"}|${one("#search :is(input, textarea)")?.value ?? ""}`;
  const isStale = () => one("#shelf .answer") !== null && one("#shelf .answer").dataset.for !== searched();
  const newest = { for: null, html: "" };
  const keepNewest = () => {
    if (!isStale()) Object.assign(newest, { for: one("#shelf .answer")?.dataset.for ?? null, html: parts.shelf.props.value });
    else if (newest.for === searched()) parts.shelf.props.value = newest.html;
  };
  let again = { of: "", tries: 0 };
  const followAnswer = () => {
    if (shelf()?.dataset.place === "looking") setTimeout(() => root.dataset.room === "library" && ask("page"), 1500);
    if (!isStale()) return;
    setTimeout(() => {
      if (!isStale()) return;
      again = { of: searched(), tries: again.of === searched() ? again.tries + 1 : 0 };
      if (again.tries < 3) ask("page", { at: "" });
    }, 400);
  };

  let wasTrash = false;
  const follow = {
    shelf: () => {
      keepNewest();
      const isTrash = shelf()?.dataset.place === "trash";
      if (isTrash !== wasTrash) selected.clear(); // what can be done with them is something else there
      wasTrash = isTrash;
      // Gradio names each radio input differently, so that the arrow keys don't know that they belong together.
      for (const input of all("#show input")) input.name = "show";
      followPictures();
      showSelection();
      followAnswer();
      followSearch();
    },
    viewer: () => {
      const answer = one("#viewer [data-ticket]");
      if (answer === null) return; // it was emptied here
      if (Number(answer.dataset.ticket) <= late) return dropLate();
      wanted = viewer()?.dataset.id ?? viewer()?.dataset.pair ?? null;
      showViewer();
      followViewer();
      followPictures();
    },
  };

  // Each of Gradio's components calls this when it is there.
  sd35.gallery = (name, element, props, watch, tell) => {
    parts[name] = { element, props, tell };
    for (const [type, listener] of [["click", onClick], ["submit", onSubmit], ["change", onChange], ["input", onInput]]) {
      element.addEventListener(type, listener);
    }
    element.addEventListener("load", arrived, true);
    element.addEventListener("error", arrived, true);
    element.addEventListener("cancel", (event) => {
      if (event.target !== viewer()) return;
      event.preventDefault();
      closeViewer();
    }, true);
    element.addEventListener("close", (event) => {
      if (event.target === viewer() && !event.target.open) closeViewer();
    }, true);
    if (follow[name]) watch("value", follow[name]);
    if (name === "shelf" && root.dataset.room === "library") showLibrary();
  };

  showRoom();
})();
