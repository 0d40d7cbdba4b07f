"use strict";

const page = document.body.dataset.page;
const csrf = document.querySelector("meta[name=csrf]").content;
const byId = (id) => document.getElementById(id);

function say(text) {
  byId("says").textContent = text;
}

function showTrouble(trouble) {
  const box = byId("trouble");
  box.hidden = !trouble;
  box.querySelector("span").textContent = trouble || "";
}

/* Whoever types into a field means letters, not commands. */
function isTyping(event) {
  return event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, [contenteditable]");
}

/* Server-sent events; the browser connects again by itself. */
function listen(changed, connected, lost) {
  const events = new EventSource("/events");
  events.onmessage = (event) => {
    const message = JSON.parse(event.data);
    showTrouble(message.trouble);
    connected();
    changed(message);
  };
  events.onerror = () => {
    lost();
    // A browser gives up for good when it is answered with an error, such as by a proxy.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => listen(changed, connected, lost), 3000);
  };
  addEventListener("pagehide", () => events.close());
}

function startList() {
  const live = byId("live");
  if (!live.dataset.live) return;
  const state = byId("state");
  const pause = byId("pause");
  const list = byId("list");
  const everySeconds = 2;
  let paused = false;
  let stale = false;
  let busy = false;
  let last = 0;
  let unsaid = 0;
  let saidAt = Date.now();

  function show(name, text) {
    live.className = "live " + name;
    if (state.textContent !== text) state.textContent = text;
  }
  function key(row) {
    return row.dataset.id;
  }

  /* Rows that have not changed stay as they are, with the focus and the selection in them. */
  function update(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    const rows = list.querySelector("ol.incidents");
    const newRows = fresh.querySelector("ol.incidents");
    if (!rows || !newRows) {
      list.replaceChildren(...fresh.childNodes);
      return newRows ? newRows.children.length : 0;
    }
    const old = new Map([...rows.children].map((row) => [key(row), row]));
    const focused = rows.contains(document.activeElement) ? document.activeElement.closest("li") : null;
    let added = 0;
    const next = [...newRows.children].map((row) => {
      const before = old.get(key(row));
      if (!before) {
        added += 1;
        row.classList.add("fresh");
        return row;
      }
      if (before.dataset.version !== row.dataset.version) {
        before.dataset.version = row.dataset.version;
        before.classList.remove("fresh");
        for (const part of ["size", "probability"]) {
          before.querySelector("." + part).replaceWith(row.querySelector("." + part));
        }
        before.querySelector(".meta").replaceWith(row.querySelector(".meta"));
        const text = row.querySelector(".text bdi").textContent;
        const shown = before.querySelector(".text bdi");
        if (shown.textContent !== text) shown.textContent = text;
      } else {
        before.classList.remove("fresh");
      }
      return before;
    });
    const stays = new Set(next);
    if (focused && !stays.has(focused)) next.push(focused);
    [...rows.children].forEach((row) => stays.has(row) || row === focused || row.remove());
    next.forEach((row, place) => {
      if (rows.children[place] !== row) rows.insertBefore(row, rows.children[place] || null);
    });
    if (focused && !focused.contains(document.activeElement)) focused.querySelector("a").focus({ preventScroll: true });
    list.querySelector(".line").replaceWith(fresh.querySelector(".line"));
    list.querySelector("nav.pages").replaceWith(fresh.querySelector("nav.pages"));
    return added;
  }

  async function refresh() {
    if (busy) stale = true; // what changes meanwhile may not be in the answer
    if (busy || paused || document.hidden) return;
    const wait = last + 1000 * everySeconds - Date.now();
    if (wait > 0) {
      setTimeout(refresh, wait);
      return;
    }
    busy = true;
    stale = false;
    last = Date.now();
    try {
      const answer = await fetch("/list" + location.search);
      if (answer.status === 401) location.reload();
      if (answer.ok) {
        unsaid += update(await answer.text());
        if (unsaid && Date.now() - saidAt > 10000) {
          say(unsaid === 1 ? "1 new incident" : unsaid + " new incidents");
          unsaid = 0;
          saidAt = Date.now();
        }
      } else {
        stale = true;
      }
    } catch {
      stale = true;
    }
    busy = false;
    if (stale) setTimeout(refresh, 1000 * everySeconds);
  }

  function setPaused(on) {
    paused = on;
    pause.setAttribute("aria-pressed", String(on));
    pause.textContent = on ? "Resume" : "Pause";
    show(on ? "" : "on", on ? "Paused" : "Live");
    if (!on) refresh();
  }

  pause.hidden = false;
  pause.addEventListener("click", () => setPaused(!paused));
  document.addEventListener("keydown", (event) => {
    if (isTyping(event)) return;
    if (event.key === "p") setPaused(!paused);
    if (event.key === "/") {
      event.preventDefault();
      byId("q").focus();
    }
    if (event.key === "j" || event.key === "k") {
      const links = [...list.querySelectorAll(".incident .text a")];
      const at = links.indexOf(document.activeElement);
      const link = links[event.key === "j" ? at + 1 : Math.max(0, at - 1)];
      if (link) link.focus();
    }
  });
  document.addEventListener("visibilitychange", () => refresh());
  show("", "Connecting");
  listen(
    (message) => refresh(message),
    () => paused || show("on", "Live"),
    () => show("off", "Connection lost, trying again"),
  );
}

/* The words that drove the score come after the page: their model may have to be loaded first. */
async function loadWords() {
  const words = byId("words");
  if (!words.dataset.source) return;
  for (;;) {
    const answer = await fetch(words.dataset.source).catch(() => null);
    if (answer && answer.status === 401) location.reload();
    if (answer && [200, 404].includes(answer.status)) {
      const html = await answer.text();
      if (answer.ok) words.innerHTML = html; // of our own templates, which escape what is not ours
      else words.querySelector(".note").textContent = html;
      words.removeAttribute("aria-busy");
      return;
    }
    const later = answer && answer.status === 202;
    words.querySelector(".note").textContent = later
      ? "The model is being loaded. The words come by themselves."
      : "The words cannot be loaded now. The page tries again by itself.";
    await new Promise((resolve) => setTimeout(resolve, later ? 500 : 3000));
  }
}

function startLabelling() {
  const queue = byId("queue");
  const problem = byId("problem");
  let busy = false;

  async function send(form, button) {
    if (busy) return;
    busy = true;
    queue.setAttribute("aria-busy", "true");
    const body = new URLSearchParams(new FormData(form));
    if (button && button.name) body.set(button.name, button.value);
    try {
      const answer = await fetch(form.action, { method: "POST", body, headers: { "X-CSRF-Token": csrf } });
      if (answer.ok) {
        problem.hidden = true;
        show(await answer.text());
      } else {
        problem.textContent = await answer.text();
        problem.hidden = false;
      }
    } catch {
      problem.textContent = "Not saved: the desk cannot be reached. Try again in a moment.";
      problem.hidden = false;
    }
    busy = false;
    queue.removeAttribute("aria-busy");
  }

  function show(html) {
    queue.innerHTML = html; // of our own templates, which escape what is not ours
    const said = queue.querySelector("[data-said]");
    const tweet = byId("tweet");
    if (said) say(said.dataset.said + (tweet ? "" : ". Nothing more to label"));
    if (tweet) tweet.focus({ preventScroll: true });
  }

  async function lookForMore() {
    if (busy || queue.querySelector(".card")) return;
    const answer = await fetch("/label", { headers: { "X-CSRF-Token": csrf } }).catch(() => null);
    if (answer && answer.ok && !busy) {
      const html = await answer.text();
      if (html.includes("data-alert=")) show(html);
    }
  }

  queue.addEventListener("submit", (event) => {
    event.preventDefault();
    send(event.target, event.submitter);
  });
  document.addEventListener("keydown", (event) => {
    if (isTyping(event) || event.repeat) return;
    const value = { r: "relevant", n: "not-relevant", s: "skip" }[event.key.toLowerCase()];
    const choices = byId("choices");
    if (value && choices) {
      event.preventDefault();
      send(choices, choices.querySelector(`[value=${value}]`));
    } else if (event.key.toLowerCase() === "u") {
      event.preventDefault();
      send(byId("undo"), null);
    }
  });
  listen(lookForMore, () => {}, () => {});
}

if (page === "incidents") startList();
if (page === "incident") loadWords();
if (page === "label") startLabelling();
