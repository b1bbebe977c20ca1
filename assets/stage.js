// The stage: the contact sheet of a set, or one image, which can be zoomed; and what can be done with them.
(() => {
  const sd35 = (window.sd35 ??= {});
  const { create } = sd35;
  const byId = (id) => document.getElementById(id);

  const GAP = 10; // px between two cells, as in stage.css
  const LABEL_HEIGHT = 22; // px
  const MIN_CELL_SIDE = 96; // px: with smaller cells, the sheet scrolls
  const THUMBNAIL_SIDE = 320; // px

  let stage = { mode: null, focus: "", isBehind: false, showsSet: true, columns: 0, cells: [], previews: {} };
  let sheet = null; // the element
  let previousId = null; // of the image that was in focus before

  // ---- The contact sheet --------------------------------------------------------------------------

  const createButton = (action, id, text, label) => {
    const button = create("button", { type: "button", textContent: text });
    Object.assign(button.dataset, { action, id });
    if (label) button.ariaLabel = button.title = label;
    return button;
  };

  const createCell = () => {
    const image = create("img", { alt: "", decoding: "async", hidden: true });
    const text = create("span", { className: "cell-text" });
    const bar = create("i", { className: "cell-bar" });
    const frame = create("span", { className: "frame" }, image, text, bar);
    const button = create("button", { type: "button", className: "open" }, frame);
    button.dataset.action = "select";
    const label = create("span", { className: "cell-label" });
    const buttons = create("div", { className: "buttons" });
    const node = create("div", { className: "cell" }, button, label, buttons);
    return { node, button, image, text, bar, label, buttons, id: "", url: "", buttonsFor: "", version: "" };
  };

  // The former image, above all a preview, stays until the new one can be drawn.
  const setImage = (cell, url) => {
    if (cell.url === url) return;
    cell.url = url;
    const show = () => {
      if (cell.url !== url) return;
      cell.image.src = url;
      cell.image.hidden = url === "";
    };
    if (url === "") return show();
    const loader = new Image();
    loader.src = url;
    loader.decode().then(show, show);
  };

  // All images of the set, or the one that is looked at.
  const shownCells = () => (stage.showsSet ? stage.cells : stage.cells.filter(({ id }) => id === stage.focus));

  const description = (data) => {
    const place = stage.cells.length > 1 ? `Image ${stage.cells.indexOf(data) + 1} of ${stage.cells.length}` : "Image";
    return [place, data.label, data.text].filter(Boolean).join(", ");
  };

  const updateCell = (cell, data, index) => {
    const isLarge = cellSide * devicePixelRatio > THUMBNAIL_SIDE * 1.2;
    const preview = stage.previews[data.id];
    const version = JSON.stringify([data, index, stage.cells.length, cells.length, isLarge]);
    if (cell.version === version && (preview ?? cell.url) === cell.url) return; // elements that stay the same cost nothing
    cell.version = version;
    const { node, button, text, bar, label, buttons } = cell;
    if (cell.id !== data.id) setImage(cell, ""); // that of another job
    cell.id = data.id;
    node.dataset.state = data.state;
    node.style.setProperty("--ratio", `${data.width} / ${data.height}`);
    button.dataset.id = data.id;
    button.disabled = data.id === "";
    button.ariaLabel = description(data);
    text.textContent = data.text;
    label.textContent = label.title = data.label;
    bar.hidden = data.fraction === null || data.state !== "running";
    bar.style.width = `${Math.round(100 * (data.fraction ?? 0))}%`;
    bar.toggleAttribute("data-estimate", data.isEstimate);
    if (data.state === "done") setImage(cell, sd35.url(isLarge ? data.image : (data.thumbnail ?? data.image)));
    else if (preview) setImage(cell, preview);
    else if (data.state !== "running") setImage(cell, "");
    // For a single image, the panel has these.
    const kinds = cells.length > 1 ? { running: "stop", pending: "stop", failed: "retry" } : {};
    const kind = kinds[data.state] ?? "";
    const meaning = `${kind} ${data.id}`;
    if (cell.buttonsFor === meaning) return;
    cell.buttonsFor = meaning;
    buttons.replaceChildren();
    if (kind === "stop") buttons.append(createButton("stop", data.id, "✕", data.state === "running" ? "Stop" : "Remove"));
    if (kind === "retry") buttons.append(createButton("retry", data.id, "Retry", "Retry with the same seed"));
  };

  const cells = [];
  const grid = create("div", { className: "cells", role: "group", ariaLabel: "Images" });
  const renderCells = () => {
    const shown = shownCells();
    while (cells.length > shown.length) cells.pop().node.remove();
    while (cells.length < shown.length) {
      cells.push(createCell());
      grid.append(cells.at(-1).node);
    }
    grid.dataset.count = shown.length;
    layOut(shown);
    shown.forEach((data, index) => updateCell(cells[index], data));
  };

  // As many columns as make the images largest.
  let gridSize = { width: 0, height: 0 }; // as it was last observed: to measure it would lay out the page at each update
  const measure = () => (gridSize = { width: grid.clientWidth, height: grid.clientHeight });
  let cellSide = 0;
  const layOut = (shown) => {
    const { width, height } = gridSize;
    const count = shown.length;
    if (width === 0 || count === 0) return;
    const { width: columns, height: rows } = shown[0];
    const ratio = columns / rows;
    const labelHeight = count > 1 ? LABEL_HEIGHT : 0;
    const cellWidth = (number) => {
      const byWidth = (width - GAP * (number - 1)) / number;
      const rowCount = Math.ceil(count / number);
      const byHeight = ((height - GAP * (rowCount - 1)) / rowCount - labelHeight) * ratio;
      return Math.min(byWidth, byHeight);
    };
    let best = 1;
    for (let number = 2; number <= count; number += 1) if (cellWidth(number) > cellWidth(best)) best = number;
    const columnCount = count > 1 ? stage.columns : 0;
    const number = columnCount || best;
    const side = Math.max(cellWidth(number), Math.min(MIN_CELL_SIDE, width));
    cellSide = Math.floor(side);
    grid.style.setProperty("--columns", columnCount || Math.max(1, Math.min(count, Math.floor((width + GAP) / (side + GAP)), best)));
    grid.style.setProperty("--cell-width", `${cellSide}px`);
  };

  // ---- From one image to the next, and back -------------------------------------------------------

  const tools = create("div", { className: "stage-tools buttons" });
  const arrows = ["‹", "›"].map((text, index) => {
    const label = index === 0 ? "Previous image" : "Next image";
    const arrow = createButton("select", "", text, label);
    arrow.className = `stage-arrow ${index === 0 ? "previous" : "next"}`;
    return arrow;
  });
  const siblingIds = () => {
    const own = stage.cells.map(({ id }) => id).filter(Boolean);
    if (own.length > 1) return own;
    return [...document.querySelectorAll("#recent [data-id]")].map(({ dataset }) => dataset.id);
  };
  const renderTools = () => {
    const isOneOfSet = stage.cells.length > 1 && !stage.showsSet;
    const ids = siblingIds();
    const index = ids.indexOf(stage.focus);
    arrows.forEach((arrow, side) => {
      const id = (index < 0 ? undefined : ids[index + (side === 0 ? -1 : 1)]) ?? "";
      arrow.dataset.id = id;
      arrow.hidden = id === "" || !(isOneOfSet || stage.mode === "image");
    });
    const nodes = [];
    if (isOneOfSet) {
      const place = stage.cells.findIndex(({ id }) => id === stage.focus) + 1;
      nodes.push(createButton("show-set", stage.focus, `▦ ${place} of ${stage.cells.length}`, "Back to the set (Esc)"));
    }
    if (stage.isBehind) nodes.push(createButton("live", "", "● Back to live", "Show what is being generated"));
    const meaning = nodes.map(({ dataset, textContent }) => `${dataset.action} ${dataset.id} ${textContent}`).join();
    if (tools.dataset.meaning === meaning) return;
    tools.dataset.meaning = meaning;
    tools.replaceChildren(...nodes);
  };

  let shownLook = "";
  const render = () => {
    if (sheet === null) return;
    const output = byId("output");
    if (stage.mode !== null) output.dataset.mode = stage.mode; // not before the server has said what there is
    output.toggleAttribute("data-set", stage.cells.length > 1);
    const look = `${stage.mode} ${stage.cells.length > 1}`; // the sheet's size depends on it
    if (look !== shownLook) measure();
    shownLook = look;
    renderCells();
    renderTools();
    sd35.settleButtons(sheet);
  };

  const press = (selector) => {
    const button = document.querySelector(selector);
    if (button === null || button.hidden) return false;
    button.click();
    return true;
  };
  const goBack = () => press('#sheet [data-action="show-set"]') || press('#sheet [data-action="live"]');
  const zoomIn = (direction) => {
    if (zoom === null || stage.mode !== "image") return false;
    if (direction > 0) zoom.in();
    else zoom.out();
    return true;
  };
  // At once, though its button has just appeared: many images are looked through by → and S.
  const star = () => {
    const button = document.querySelector('#actions :is([data-action="star"], [data-action="unstar"])');
    if (button) sd35.raise("click", { ...button.dataset });
    return button !== null;
  };
  const KEYS = {
    ArrowLeft: () => press("#sheet .previous"),
    ArrowRight: () => press("#sheet .next"),
    Escape: goBack,
    "+": () => zoomIn(1),
    "-": () => zoomIn(-1),
    s: star,
    Delete: () => press('#actions [data-action="trash"]'),
  };
  // In a grid the arrows move the focus.
  const moveFocus = (event) => {
    const index = cells.findIndex(({ button }) => button === document.activeElement);
    const columns = Number(grid.style.getPropertyValue("--columns")) || 1;
    const offset = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (index < 0 || offset === undefined || cells.length < 2) return false;
    cells[index + offset]?.button.focus();
    return true;
  };
  const isTyping = (target) => target.closest?.("input:not([type=checkbox], [type=button]), textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.documentElement.dataset.tab === "library" || document.querySelector("dialog[open], :popover-open") || isTyping(event.target)) return;
    if (event.repeat && !event.key.startsWith("Arrow")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (moveFocus(event) || KEYS[key]?.()) event.preventDefault();
  });

  // ---- Zoom ---------------------------------------------------------------------------------------

  let zoom = null;
  let zoomedFrame = null; // Gradio's element around the image, which it may replace
  const updateZoom = () => {
    const image = document.querySelector("#picture .image-frame img");
    if (!image?.naturalWidth) return;
    const element = image.closest(".image-frame");
    if (element !== zoomedFrame) {
      zoom?.stop();
      zoomedFrame = element;
      zoom = sd35.createZoom(element, { swipe: (direction) => press(direction > 0 ? "#sheet .next" : "#sheet .previous") });
    }
    zoom.show([{ element, picture: image, width: image.naturalWidth, height: image.naturalHeight }]);
  };
  const onLoad = ({ target }) => target.closest?.("#picture") && updateZoom();
  document.addEventListener("load", onLoad, true);

  // ---- Actions ------------------------------------------------------------------------------------

  const ACTIONS = {
    reuse: ({ job, variant }) => sd35.raise("reuse", { id: job, group: variant, kind: "picture" }),
    vary: ({ job, variant }) => sd35.raise("vary", { id: job, variation: variant, key: sd35.newKey() }),
    // With the image that was looked at before, or a neighbor.
    compare: ({ job }) => {
      const ids = siblingIds();
      const other = previousId ?? ids[ids.indexOf(job) + 1] ?? ids[ids.indexOf(job) - 1];
      if (other) sd35.compare([other, job]);
    },
    "compare-set": ({ ids }) => sd35.compare(ids.split(" ")),
    "find-best": ({ ids }) => sd35.findBest(ids.split(" ")),
    "download-set": ({ ids }) => sd35.downloadZip(ids.split(" ")),
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-stage]");
    if (!button) return;
    button.closest(".menu")?.hidePopover();
    ACTIONS[button.dataset.stage](button.dataset);
  });
  // Above its button.
  const onMenuOpen = ({ target, newState }) => {
    if (newState !== "open" || !target.matches(".menu")) return;
    const { left, top } = document.querySelector(`[popovertarget="${target.id}"]`).getBoundingClientRect();
    document.documentElement.style.setProperty("--menu-left", `${Math.min(left, innerWidth - 210)}px`);
    document.documentElement.style.setProperty("--menu-bottom", `${innerHeight - top + 6}px`);
  };
  document.addEventListener("beforetoggle", onMenuOpen, true);
  // Gradio's page has a <base>, so such a link would reload the page.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('#output a[href^="#library"]');
    if (!link || !sd35.isOwnPage()) return;
    event.preventDefault();
    location.hash = link.getAttribute("href");
  });
  document.addEventListener("sd35:pictures-changed", () => sd35.raise("poll"));
  // What was starred or deleted in the library.
  window.addEventListener("hashchange", () => {
    if (!location.hash.startsWith("#library")) sd35.raise("poll");
  });

  Object.assign(sd35, {
    bindStage(element) {
      sheet = element;
      element.append(tools, ...arrows, grid);
      const onResize = () => {
        measure();
        render();
      };
      new ResizeObserver(onResize).observe(grid);
      render();
    },

    showStage(text) {
      const next = JSON.parse(text);
      const isOther = next.focus !== stage.focus || next.mode !== stage.mode;
      if (next.focus !== stage.focus && stage.mode === "image") previousId = stage.focus;
      if (next.focus === previousId) previousId = null;
      const formerFocus = next.showsSet && !stage.showsSet ? stage.focus : "";
      stage = next;
      if (isOther) {
        zoom?.fit();
        byId("actions")?.scrollTo(0, 0); // on a phone
      }
      render();
      // Back from one image to the set: on from there.
      if (document.activeElement === document.body) cells.find(({ id }) => id && id === formerFocus)?.button.focus({ preventScroll: true });
      return [];
    },
  });
})();
