// What the page does by itself: keys, focus, and telling those who don't see the screen. It changes no values.
(() => {
  // In another site's frame a browser may keep nothing for this page, and throw where it is asked: Gradio stops there.
  for (const name of ["localStorage", "sessionStorage"]) {
    try {
      window[name].length;
    } catch {
      const kept = new Map();
      const value = {
        getItem: (key) => kept.get(String(key)) ?? null,
        setItem: (key, what) => void kept.set(String(key), String(what)),
        removeItem: (key) => void kept.delete(String(key)),
        clear: () => kept.clear(),
        key: (index) => [...kept.keys()][index] ?? null,
        get length() {
          return kept.size;
        },
      };
      Object.defineProperty(window, name, { value });
    }
  }

  // A stream that ends without its last word is broken. Gradio goes on waiting for it, and opens no other one, unless it is
  // told: then it looks for the server until that is there again, and loads the page anew, if it was waiting for something.
  const BROKEN = ["broken_connection", "close_stream"].map((msg) => `data: ${JSON.stringify({ msg, message: "" })}\n\n`);
  const toItsEnd = (body) => {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let last = "";
    return new ReadableStream({
      async pull(out) {
        const { done, value } = await reader.read().catch((error) => {
          if (error.name === "AbortError") throw error;
          return { done: true };
        });
        if (!done) {
          last = (last + decoder.decode(value.subarray(-400))).slice(-400);
          out.enqueue(value);
          return;
        }
        if (!last.includes("close_stream")) out.enqueue(new TextEncoder().encode(`\n\n${BROKEN.join("")}`));
        out.close();
      },
      cancel: (reason) => reader.cancel(reason),
    });
  };
  const fetched = window.fetch;
  window.fetch = async (asked, ...more) => {
    const answer = await fetched(asked, ...more);
    if (!String(asked?.url ?? asked).includes("/queue/data?") || !answer.ok || answer.body === null) return answer;
    const { status, statusText, headers } = answer;
    return new Response(toItsEnd(answer.body), { status, statusText, headers });
  };

  // What is typed outlives a reload of this tab.
  const DRAFT = "sd35-draft";
  const words = () => [...document.querySelectorAll("#ask textarea")].map((area) => area.value);
  document.addEventListener(
    "input",
    (event) => event.target.closest?.("#ask") && sessionStorage.setItem(DRAFT, JSON.stringify(words())),
    true,
  );

  const byId = (id) => document.getElementById(id);
  const isShown = (element) => element !== null && element.offsetParent !== null;
  const press = (id) => {
    if (isShown(byId(id))) byId(id).click();
  };

  // Ctrl or Cmd + Enter generates, Escape stops; but the Escape that leaves the full screen, or an input method, is not ours.
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

  // One voice, that speaks when something begins or ends, and not at each step.
  const voice = document.createElement("div");
  voice.setAttribute("role", "status");
  voice.className = "voice";

  let phase;
  const followPhase = () => {
    const panel = document.querySelector("#panel [data-phase]");
    if (!panel || panel.dataset.phase === phase) return;
    const isFirst = phase === undefined;
    phase = panel.dataset.phase;
    if (isFirst) return;
    voice.textContent = phase === "running" ? "Generating" : panel.textContent;
    // The button that was pressed has made way for the other.
    if (document.activeElement === document.body || !isShown(document.activeElement)) {
      [byId("stop"), byId("generate")].find(isShown)?.focus({ preventScroll: true });
    }
    if (matchMedia("(max-width: 900px)").matches) byId("output").scrollIntoView({ block: "nearest" });
  };

  // A mistake may be said at a field that is off the screen.
  let hadMistakes = false;
  const followMistakes = () => {
    const fields = document.querySelectorAll("#ask .block, #settings .block");
    const wrong = [...fields].filter((field) => field.querySelector(".validation-error"));
    fields.forEach((field) =>
      field.querySelectorAll("textarea, input").forEach((input) => {
        input.toggleAttribute("aria-invalid", wrong.includes(field));
      }),
    );
    if (wrong.length > 0 && !hadMistakes) {
      wrong[0].scrollIntoView({ block: "center" });
      wrong[0].querySelector("textarea, input")?.focus({ preventScroll: true });
      voice.textContent = wrong.map((field) => field.querySelector(".validation-error").textContent).join(" ");
    }
    hadMistakes = wrong.length > 0;
  };

  // A time is shown by the clock of who reads it, which may be another than the server's.
  const followTimes = () => {
    document.querySelectorAll("time:not([data-here])").forEach((time) => {
      const moment = new Date(time.dateTime);
      const clock = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const isToday = moment.toDateString() === new Date().toDateString();
      time.dataset.here = "";
      time.textContent = isToday ? clock : `${moment.toLocaleDateString([], { weekday: "long" })}, ${clock}`;
    });
  };

  // What there is to do is told in the page's title; and once all is done, or something failed, by the system, if it may.
  let told = { left: 0, done: 0, bad: 0 };
  const ask = document.createElement("button");
  ask.type = "button";
  ask.className = "notify";
  ask.textContent = "Tell me when it’s done";
  ask.onclick = () => Notification.requestPermission().then(() => ask.remove());
  const mayAsk = () => "Notification" in window && Notification.permission === "default";

  const tell = (words) => {
    if ("Notification" in window && Notification.permission === "granted" && document.visibilityState === "hidden") {
      try {
        new Notification(words, { icon: document.querySelector("link[rel~=icon]")?.href, tag: "sd35" });
      } catch {
        // on a phone, only a service worker may
      }
    }
  };

  const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;
  let since = { done: 0, bad: 0 }; // what has come since there was last nothing to do, or since somebody took notice
  let title, shown;
  const showTitle = () => {
    if (document.title !== shown) title = document.title;
    const parts = [];
    if (since.bad > 0) parts.push(`✗ ${since.bad} failed`);
    if (told.left > 0) parts.push(`${told.left} to go`);
    else if (since.done > 0) parts.push(`✓ ${since.done} done`);
    shown = [...parts, title].join(" · ");
    if (document.title !== shown) document.title = shown;
  };
  const takeNotice = () => {
    if (told.left > 0 || (since.done === 0 && since.bad === 0)) return;
    since = { done: 0, bad: 0 };
    showTitle();
  };
  document.addEventListener("pointerdown", takeNotice, true);
  document.addEventListener("keydown", takeNotice, true);

  const followQueue = () => {
    const queue = document.querySelector("#queue .queue");
    if (!queue) return;
    const now = { left: Number(queue.dataset.left), done: Number(queue.dataset.done), bad: Number(queue.dataset.bad) };
    const isFirst = followQueue.begun === undefined;
    followQueue.begun = true;
    const came = { done: now.done - told.done, bad: now.bad - told.bad };
    if (told.left === 0 && now.left > 0) since = { done: 0, bad: 0 };
    if (!isFirst && (came.done > 0 || came.bad > 0)) {
      since = { done: since.done + Math.max(0, came.done), bad: since.bad + Math.max(0, came.bad) };
      if (came.bad > 0) tell(plural(came.bad, "picture failed", "pictures failed"));
      if (now.left === 0 && came.done > 0) tell(since.done === 1 ? "Your picture is done" : `All done: ${since.done} pictures`);
      window.dispatchEvent(new CustomEvent("sd35-done"));
    }
    if (now.left > 0 && mayAsk() && !ask.isConnected) byId("said")?.after(ask);
    if ((now.left === 0 || !mayAsk()) && ask.isConnected) ask.remove();
    told = now;
    showTitle();
    document.documentElement.dataset.left = now.left;
  };

  // Who comes back has seen what came; and other pages may have changed what there is.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    takeNotice();
    byId("look")?.click();
  });

  window.sd35 = {
    draft: () => sessionStorage.getItem(DRAFT) ?? "",

    // The buttons in a piece of HTML that comes from the server.
    does(element, trigger) {
      element.addEventListener("click", (event) => {
        const button = event.target.closest("[data-do]");
        if (button !== null && element.contains(button)) trigger("click", { do: button.dataset.do, id: button.dataset.id });
      });
    },

    // A picture that is dropped, pasted or chosen: what it says of itself goes to the server, the image stays here.
    drop(element, trigger) {
      const read = async (file) => {
        if (!file) return;
        location.hash = "#create";
        const data = await withoutImage(file).catch(() => new Uint8Array());
        let text = "";
        for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
        trigger("upload", { name: file.name || "this picture", data: btoa(text) });
      };
      element.addEventListener("change", (event) => {
        read(event.target.files?.[0]);
        event.target.value = "";
      });
      element.addEventListener("click", (event) => {
        const button = event.target.closest("[data-event]");
        if (button !== null) trigger(button.dataset.event);
      });
      const picture = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
      const isFile = (event) => event.dataTransfer?.types.includes("Files");
      let depth = 0;
      const show = (is) => document.documentElement.toggleAttribute("data-dropping", is);
      window.addEventListener("dragenter", (event) => isFile(event) && show(++depth > 0), true);
      window.addEventListener("dragleave", (event) => isFile(event) && show((depth = Math.max(0, depth - 1)) > 0), true);
      window.addEventListener("dragover", (event) => isFile(event) && event.preventDefault(), true);
      window.addEventListener(
        "drop",
        (event) => {
          if (!isFile(event)) return;
          event.preventDefault();
          event.stopPropagation();
          show((depth = 0) > 0);
          read(picture(event.dataTransfer) ?? event.dataTransfer.files[0]);
        },
        true,
      );
      window.addEventListener("paste", (event) => picture(event.clipboardData) && read(picture(event.clipboardData)));
    },
  };

  const MOST = 700_000; // bytes that are sent, and of one piece
  const joined = (parts) => {
    const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
    return all;
  };

  // The same file without its image data: a PNG's chunks, a WebP's or a JPEG's segments that hold words.
  const withoutImage = async (file) => {
    const bytes = async (from, to) => new Uint8Array(await file.slice(from, to).arrayBuffer());
    const head = await bytes(0, 12);
    const name = (part) => String.fromCharCode(...part);
    let left = MOST;
    const parts = [];
    const keep = async (from, to) => {
      if (to > file.size || to - from > left) return;
      left -= to - from;
      parts.push(await bytes(from, to));
    };
    if (head[0] === 0x89 && name(head.subarray(1, 4)) === "PNG") {
      await keep(0, 8);
      for (let at = 8; at + 12 <= file.size; ) {
        const part = await bytes(at, at + 8);
        const end = at + 12 + new DataView(part.buffer).getUint32(0);
        if (["IHDR", "tEXt", "zTXt", "iTXt", "eXIf", "IEND"].includes(name(part.subarray(4, 8)))) await keep(at, end);
        at = end;
      }
    } else if (name(head.subarray(0, 4)) === "RIFF" && name(head.subarray(8, 12)) === "WEBP") {
      await keep(0, 12);
      for (let at = 12; at + 8 <= file.size; ) {
        const part = await bytes(at, at + 8);
        const size = new DataView(part.buffer).getUint32(4, true);
        const end = at + 8 + size + (size % 2);
        if (["VP8X", "EXIF", "XMP "].includes(name(part.subarray(0, 4)))) await keep(at, Math.min(end, file.size));
        at = end;
      }
    } else if (head[0] === 0xff && head[1] === 0xd8) {
      await keep(0, 2);
      for (let at = 2; at + 4 <= file.size; ) {
        const part = await bytes(at, at + 4);
        if (part[0] !== 0xff || part[1] === 0xda) break;
        const end = at + 2 + new DataView(part.buffer).getUint16(2);
        if ((part[1] >= 0xe0 && part[1] <= 0xef) || part[1] === 0xfe || (part[1] >= 0xc0 && part[1] <= 0xc2)) await keep(at, end);
        at = end;
      }
      parts.push(new Uint8Array([0xff, 0xd9]));
    }
    return joined(parts);
  };

  // The server says with every frame what time it has. When it doesn't, though there is something to do, or it has promised
  // to write a picture that it couldn't write, it is asked anew.
  const NEWS_SECONDS = [4, 4, 8, 16];
  let news = { now: "", at: Date.now(), tries: 0 };
  setInterval(() => {
    const now = document.querySelector("#queue .queue")?.dataset.now;
    const waits = told.left > 0 || document.querySelector("#panel [data-promised]") !== null;
    if (now !== news.now || !waits) news = { now, at: Date.now(), tries: 0 };
    if (Date.now() - news.at < 1000 * NEWS_SECONDS[Math.min(news.tries, 3)]) return;
    news = { ...news, at: Date.now(), tries: news.tries + 1 };
    byId("look")?.click();
  }, 1000);

  // Within another site's page, what is asked for by a relative address would be asked of that site.
  const followAddresses = () => {
    const root = window.gradio_config?.root;
    if (!root || new URL(root, location.href).origin === location.origin) return;
    for (const name of ["src", "href"]) {
      document.querySelectorAll(`[${name}^="studio/"]`).forEach((element) => {
        element.setAttribute(name, `${root}/${element.getAttribute(name)}`);
      });
    }
  };

  const follow = () => {
    scheduled = false;
    followAddresses();
    followQueue();
    if (!voice.isConnected) document.body.append(voice);
    // Gradio names each radio input differently, so that the arrow keys don't know that they belong together.
    document.querySelectorAll("#size input:not([name=size])").forEach((input) => (input.name = "size"));
    followTimes();
    followPhase();
    followMistakes();
  };
  let scheduled = false;
  new MutationObserver(() => {
    if (!scheduled) requestAnimationFrame(follow);
    scheduled = true;
  }).observe(document.documentElement, { subtree: true, childList: true });
})();
