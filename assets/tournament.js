// "Find the best": two images at a time, until the best three of a set are known.
//
// `rank` is a knockout: it takes one decision less than there are images to find the best one, and a few more for the second
// and the third, which can only be among those that have lost to nobody else.
(() => {
  const sd35 = (window.sd35 ??= {});
  const { create, pluralize } = sd35;

  const MIN_COUNT = 3;
  const MAX_COUNT = 64;
  const PLACES = 3;
  const SESSION_STORAGE = "sd35-tournament";
  const CHOICE_DURATION = 140; // ms in which the chosen image is marked
  const SETTLING_TIME = 120; // ms in which a new pair takes no choice
  const MIN_WIDE = 860; // pixels
  const RESULTS = ["left", "right", "both"];

  // ---- The order --------------------------------------------------------------------------------

  // Images that are equally good are one group from then on, which wins and loses together.
  const groupsOf = (ids, decisions) => {
    const groups = new Map(ids.map((id) => [id, [id]]));
    for (const { left, right, result } of decisions) {
      if (result !== "both" || groups.get(left) === groups.get(right)) continue;
      const members = ids.filter((id) => groups.get(left).includes(id) || groups.get(right).includes(id));
      members.forEach((id) => groups.set(id, members));
    }
    return groups;
  };
  const addTo = (map, name, value) => map.set(name, [...(map.get(name) ?? []), value]);

  // Returns the groups of the first places, the next pair (or null at the end), and about how many decisions are left.
  const rank = (ids, decisions) => {
    const groups = groupsOf(ids, decisions);
    const winsOf = new Map();
    const winnersOver = new Map(); // by group: those that have beaten it
    for (const { left, right, result } of decisions) {
      if (result === "both") continue;
      const [winner, loser] = (result === "left" ? [left, right] : [right, left]).map((id) => groups.get(id));
      addTo(winsOf, winner, loser);
      addTo(winnersOver, loser, winner);
    }
    let remaining = [...new Set(groups.values())];
    const places = [];
    const rounds = Math.max(0, Math.ceil(Math.log2(Math.max(1, remaining.length))) - 1);
    while (remaining.length > 0 && places.flat().length < PLACES) {
      const isBeaten = (group) => (winnersOver.get(group) ?? []).some((winner) => remaining.includes(winner));
      const candidates = remaining.filter((group) => !isBeaten(group));
      if (candidates.length > 1) {
        // Those with the fewest wins: so the rounds are even, and few have lost to the best one alone.
        const wins = (group) => (winsOf.get(group) ?? []).length;
        const [left, right] = [...candidates].sort((a, b) => wins(a) - wins(b));
        const laterPlaces = Math.min(PLACES - places.flat().length, remaining.length - 1) - 1;
        return { places, pair: [left[0], right[0]], left: candidates.length - 1 + Math.max(0, laterPlaces) * rounds };
      }
      places.push(candidates[0]);
      remaining = remaining.filter((group) => group !== candidates[0]);
    }
    return { places, pair: null, left: 0 };
  };

  // ---- The session ------------------------------------------------------------------------------
  // It survives a reload, and the dialog being closed: the same images go on where they were.

  const isDecision = (decision, ids) => {
    const { left, right, result } = decision ?? {};
    return left !== right && ids.includes(left) && ids.includes(right) && RESULTS.includes(result);
  };
  const readSession = () => {
    const session = sd35.pictures.readSession(SESSION_STORAGE);
    if (!sd35.pictures.areIds(session?.ids) || !Array.isArray(session.decisions)) return null;
    return session;
  };

  class Tournament {
    constructor(ids) {
      const session = readSession();
      const isSame = session !== null && [...session.ids].sort().join() === [...ids].sort().join();
      this.ids = isSame ? session.ids : ids;
      this.decisions = isSame ? session.decisions : [];
      this.pictures = new Map();
      this.error = "";
      this.pair = null;
      this.isMarked = false; // a choice is shown
      this.trashedIds = [];
      const { openPictureDialog, createZoom, pictures } = sd35;
      this.dialog = openPictureDialog({
        title: "Find the best",
        key: (event) => this.pressKey(event),
        close: () => this.onClose(),
      });
      this.dialog.element.classList.add("tournament");
      this.dialog.view.dataset.opening = "";
      this.zoom = createZoom(this.dialog.view, {
        change: () => this.controls?.update(),
        tap: (pane) => this.choose(pane.side),
        hasDoubleTap: false,
      });
      this.controls = pictures.zoomControls(() => this.zoom);
      this.onResize = () => this.layOut();
      window.addEventListener("resize", this.onResize);
      this.buildTools();
    }

    async load() {
      const { request, picturesOf, messageOf, current } = sd35.pictures;
      let answer;
      try {
        answer = await this.dialog.during(request("compare", this.ids));
      } catch {
        this.dialog.view.replaceChildren(sd35.pictures.buildRetry(() => this.load()));
        return;
      }
      if (current() !== this.dialog) return;
      delete this.dialog.view.dataset.opening;
      const pictures = picturesOf(answer).filter(({ isTrashed, isMissing }) => !isTrashed && !isMissing);
      this.pictures = new Map(pictures.map((picture) => [picture.id, picture]));
      const count = this.ids.length - pictures.length;
      const { error } = messageOf(answer);
      this.error = error;
      this.dialog.showNote(error || (count > 0 ? `${pluralize(count, "image")} no longer in your library` : ""));
      this.ids = this.ids.filter((id) => this.pictures.has(id));
      this.decisions = this.decisions.filter((decision) => isDecision(decision, this.ids));
      this.render();
    }

    save() {
      const { ids, decisions } = this;
      sessionStorage.setItem(SESSION_STORAGE, JSON.stringify({ ids, decisions, isOpen: true }));
    }

    // ---- What is shown

    buildTools() {
      const { button, key } = sd35.pictures;
      this.progress = create("progress", { max: 1, value: 0, ariaLabel: "Progress" });
      this.progressText = create("span", { className: "progress-text" });
      this.undoButton = button("Undo ", { title: "Undo the last choice (↑)", onclick: () => this.undo() }, key("↑"));
      this.bothButton = button("Both good ", { title: "Both are as good (↓)", onclick: () => this.choose("both") }, key("↓"));
      this.finishButton = button("Show the result", { className: "finish", onclick: () => this.showPodium() });
      const meter = create("div", { className: "meter" }, this.progress, this.progressText);
      this.dialog.tools.replaceChildren(meter, this.controls.element);
    }

    render() {
      if (this.ids.length === 0) return this.showEmpty();
      this.save();
      const { places, pair, left } = rank(this.ids, this.decisions);
      const done = this.decisions.length;
      Object.assign(this.progress, { max: Math.max(1, done + left), value: done });
      this.progressText.textContent = pair === null ? "Done" : `${done + 1} of about ${done + left}`;
      this.undoButton.disabled = done === 0;
      this.finishButton.hidden = places.length === 0;
      if (pair === null) this.showPodium();
      else this.showPair(pair);
    }

    showEmpty() {
      this.dialog.tools.replaceChildren();
      this.dialog.showNote("");
      this.dialog.view.replaceChildren(sd35.pictures.buildEmpty(this.error));
    }

    showPair(pair) {
      const { button, key, buildPane, announce } = sd35.pictures;
      const sides = ["left", "right"];
      const focused = document.activeElement;
      const focusedSide = this.bars?.findIndex((bar) => bar.contains(focused)) ?? -1;
      this.pair = pair;
      this.dialog.view.dataset.mode = "grid";
      this.dialog.element.toggleAttribute("data-podium", false);
      this.panes = pair.map((id, index) => {
        const pane = buildPane(this.pictures.get(id), index === 0 ? "Left" : "Right");
        return Object.assign(pane, { side: sides[index] });
      });
      this.bars = pair.map((id, index) => {
        const { caption } = this.pictures.get(id);
        const text = key(index === 0 ? "←" : "→");
        const choice = button(text, { className: "choose", onclick: () => this.choose(sides[index]) }, "This one");
        choice.setAttribute("aria-label", `Choose the ${sides[index]} image`);
        return create("div", { className: "bar" }, choice, create("span", { className: "caption", title: caption }, caption));
      });
      const choices = create("div", { className: "choices" }, this.undoButton, this.bothButton, this.finishButton);
      this.choices = choices;
      this.dialog.view.replaceChildren(...this.panes.map(({ element }) => element), ...this.bars, choices);
      // A new pair has new buttons.
      if (focusedSide >= 0) this.bars[focusedSide].querySelector("button").focus();
      else if (focused?.isConnected) focused.focus();
      else this.dialog.element.focus();
      this.zoom.fit();
      this.layOut();
      sd35.pictures.setReady(this.dialog.view, this.panes, SETTLING_TIME);
      announce(`${this.progressText.textContent}. Left: ${this.describe(pair[0])}. Right: ${this.describe(pair[1])}.`);
      this.preload(pair);
    }

    describe(id) {
      const { caption, alt } = this.pictures.get(id);
      return caption || alt;
    }

    // The images of the next pair, whatever the choice.
    preload([left, right]) {
      for (const result of RESULTS) {
        const next = rank(this.ids, [...this.decisions, { left, right, result }]).pair ?? [];
        for (const id of next) new Image().src = sd35.pictures.pictureUrl(this.pictures.get(id));
      }
    }

    layOut() {
      if (this.pair === null) return;
      const { view } = this.dialog;
      const pictures = this.pair.map((id) => this.pictures.get(id));
      const columns = sd35.pictures.bestColumns(pictures, view.clientWidth, view.clientHeight, 48);
      view.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
      // With room for them, the choices are between the images' bars.
      const isWide = columns === 2 && view.clientWidth >= MIN_WIDE;
      view.style.gridTemplateRows = `repeat(${2 / columns}, minmax(0, 1fr) auto)${isWide ? "" : " auto"}`;
      view.toggleAttribute("data-wide", isWide);
      this.panes.forEach(({ element }, index) => {
        const [row, column] = columns === 2 ? [1, index + 1] : [2 * index + 1, 1];
        element.style.gridArea = `${row} / ${column}`;
        this.bars[index].style.gridArea = `${row + 1} / ${column}`;
      });
      this.choices.style.gridArea = `${isWide ? 2 : 4 / columns + 1} / 1 / auto / -1`;
      this.zoom.show(this.panes);
    }

    // ---- Choices

    async choose(result) {
      if (this.pair === null || this.isMarked || !("ready" in this.dialog.view.dataset)) return;
      const [left, right] = this.pair;
      this.isMarked = true;
      for (const pane of this.panes) pane.element.toggleAttribute("data-chosen", result === "both" || pane.side === result);
      this.dialog.view.dataset.choice = result;
      await new Promise((resolve) => setTimeout(resolve, CHOICE_DURATION));
      this.isMarked = false;
      delete this.dialog.view.dataset.choice;
      if (sd35.pictures.current() !== this.dialog) return;
      this.decisions.push({ left, right, result });
      this.render();
    }

    undo() {
      if (this.decisions.length === 0 || this.isMarked || this.trashedIds.length > 0) return;
      // From a result that was shown before the end, back to the pair.
      const wasEarly = this.pair === null && rank(this.ids, this.decisions).pair !== null;
      if (!wasEarly) this.decisions.pop();
      this.render();
    }

    pressKey(event) {
      const { key: name, repeat } = event;
      const isChoice = name.startsWith("Arrow") || name === "Backspace";
      if (!isChoice) return sd35.pictures.pressZoomKey(this.zoom, event);
      if (repeat) return true;
      if (name === "ArrowUp" || name === "Backspace") this.undo();
      else this.choose({ ArrowLeft: "left", ArrowRight: "right", ArrowDown: "both" }[name]);
      return true;
    }

    // ---- The end

    showPodium() {
      const { button, key, announce } = sd35.pictures;
      const places = rank(this.ids, this.decisions).places;
      this.places = places;
      this.pair = null;
      this.dialog.view.dataset.mode = "podium";
      this.dialog.view.removeAttribute("style");
      delete this.dialog.view.dataset.wide;
      this.dialog.element.toggleAttribute("data-podium", true);
      const figures = places.flatMap((ids, index) => {
        const place = places.slice(0, index).flat().length + 1;
        return ids.slice(0, place === 1 ? ids.length : PLACES).map((id) => this.buildFigure(id, place));
      });
      const back = button("Back ", { title: "Back to the last pair (↑)", onclick: () => this.undo() }, key("↑"));
      back.hidden = this.trashedIds.length > 0;
      this.actions = create("div", { className: "choices" }, back, ...this.buildActions());
      const podium = create("div", { className: "podium" }, ...figures);
      podium.toggleAttribute("data-many", figures.length > PLACES);
      this.dialog.view.replaceChildren(podium, this.actions);
      this.dialog.element.focus();
      const [winners] = places;
      if (winners.length === 1) announce(`The best: ${this.describe(winners[0])}.`);
      else announce(`${pluralize(winners.length, "image")} are equally good.`);
    }

    buildFigure(id, place) {
      const { button, setStar, updateStar } = sd35.pictures;
      const picture = this.pictures.get(id);
      const pane = sd35.pictures.buildPane(picture, `Place ${place}`);
      pane.element.style.aspectRatio = `${picture.width} / ${picture.height}`;
      const star = button("☆", { className: "star", title: "Star", ariaLabel: `Star place ${place}` });
      const update = () => updateStar(star, picture);
      star.onclick = () => setStar(this.dialog, picture, update);
      update();
      const text = create("span", { className: "caption" }, picture.caption);
      const caption = create("figcaption", { className: "bar" }, create("b", {}, `${place}.`), star, text);
      const figure = create("figure", { className: "figure" }, pane.element, caption);
      figure.dataset.place = place;
      figure.toggleAttribute("data-trashed", this.trashedIds.includes(id));
      figure.style.setProperty("--ratio", picture.width / picture.height);
      return figure;
    }

    buildActions() {
      const { button, setStar } = sd35.pictures;
      const [winners, ...others] = this.places;
      const best = [...winners, ...others.flat()].slice(0, Math.max(PLACES, winners.length));
      if (this.trashedIds.length > 0) return [button("Close", { onclick: () => this.dialog.close() })];
      const unstarred = winners.map((id) => this.pictures.get(id)).filter(({ isStarred }) => !isStarred);
      const starWinners = async () => {
        await Promise.all(unstarred.map((picture) => setStar(this.dialog, picture, () => {})));
        if (this.dialog.element.isConnected) this.showPodium();
      };
      const star = button(winners.length === 1 ? "★ Star the winner" : "★ Star the winners", { onclick: starWinners });
      star.disabled = unstarred.length === 0;
      return [
        star,
        this.trashButton(winners, winners.length === 1 ? "winner" : "winners"),
        best.length > winners.length ? this.trashButton(best, `top ${best.length}`) : null,
        best.length > 1 ? button(`Compare the top ${Math.min(4, best.length)}`, { onclick: () => this.compare(best) }) : null,
        button("Start over", { onclick: () => this.startOver() }),
      ].filter((action) => action !== null);
    }

    // The button says how many images go.
    trashButton(keptIds, name) {
      const { button } = sd35.pictures;
      const rest = this.ids.filter((id) => !keptIds.includes(id));
      if (rest.length === 0) return null;
      return button(`Keep the ${name}, move ${rest.length} to trash`, { className: "trash", onclick: () => this.trash(rest) });
    }

    async trash(ids) {
      if (this.dialog.isBusy()) return;
      const onUndo = () => {
        this.trashedIds = [];
        this.save();
        this.showPodium();
      };
      if (!(await sd35.pictures.moveToTrash(this.dialog, ids, "", onUndo))) return;
      this.trashedIds = ids;
      if (this.dialog.element.isConnected) this.showPodium();
      sessionStorage.removeItem(SESSION_STORAGE);
    }

    compare(ids) {
      this.dialog.close();
      sd35.compare(ids);
    }

    startOver() {
      this.decisions = [];
      this.render();
    }

    onClose() {
      this.zoom.stop();
      window.removeEventListener("resize", this.onResize);
      const session = readSession();
      if (session === null) return;
      sessionStorage.setItem(SESSION_STORAGE, JSON.stringify({ ...session, isOpen: false }));
      if (this.decisions.length === 0 || this.pair === null) return;
      const goOn = () => sd35.findBest(session.ids);
      setTimeout(() => sd35.pictures.showToast("Your choices are kept.", "Continue", goOn)); // once the dialog is closed
    }
  }

  Object.assign(sd35, {
    rank,

    // Opens the dialog for the ids of three images in the library or more.
    findBest(ids) {
      const distinct = [...new Set(ids)].slice(0, MAX_COUNT);
      if (distinct.length < MIN_COUNT) return;
      new Tournament(distinct).load();
    },

    resumeTournament() {
      const session = readSession();
      if (session?.isOpen === true) sd35.findBest(session.ids);
    },
  });
})();
