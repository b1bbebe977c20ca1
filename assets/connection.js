// The connection to the server: calls that arrive, and in their order; live updates, by an event stream or by polling.
(() => {
  const sd35 = (window.sd35 ??= {});
  // The server gives addresses below the one that the page names, and so knows that it is the page that calls.
  const browserFetch = window.fetch;
  const originalFetch = (resource, init = {}) => {
    if (!sd35.isOwnPage() || !String(resource?.url ?? resource).includes("/gradio_api/")) return browserFetch(resource, init);
    const headers = new Headers(init.headers ?? resource.headers);
    headers.set("X-Page-Address", sd35.address());
    return browserFetch(resource, { ...init, headers });
  };
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  // ---- Calls ------------------------------------------------------------------------------------
  // A call is repeated until the server answers; a second one changes nothing, since new jobs have a key. Gradio would take
  // no further press, and reload the page once the server is back: what was pressed would be lost.

  const RETRY_DELAYS = [300, 1000, 2000, 4000]; // ms, the last one again and again
  const UNAVAILABLE = [502, 503, 504]; // a proxy's answers while the server restarts
  const CALL_TIMEOUT = 30_000; // ms; longer for a long body
  const NOTE_DELAY = 1000; // ms

  const note = document.createElement("p");
  note.className = "connection-note";
  note.setAttribute("role", "status");
  note.textContent = "No connection to the app. Whatever you press is sent when the connection is back.";
  let repeatedCalls = 0;
  const showNote = () => (repeatedCalls > 0 ? document.body.append(note) : note.remove());

  const attempt = async (resource, init) => {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), CALL_TIMEOUT + init.body.length / 5);
    try {
      const response = await originalFetch(resource, { ...init, signal: controller.signal });
      return UNAVAILABLE.includes(response.status) ? null : response;
    } catch {
      return null;
    } finally {
      clearTimeout(timer);
    }
  };
  const call = async (resource, init) => {
    let response = await attempt(resource, init);
    if (response !== null) return response;
    const noteTimer = setTimeout(() => {
      repeatedCalls += 1;
      showNote();
    }, NOTE_DELAY);
    const startedAt = Date.now();
    for (let count = 0; response === null; count += 1) {
      await wait(RETRY_DELAYS[Math.min(count, RETRY_DELAYS.length - 1)]);
      response = await attempt(resource, { ...init, body: sd35.currentBody(init.body) });
    }
    clearTimeout(noteTimer);
    if (Date.now() - startedAt >= NOTE_DELAY) repeatedCalls = Math.max(0, repeatedCalls - 1);
    showNote();
    return response;
  };

  // What changes something arrives in the order of the presses: on a slow network, "star" could overtake "unstar".
  const UNORDERED_ACTIONS = [
    ...["open", "compare", "page", "plan", "search", "rescan", "select", "stop", "keep-waiting"],
    ...["phrases", "presets"], // questions of memory.js, as is "search"
  ];
  const lastCalls = { jobs: Promise.resolve(), library: Promise.resolve() };
  const queueOf = (eventData) => {
    if (!eventData || UNORDERED_ACTIONS.includes(eventData.action)) return null;
    return eventData.request_id === undefined ? "jobs" : "library";
  };
  const callInOrder = (name, resource, init) => {
    const result = lastCalls[name].then(() => call(resource, init));
    lastCalls[name] = result;
    return result;
  };

  // A page that has no job learns from the visitor's other pages that there is one.
  const otherPages = new BroadcastChannel("sd35-jobs");
  otherPages.onmessage = ({ data }) => sd35.raise(data === "Space" ? "connection" : "poll");

  let joins = 0;
  let isStreamDue = false; // after the one that is on its way, whose focus is from before
  const noteJoin = () => {
    joins -= 1;
    if (joins > 0 || !isStreamDue) return;
    isStreamDue = false;
    startStream();
  };
  const send = async (resource, init) => {
    if (String(resource).includes("/queue/join")) {
      joins += 1;
      return call(resource, init).finally(noteJoin);
    }
    const eventData = JSON.parse(init.body).event_data;
    const name = queueOf(eventData);
    // With `keepalive` the browser sends a press even if its page is closed at once.
    const options = { ...init, keepalive: init.body.length < 30_000 };
    const response = await (name === null ? call(resource, options) : callInOrder(name, resource, options));
    if (eventData && eventData.request_id === undefined) otherPages.postMessage(eventData.target ? "Space" : "changed");
    if (eventData?.question !== undefined) sd35.receiveAnswer(eventData.question, response.clone());
    if (eventData?.submissions !== undefined) sd35.settleSubmissions(eventData.submissions, response.clone());
    return response;
  };

  // ---- The event stream ---------------------------------------------------------------------------
  // Gradio waits forever for the events of a stream that has ended without "close_stream", or reloads the page. To the page
  // each stream ends properly, and with it all events; the jobs are then watched anew.

  const END_MESSAGES = [{ msg: "process_completed", success: true, output: { data: [] } }, { msg: "close_stream" }];
  const END = END_MESSAGES.map((message) => `data: ${JSON.stringify(message)}\n\n`).join("");

  let closeStream = () => {};
  const withProperEnd = (body) => {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    const encoder = new TextEncoder();
    let incomplete = ""; // the beginning of an event
    let isOver = false;
    const finish = (controller, end) => {
      if (isOver) return;
      isOver = true;
      controller.enqueue(encoder.encode(end));
      controller.close();
      reader.cancel().catch(() => {});
    };
    return new ReadableStream({
      start(controller) {
        closeStream = () => finish(controller, END);
      },
      async pull(controller) {
        let end = -1;
        while (end < 0) {
          const { done, value } = await reader.read().catch(() => ({ done: true }));
          if (done) finish(controller, END);
          if (isOver) return;
          incomplete += decoder.decode(value, { stream: true });
          end = incomplete.lastIndexOf("\n\n");
        }
        const events = incomplete.slice(0, end + 2);
        incomplete = incomplete.slice(end + 2);
        const isShort = events.length < 2000; // previews are long
        if (isShort && events.includes('"close_stream"')) finish(controller, events);
        else if (isShort && events.includes('"unexpected_error"')) finish(controller, END);
        else controller.enqueue(encoder.encode(events));
      },
      cancel(reason) {
        isOver = true;
        return reader.cancel(reason);
      },
    });
  };

  const openStream = async (resource, init) => {
    const headers = { "Content-Type": "text/event-stream" };
    const response = await originalFetch(resource, init).catch(() => null);
    if (!response?.ok || response.body === null) return new Response(END, { headers });
    return new Response(withProperEnd(response.body), { headers });
  };

  window.fetch = (resource, init) => {
    const url = String(resource?.url ?? resource);
    if (url.includes("/gradio_api/queue/data?")) return openStream(resource, init);
    const isCall = /\/gradio_api\/(run\/|queue\/join)/.test(url) && typeof init?.body === "string";
    return isCall ? send(resource, init) : originalFetch(resource, init);
  };

  // ---- Live updates -------------------------------------------------------------------------------
  // A browser opens six connections to a server, over HTTP/1.1. If each page kept one for its stream, a sixth page could do
  // nothing, and a seventh wouldn't load. So only a few visible pages have a stream; the others ask again and again.

  const MAX_STREAMS = 2; // of all pages in this browser
  const POLL_INTERVAL = 1000; // ms
  const HIDDEN_POLL_INTERVAL = 2000; // ms, for the title and notifications
  const HIDDEN_DELAY = 1500; // ms after which a hidden page lets go of its stream
  // Each update contains the server's time. If none arrives, the stream is dead and is restarted, less and less often.
  const RESTART_DELAYS = [4000, 4000, 8000, 16_000]; // ms

  let releaseSlot = null; // while this page has one of the streams
  let isTakingSlot = false;
  let hiddenAt = 0; // 0: visible
  let polledAt = 0;
  let startedAt = 0;
  let restarts = 0;
  let lastTime = "";
  let updatedAt = 0;
  let wasWaiting = false;
  let lastPause = ""; // why the queue is paused
  let requestedLimits = null; // for the fields

  const queueData = () => document.querySelector("#queue .queue")?.dataset ?? {};
  const isWaiting = () => queueData().active === "true" || document.querySelector("#panel [data-saving]") !== null;

  // Resolves to a function that releases the lock, or to null.
  const tryLock = (name) =>
    new Promise((resolve) => {
      const hold = (lock) => lock && new Promise(resolve);
      navigator.locks.request(name, { ifAvailable: true }, hold).then(
        () => resolve(null),
        () => resolve(() => {}), // locks are blocked in this frame
      );
    });

  // Without HTTPS there are no locks: a page leases a stream in the storage, for a few seconds at a time.
  const LEASE_DURATION = 5000; // ms
  const LEASE_RENEWAL = 1000; // ms
  const LEASE_SETTLING = 100; // ms in which other pages see it
  const pageId = Math.random().toString(36).slice(2);
  const leaseHolder = (name) => {
    const [holder, end] = (localStorage.getItem(name) ?? "").split(" ");
    return Number(end) > Date.now() ? holder : null;
  };
  const lease = (name) => localStorage.setItem(name, `${pageId} ${Date.now() + LEASE_DURATION}`);
  // Resolves as `tryLock` does.
  const tryLease = async (name) => {
    if (leaseHolder(name) !== null) return null;
    lease(name);
    await wait(LEASE_SETTLING * (1 + Math.random()));
    if (leaseHolder(name) !== pageId) return null; // another page was as fast
    const renew = () => {
      if (leaseHolder(name) === pageId) return lease(name);
      clearInterval(timer); // this page was suspended, and another one has taken over
      closeStream();
      letGo();
    };
    const timer = setInterval(renew, LEASE_RENEWAL);
    return () => {
      clearInterval(timer);
      if (leaseHolder(name) === pageId) localStorage.removeItem(name);
    };
  };

  const takeSlot = async () => {
    const take = navigator.locks === undefined ? tryLease : tryLock;
    for (let index = 0; index < MAX_STREAMS; index += 1) {
      const release = await take(`sd35-stream-${index}`);
      if (release !== null) return release;
    }
    return null;
  };
  const letGo = () => {
    releaseSlot?.();
    releaseSlot = null;
  };

  const poll = (interval) => {
    if (Date.now() - polledAt < interval) return;
    polledAt = Date.now();
    sd35.raise("poll");
  };
  const startStream = () => {
    isStreamDue = joins > 0;
    if (isStreamDue) return;
    startedAt = Date.now();
    sd35.raise("watch");
  };
  const isHidden = () => hiddenAt > 0 && Date.now() - hiddenAt >= HIDDEN_DELAY;

  const watchVisible = async () => {
    if (releaseSlot !== null) {
      const silence = Date.now() - Math.max(updatedAt, startedAt);
      if (silence < RESTART_DELAYS[Math.min(restarts, RESTART_DELAYS.length - 1)]) return;
      restarts += 1;
      startStream();
    } else if (!isTakingSlot) {
      isTakingSlot = true;
      releaseSlot = await takeSlot();
      isTakingSlot = false;
      if (releaseSlot !== null) startStream();
      else poll(POLL_INTERVAL);
    }
  };
  const noteUpdate = () => {
    const { time } = queueData();
    if (time === lastTime) return;
    lastTime = time;
    updatedAt = Date.now();
    restarts = 0;
  };
  const tick = () => {
    noteUpdate();
    if (document.visibilityState !== "hidden") hiddenAt = 0;
    else if (hiddenAt === 0) hiddenAt = Date.now();
    const { state, limits = "" } = document.querySelector("#status [data-state]")?.dataset ?? {};
    const isSpaceUnknown = state === "waiting";
    if (isSpaceUnknown || sd35.appliedLimits === undefined || limits === sd35.appliedLimits) {
      requestedLimits = null;
    } else if (state && limits !== requestedLimits) {
      requestedLimits = limits;
      sd35.raise("limits");
    }
    const hasEnded = wasWaiting && !isWaiting();
    wasWaiting = isWaiting();
    // A Space on this machine may have crashed, or another one was chosen in another browser.
    const { limits: newestLimits = limits, pause = "" } = queueData();
    const isPauseNew = pause !== lastPause;
    lastPause = pause;
    // After a job, the quota has changed, and the Space may be another one.
    if (hasEnded || isPauseNew || (isSpaceUnknown && hiddenAt === 0) || newestLimits !== limits) {
      sd35.raise("connection");
      sd35.raise("visitor");
      sd35.refreshPlan();
    }
    if (!isWaiting()) {
      letGo(); // the server ends the stream
    } else if (isHidden()) {
      if (releaseSlot !== null) closeStream();
      letGo();
      poll(HIDDEN_POLL_INTERVAL);
    } else {
      watchVisible();
    }
  };
  setInterval(tick, 1000);

  const onShow = () => {
    tick();
    if (hiddenAt > 0) return;
    polledAt = Date.now();
    sd35.raise("poll"); // other pages of the same visitor may have changed the queue
  };
  document.addEventListener("visibilitychange", onShow);
  window.addEventListener("pageshow", (event) => event.persisted && onShow());
  window.addEventListener("pagehide", letGo);

  // After a change of the jobs: an open stream may be about to end, because the jobs before have.
  sd35.watchJobs = () => {
    setTimeout(() => {
      if (isWaiting() && releaseSlot !== null && hiddenAt === 0) startStream();
      else tick();
    }, 50); // Gradio draws the answer first
    return [];
  };

  sd35.followJobs = () => {
    sd35.raise("visitor");
    return sd35.watchJobs();
  };

  // What the stage shows: a reload shows it again. A new tab begins with the job that was followed last, or what is newest.
  const FOCUS_KEY = "sd35-focus";
  sd35.focus = () => sessionStorage.getItem(FOCUS_KEY) ?? (localStorage.getItem(FOCUS_KEY) ?? "").replace(/^[=#]/, "");
  sd35.saveFocus = (focus) => {
    sessionStorage.setItem(FOCUS_KEY, focus);
    localStorage.setItem(FOCUS_KEY, focus);
    return [];
  };
})();
