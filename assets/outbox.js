// The presses of Generate that the server hasn't answered yet. Each becomes a job with the values of its moment, in order,
// on any network; or the visitor is told why it doesn't.
(() => {
  const sd35 = (window.sd35 ??= {});
  const { create, pluralize } = sd35;

  const MAX_BATCH = 20; // the server takes no more in one call
  const ROW_DELAY = 300; // ms: a number on the button says enough about an answer that is quick
  const CLOSING_TIME = 1000; // ms in which the browser itself sends what is under way
  const DRAWING_TIME = 50; // ms: Gradio draws the answer after it has arrived here
  const SERVER_ERROR = "The app didn't accept it. Reload the page, and try again.";

  // A submission is { key, values, draw, image_count, is_confirmed, is_random, at }.
  const state = {
    pending: [], // on their way, in order
    rejected: [], // [{ reason, submissions }], by the reason, which is HTML from the server
    repeated: [], // images that exist already, or are on their way twice
    isSending: false,
  };
  let element = null;
  let message = null; // the element
  let triggers = {}; // of the page's events, by name

  const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  sd35.newKey = newKey;

  // A reload sends what the page before it couldn't, and still tells what wasn't accepted. Never for another user.
  const storageKey = () => `sd35-outbox:${window.gradio_config?.username ?? ""}`;
  const save = () => sessionStorage.setItem(storageKey(), JSON.stringify({ ...state, isSending: false }));
  const restore = () => {
    const [pending, saved] = [state.pending, sessionStorage.getItem(storageKey())];
    if (saved !== null) Object.assign(state, JSON.parse(saved));
    state.pending.push(...pending);
  };
  document.addEventListener(
    "click",
    (event) => event.target.closest?.('a[href$="logout"]') && sessionStorage.removeItem(storageKey()),
    true,
  );

  // ---- Drawing ------------------------------------------------------------------------------------

  const createButton = (text, action, onclick, label) => {
    const button = create("button", { type: "button", textContent: text, onclick });
    button.dataset.action = action;
    if (label) button.ariaLabel = button.title = label;
    return button;
  };
  const countImages = (submissions) => submissions.reduce((sum, { image_count: count = 1 }) => sum + count, 0);
  const promptOf = (submission) => String(submission.values[0] ?? "").trim() || "(no prompt)";

  const createRow = (submission) => {
    const remove = createButton("✕", `remove ${submission.key}`, () => removePending(submission), "Remove");
    const title = create("div", { className: "job-title" }, create("b", {}, promptOf(submission)), create("span", {}, "Sending…"));
    const row = create("li", {}, title, create("div", { className: "buttons" }, remove));
    row.dataset.kind = "sending";
    return row;
  };
  const createNotice = (headline, body, ...buttons) => {
    const title = create("p", { className: "headline" }, headline);
    const notice = create("div", { className: "job" }, title, body, create("p", { className: "buttons" }, ...buttons));
    notice.setAttribute("role", "alert");
    return notice;
  };
  const createRejection = (rejection) => {
    const { reason, submissions } = rejection;
    const body = create("p", { innerHTML: reason }); // escaped by the server
    const prompts = submissions.map((submission) => create("li", {}, promptOf(submission)));
    return createNotice(
      countImages(submissions) === 1 ? "Not started" : `${countImages(submissions)} images not started`,
      create("div", {}, create("ul", { className: "prompts" }, ...prompts), body),
      createButton("Try again", "try-again", () => resend(state.rejected, rejection, submissions)),
      createButton("Dismiss", "discard", () => discard(state.rejected, rejection)),
    );
  };
  // What a press would make once more: images of the library, or others on their way.
  const describeRepetition = (submissions, entries) => {
    const count = countImages(submissions);
    if (entries.length > 0) {
      const isOne = entries.length === 1 && submissions.length === count;
      const isTrashed = entries.every((entry) => entry.is_trashed);
      const trashHint = isTrashed ? ` ${isOne ? "It is" : "They are"} in the trash.` : "";
      return [
        `You already have ${isOne ? "this image" : "these images"}`,
        `Prompt, settings and seed are the same, so the result would be, too.${trashHint}`,
      ];
    }
    if (submissions.length === 1 && count > 1) {
      return [`The same ${count} images again?`, "They are on their way already, with the same settings and seeds."];
    }
    const title = count === 1 ? "The same image again?" : `The same image ${count} more times?`;
    return [title, "Two with this prompt, these settings and this seed are on their way. The result would be the same."];
  };
  const createEntryLink = ({ id }, index) => {
    const image = create("img", { src: sd35.url(`studio/thumbnail/${id}`), alt: `Show image ${index + 1}` });
    const link = create("a", { href: `#library/${id}` }, image);
    link.onclick = (event) => {
      event.preventDefault(); // Gradio's page has a <base>, so this link would reload the page
      location.hash = `#library/${id}`;
    };
    return link;
  };
  const createQuestion = () => {
    const submissions = state.repeated;
    const count = countImages(submissions);
    const entries = [...new Map(submissions.flatMap(({ entries = [] }) => entries).map((entry) => [entry.id, entry])).values()];
    const [title, reason] = describeRepetition(submissions, entries);
    const isOne = count === 1;
    const forgetQuestion = () => {
      state.repeated = [];
      render();
    };
    const answer = (changes) => () => {
      state.repeated = [];
      add(submissions.map(({ entries: _, ...submission }) => ({ ...submission, ...changes })));
    };
    const showEntry = () => (location.hash = `#library/${entries[0].id}`);
    const text = create("p", {}, reason);
    const restoreEntries = async () => {
      const { error } = await sd35.ask("restore", { ids: entries.map((entry) => entry.id) });
      if (error !== undefined) {
        text.textContent = error;
        return;
      }
      forgetQuestion();
      showEntry();
    };
    const buttons = [
      createButton(isOne ? "Generate it anyway" : `Generate ${count} anyway`, "repeat", answer({ is_confirmed: true })),
      createButton(isOne ? "Use a random seed" : "Use random seeds", "randomize", answer({ is_random: true })),
      createButton("No", "discard-repeated", forgetQuestion),
    ];
    const hasOne = entries.length === 1;
    if (entries.some((entry) => entry.is_trashed)) {
      buttons.unshift(createButton(hasOne ? "Restore it" : "Restore them", "restore-existing", restoreEntries));
    } else if (entries.length > 0) {
      buttons.unshift(createButton(hasOne ? "Show it" : "Show the first", "show-existing", showEntry));
    }
    const images = create("p", { className: "existing" }, ...entries.slice(0, 4).map(createEntryLink));
    return createNotice(title, create("div", {}, text, ...(entries.length > 0 ? [images] : [])), ...buttons);
  };

  const render = () => {
    save();
    if (element === null) return;
    const { pending, rejected, repeated } = state;
    const nodes = [];
    if (pending.length > 0) {
      const imageCount = countImages(pending);
      const count = create("span", { className: "sending-count", textContent: `${imageCount} sending…` });
      count.dataset.pending = imageCount; // page.js reads it for the title
      nodes.push(count);
    }
    const late = pending.filter((submission) => Date.now() - submission.at >= ROW_DELAY);
    if (late.length > 0) nodes.push(create("div", { className: "queue" }, create("ol", {}, ...late.map(createRow))));
    nodes.push(...rejected.map(createRejection));
    if (repeated.length > 0) nodes.push(createQuestion());
    element.replaceChildren(...nodes);
    sd35.settleButtons(element);
  };

  // ---- Sending ------------------------------------------------------------------------------------

  const add = (submissions) => {
    for (const submission of submissions) state.pending.push({ ...submission, key: newKey(), at: Date.now() });
    render();
    setTimeout(render, ROW_DELAY + 10);
    sendNext();
  };
  const isBound = () => element !== null && triggers.submit !== undefined;
  const start = () => {
    if (!isBound()) return;
    restore();
    render();
    sendNext();
  };
  const sendNext = () => {
    if (state.isSending || !isBound() || state.pending.length === 0) return;
    state.isSending = true;
    triggers.submit({ submissions: state.pending.slice(0, MAX_BATCH) });
  };
  const removePending = (submission) => {
    state.pending = state.pending.filter((other) => other !== submission);
    render();
  };
  const discard = (list, item) => {
    list.splice(list.indexOf(item), 1);
    render();
  };
  const resend = (list, item, submissions) => {
    list.splice(list.indexOf(item), 1);
    add(submissions);
  };

  const reject = (submission, reason) => {
    const rejection = state.rejected.find((other) => other.reason === reason);
    if (rejection) rejection.submissions.push(submission);
    else state.rejected.push({ reason, submissions: [submission] });
  };
  // Once the same form is accepted, an earlier rejection of it has nothing more to say.
  const forget = ({ values }) => {
    const isOther = (submission) => JSON.stringify(submission.values) !== JSON.stringify(values);
    for (const rejection of state.rejected) rejection.submissions = rejection.submissions.filter(isOther);
    state.rejected = state.rejected.filter((rejection) => rejection.submissions.length > 0);
  };
  const settle = (submission, { status, reason, image_count: count, entries }, isNewest) => {
    if (count > 0) submission.image_count = count; // the server knows it
    if (status === "accepted") forget(submission);
    else if (status === "repeated") state.repeated.push({ ...submission, entries });
    else if (status === "invalid" && isNewest) {
      sd35.forgetErrors();
      sd35.checkFields();
    } else reject(submission, reason);
  };

  // A reload sends what is pending; a tab that is closed would lose it.
  const isLate = (submission) => Date.now() - submission.at > CLOSING_TIME;
  window.addEventListener("beforeunload", (event) => state.pending.some(isLate) && event.preventDefault());

  Object.assign(sd35, {
    // What became of an action on the queue, as HTML from the server.
    showMessage(html) {
      message.innerHTML = html;
      return [];
    },

    // An event, once the page is built. `null`: without data Gradio would send an object otherwise.
    raise: (name, data = null) => triggers[name]?.(data),

    // Gradio builds the two components in any order.
    bindPage(send) {
      triggers = send;
      start();
    },
    bindPresses(area) {
      element = create("div", { id: "outbox" });
      message = create("div", { id: "message" });
      area.append(element, message);
      sd35.bindButtons(message, (_, data) => triggers.click(data));
      start();
    },

    // A press, with the form's values.
    addSubmission(values) {
      values.splice(-1, 1, sd35.batchText()); // Gradio may not have the newest yet
      add([{ values, ...sd35.takeDraw() }]);
      const count = countImages(state.pending);
      sd35.announce(count === 1 ? "Image requested" : `${pluralize(count, "image")} requested`);
      return [];
    },

    // A press of a grid's button, with the form's values and the axes.
    addGrid(values, grid, image_count) {
      values.splice(-1, 1, sd35.batchText());
      add([{ values, grid, image_count }]);
      sd35.announce(`${pluralize(image_count, "image")} requested`);
    },

    // The body of a call that is repeated: without what was removed meanwhile.
    currentBody(text) {
      const body = JSON.parse(text);
      if (body.event_data?.submissions === undefined) return text;
      const keys = new Set(state.pending.map((submission) => submission.key));
      body.event_data.submissions = body.event_data.submissions.filter((submission) => keys.has(submission.key));
      return JSON.stringify(body);
    },

    async settleSubmissions(submissions, response) {
      const answer = await response.json().catch(() => null);
      const outcomes = response.ok && answer?.data ? JSON.parse(answer.data[0]) : null;
      const newest = state.pending.at(-1)?.key;
      await new Promise((resolve) => setTimeout(resolve, DRAWING_TIME));
      const keys = new Set(submissions.map((submission) => submission.key));
      const answered = state.pending.filter((submission) => keys.has(submission.key));
      state.pending = state.pending.filter((submission) => !keys.has(submission.key));
      for (const submission of answered) {
        const outcome = outcomes?.find((other) => other.key === submission.key);
        settle(submission, outcome ?? { status: "rejected", reason: SERVER_ERROR }, submission.key === newest);
      }
      state.isSending = false;
      render();
      sendNext();
      sd35.refreshPlan();
    },
  });
})();
