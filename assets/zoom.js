// Several images that are zoomed and moved in step, by wheel, fingers and keys.
//
// The zoom is a factor of "fits its pane", and the position a point of the image, as fractions of its sides: so images of
// different sizes show the same part of the scene.
(() => {
  const sd35 = (window.sd35 ??= {});

  const MAX_SCALE = 8; // screen pixels per pixel of the image
  const MIN_MAX_ZOOM = 4; // also for images that are larger than the screen
  const STEP = 1.25; // of a press on + or −
  const WHEEL_SPEED = 0.0016; // per pixel; a notch of a mouse wheel is 100 to 120
  const PINCH_WHEEL_SPEED = 0.01; // the wheel events of a trackpad's pinch are small
  const LINE_HEIGHT = 32; // pixels, of a wheel that counts in lines
  const MAX_TAP_MOVE = 8; // pixels
  const DOUBLE_TAP_TIME = 320; // ms
  const SWIPE_DISTANCE = 45; // pixels
  const MAGNIFIED = 3; // from this scale on, pixels stay sharp squares

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);

  // `view` holds the panes. A pane is { element, picture, width, height }: the picture lies in the element, which clips it.
  // Handlers: change(), tap(pane, event), swipe(direction), drag(event) of a pointer at an image that fits, press(pane,
  // isDown, event). With `hasDoubleTap: false` the second tap of a double one does nothing.
  sd35.createZoom = (view, handlers = {}) => {
    let panes = [];
    let zoom = 1;
    let center = { x: 0.5, y: 0.5 };
    const pointers = new Map(); // by id: { x, y } where they are
    let gesture = null; // where it began: { x, y, pane, isMoved, isPinched }
    let lastTap = { at: 0, x: 0, y: 0 };

    const boxOf = (pane) => pane.element.getBoundingClientRect();
    const fitOf = ({ element, width, height }) =>
      Math.min(element.clientWidth / width, element.clientHeight / height) || 1e-6;
    const shownPanes = () => panes.filter(({ element }) => element.clientWidth > 0);
    const paneAt = (target) => panes.find(({ element }) => element.contains(target)) ?? shownPanes()[0];

    // How far the center may be from the middle of the image, on one axis.
    const slack = (paneSide, shownSide) => Math.max(0, 0.5 - paneSide / (2 * shownSide));
    const slackOf = (pane) => {
      const scale = fitOf(pane) * zoom;
      return {
        x: slack(pane.element.clientWidth, pane.width * scale),
        y: slack(pane.element.clientHeight, pane.height * scale),
      };
    };
    const within = (value, room) => clamp(value, 0.5 - room, 0.5 + room);

    const render = () => {
      const shown = shownPanes();
      const room = shown.map(slackOf);
      center = {
        x: within(center.x, Math.max(0, ...room.map(({ x }) => x))),
        y: within(center.y, Math.max(0, ...room.map(({ y }) => y))),
      };
      shown.forEach((pane, index) => {
        const { element, picture, width, height } = pane;
        const scale = fitOf(pane) * zoom;
        const x = element.clientWidth / 2 - within(center.x, room[index].x) * width * scale;
        const y = element.clientHeight / 2 - within(center.y, room[index].y) * height * scale;
        Object.assign(picture.style, { width: `${width * scale}px`, height: `${height * scale}px` });
        picture.style.transform = `translate(${x}px, ${y}px)`;
        picture.toggleAttribute("data-magnified", scale >= MAGNIFIED);
        // Where the visible part of the image begins, for what stands on it.
        element.style.setProperty("--left", `${Math.max(0, x)}px`);
        element.style.setProperty("--top", `${Math.max(0, y)}px`);
      });
      view.toggleAttribute("data-zoomed", zoom > 1);
      handlers.change?.();
    };

    // Keeps the point of the image under a point of the screen at its place.
    const zoomTo = (factor, pane = shownPanes()[0], point = null) => {
      if (pane === undefined) return;
      const fit = fitOf(pane);
      // 100 % of a small image is below "fits".
      const next = clamp(factor, Math.min(1, 1 / fit), Math.max(MIN_MAX_ZOOM, MAX_SCALE / fit));
      if (point !== null) {
        const box = boxOf(pane);
        const offset = { x: point.x - box.x - box.width / 2, y: point.y - box.y - box.height / 2 };
        const gain = 1 / (fit * zoom) - 1 / (fit * next);
        const room = slackOf(pane); // from where this pane is, not from where another could be
        center.x = within(center.x, room.x) + (offset.x * gain) / pane.width;
        center.y = within(center.y, room.y) + (offset.y * gain) / pane.height;
      }
      zoom = next;
      render();
    };
    const panBy = (dx, dy, pane = shownPanes()[0]) => {
      const scale = fitOf(pane) * zoom;
      center = { x: center.x - dx / (pane.width * scale), y: center.y - dy / (pane.height * scale) };
      render();
    };
    const isFullSize = (pane) => Math.abs(fitOf(pane) * zoom - 1) < 0.01;
    const toggleFullSize = (pane, point = null) => zoomTo(zoom === 1 ? 1 / fitOf(pane) : 1, pane, point);

    const onWheel = (event) => {
      if (event.target.closest("button, input, a")) return;
      event.preventDefault();
      const { deltaY, deltaMode, ctrlKey, clientX: x, clientY: y } = event;
      const pixels = deltaMode === 0 ? deltaY : deltaY * LINE_HEIGHT;
      const speed = ctrlKey && Math.abs(deltaY) < 50 ? PINCH_WHEEL_SPEED : WHEEL_SPEED;
      zoomTo(zoom * Math.exp(-pixels * speed), paneAt(event.target), { x, y });
    };

    const onDown = (event) => {
      const pane = panes.find(({ element }) => element.contains(event.target));
      // The capture would take the click from a button.
      if (pane === undefined || event.button !== 0 || event.target.closest("button")) return;
      const { pointerId, clientX: x, clientY: y } = event;
      view.setPointerCapture(pointerId);
      pointers.set(pointerId, { x, y });
      if (pointers.size === 1) {
        gesture = { x, y, pane, isMoved: false, isPinched: false };
        handlers.press?.(pane, true, event);
      } else gesture.isPinched = true;
    };
    const onMove = (event) => {
      const last = pointers.get(event.pointerId);
      if (last === undefined) return;
      const point = { x: event.clientX, y: event.clientY };
      if (pointers.size === 2) {
        const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        const from = middle(last, other);
        const to = middle(point, other);
        pointers.set(event.pointerId, point);
        panBy(to.x - from.x, to.y - from.y, gesture.pane);
        zoomTo((zoom * distance(point, other)) / Math.max(1, distance(last, other)), gesture.pane, to);
        return;
      }
      if (!gesture.isMoved && distance(point, gesture) < MAX_TAP_MOVE) return;
      gesture.isMoved = true;
      pointers.set(event.pointerId, point);
      if (zoom > 1) panBy(point.x - last.x, point.y - last.y, gesture.pane);
      else handlers.drag?.(event);
    };
    const onUp = (event) => {
      if (!pointers.delete(event.pointerId) || pointers.size > 0) return;
      const { pane, x, y, isMoved, isPinched } = gesture;
      handlers.press?.(pane, false, event);
      if (event.type === "pointercancel" || isPinched) return;
      const [dx, dy] = [event.clientX - x, event.clientY - y];
      if (isMoved) {
        const isSwipe = zoom === 1 && Math.abs(dx) > SWIPE_DISTANCE && Math.abs(dx) > 1.5 * Math.abs(dy);
        if (isSwipe) handlers.swipe?.(dx < 0 ? 1 : -1);
        return;
      }
      const isDouble = Date.now() - lastTap.at < DOUBLE_TAP_TIME && distance(lastTap, { x, y }) < 4 * MAX_TAP_MOVE;
      lastTap = { at: isDouble ? 0 : Date.now(), x, y };
      if (!isDouble) handlers.tap?.(pane, event);
      else if (handlers.hasDoubleTap !== false) toggleFullSize(pane, { x, y });
    };

    view.addEventListener("wheel", onWheel, { passive: false });
    view.addEventListener("pointerdown", onDown);
    view.addEventListener("pointermove", onMove);
    view.addEventListener("pointerup", onUp);
    view.addEventListener("pointercancel", onUp);
    // The browser's own dragging of an image would end the gesture.
    view.addEventListener("dragstart", (event) => event.preventDefault());
    const observer = new ResizeObserver(render);
    observer.observe(view);

    return {
      show(newPanes) {
        panes = newPanes;
        render();
      },
      render,
      fit: () => zoomTo(1),
      in: () => zoomTo(zoom * STEP),
      out: () => zoomTo(zoom / STEP),
      toggleFullSize: () => shownPanes().length > 0 && toggleFullSize(shownPanes()[0]),
      // In screen pixels, as a scroll bar would: to the right shows what is on the right.
      pan: (dx, dy) => shownPanes().length > 0 && panBy(-dx, -dy),
      isZoomed: () => zoom > 1,
      isFullSize: () => shownPanes().length > 0 && isFullSize(shownPanes()[0]),
      percent: () => (shownPanes().length > 0 ? Math.round(fitOf(shownPanes()[0]) * zoom * 100) : 100),
      stop: () => observer.disconnect(),
    };
  };
})();
