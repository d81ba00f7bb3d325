// The upload page turns into the page of its batch, and says at all times what goes on.

import { whole } from "./card.js";
import { installChoosers } from "./choose.js";
import { Finder } from "./find.js";
import { Live } from "./live.js";
import * as mine from "./mine.js";
import { PhotoList } from "./photos.js";
import { Uploader } from "./upload.js";
import { Viewer } from "./viewer.js";
import { fill, number, photos, plural, size } from "./words.js";

const SAY_EVERY = 5000; // milliseconds between two announcements to a screen reader
const COUNT_EVERY = 1000;
const DRAW_AFTER = 150;
const DRAW_PHOTO = 0.2; // milliseconds a photo: drawing anew takes longer the more photos there are
const DRAW_LATEST = 2000;
const SMALLER = "shoal-smaller"; // what the browser remembers the choice of smaller copies by

const at = (id) => document.getElementById(id);
const section = at("batch");
// A person who may only look at the batch has none of these.
const [cancelForm, retryForm, shareForm, deleteForm] = ["#cancel", "#retry", "#share", "#delete form"]
  .map((form) => document.querySelector(form) ?? document.createElement("form"));
const limit = Number(at("form")?.dataset.limit ?? Infinity);

const finder = new Finder(at("find"), () => arrange());
const list = new PhotoList(at("photos"), { photo: at("photo"), sure: at("sure"), opening: at("opening") }, finder, () => refresh());
const uploader = new Uploader({
  state(item, state, error = "") {
    if (state === "queued" && item.needsPicture) list.serverPicture(item);
    // The answer may be here before the reply to the upload is.
    if (item.state === "done" || (item.state === "failed" && state !== "failed")) return;
    if (state === "waiting") list.set(item.index, { state, why: error });
    else if (state !== "queued" || !item.message) list.set(item.index, { state, message: error || (state === "queued" ? at("photo").dataset.queued : "") });
  },
  unsent(item, why) { giveUp(item, why); },
  progress: () => refresh(),
  connection(good, why) { uploadLost = good ? "" : why || "Connection lost"; refresh(); },
});

let live = null;
let pool = null;
let uploadLost = ""; // why nothing can be sent now
let streamLost = false;
let started = 0; // when the upload began; 0 on a page that only watches
let finished = section.dataset.finished === "yes";
let line = at("status").textContent; // the server's last word on the batch
let lineOf = 0; // how many photos that is about: fewer than were sent, until the server has heard of all
let hindrance = at("hindrance").textContent; // why too few workers start
let allAnswered = -1; // how many photos there were when the server said that all are answered
let chosen = 0; // bytes
let completing = false;

if (section.dataset.batch) {
  list.adopt(section.dataset.batch);
  mine.remember(section.dataset.batch, line);
  if (!finished) watch(section.dataset.batch, false);
  else if (list.size < Number(section.dataset.total)) complete();
} else {
  if (at("mine")) mine.show(at("mine"));
  installChoosers(document, take);
  installSmaller();
  at("go").addEventListener("click", start);
  at("clear").addEventListener("click", clear);
}
new Viewer(at("viewer"), list);
at("copy").addEventListener("click", copy);
cancelForm.addEventListener("submit", cancel);
deleteForm.addEventListener("submit", () => { uploader.stop(); mine.forget(list.batch); });
addEventListener("beforeunload", (event) => { if (uploader.busy) event.preventDefault(); });

function take(files, leftOut) {
  if (!files.length && !leftOut) return;
  const items = files.map((file) => {
    chosen += file.size;
    const item = list.set(list.size, { name: file.name, file });
    return file.size <= limit ? item : giveUp(item, fill(at("form").dataset.tooLarge, size(file.size)));
  });
  at("left-out").hidden = !leftOut;
  at("left-out").textContent = `${number(leftOut)} ${plural(leftOut, "file")} in there ` +
    `${leftOut === 1 ? "is not a photo and was" : "are not photos and were"} left out.`;
  if (started) {
    finished = false;
    watch(uploader.batch, true);
    uploader.add(items.filter((item) => item.state === "waiting"));
    return;
  }
  at("chosen").textContent = list.size ? `${photos(list.size)}, ${size(chosen)}` : "No photos found";
  at("go").textContent = `Label ${list.size === 1 ? "it" : `all ${number(list.size)}`}`;
  at("go").disabled = !list.size;
  at("tray").hidden = false;
  estimate();
  section.hidden = false;
  document.body.classList.add("choosing");
  say(at("chosen").textContent);
  if (document.activeElement === document.body || document.activeElement === at("files")) at("go").focus({ preventScroll: true });
}

function giveUp(item, why) {
  return list.set(item.index, { state: "failed", message: why, line: `${item.name}, failed: ${why}`, unsent: true });
}

// What it will take and cost, in the server's words.
let asked = 0;
async function estimate() {
  const turn = asked += 1;
  at("expected").textContent = "";
  if (!list.size) return;
  try {
    const reply = await fetch(`/estimate?photos=${list.size}`);
    if (!reply.ok || turn !== asked) return;
    const { words, hindrance: why } = await reply.json();
    at("expected").textContent = why || `Expected: ${words}`;
    at("expected").classList.toggle("hindrance", Boolean(why));
  } catch {
    // nothing is promised
  }
}

function clear() {
  list.clear();
  chosen = 0;
  at("tray").hidden = true;
  section.hidden = true;
  document.body.classList.remove("choosing");
  at("files").focus();
}

// Smaller copies are offered for the models that need no more pixels. Their code is loaded when they are wanted.
function loadSmaller() { return import("./smaller.js"); }
function wantsSmaller() { return Boolean(at("smaller")?.checked) && !at("copies").hidden; }
function installSmaller() {
  const box = at("smaller");
  if (!box) return;
  const suit = () => {
    at("copies").hidden = at("model") && !box.dataset.models.split(" ").includes(at("model").value);
    if (wantsSmaller()) loadSmaller().catch(() => {}); // tried again when they are sent
  };
  try {
    box.checked = localStorage.getItem(SMALLER) === "yes";
  } catch {
    // a browser that keeps nothing
  }
  box.addEventListener("change", () => {
    suit();
    try {
      localStorage.setItem(SMALLER, box.checked ? "yes" : "");
    } catch {
      // as above
    }
  });
  at("model")?.addEventListener("change", suit);
  suit();
}

async function start() {
  at("go").disabled = true;
  try {
    uploader.shrink = wantsSmaller() ? (await loadSmaller()).smaller : null;
  } catch {
    at("expected").textContent = "The server does not answer: nothing was sent. Try again.";
    return;
  } finally {
    at("go").disabled = false;
  }
  started = performance.now();
  at("start").hidden = true;
  at("tray").hidden = true;
  at("more").hidden = false;
  document.body.classList.remove("choosing");
  scrollTo(0, 0);
  refresh();
  uploader.model = at("model")?.value ?? "";
  const batch = await uploader.open();
  list.batch = batch;
  history.replaceState(null, "", `/batches/${batch}`);
  if (at("mine")) at("mine").hidden = true;
  for (const form of [cancelForm, retryForm, shareForm]) form.action = `/batches/${batch}/${form.id}`;
  deleteForm.action = `/batches/${batch}/delete`;
  if (at("delete")) at("delete").hidden = false;
  for (const link of document.querySelectorAll("[data-kind]")) {
    link.href = `/batches/${batch}.${link.dataset.kind}`;
    link.download = `shoal-${batch}.${link.dataset.kind}`;
  }
  watch(batch, true);
  uploader.add([...list.items.values()].filter((item) => item.state === "waiting"));
  refresh();
}

function watch(batch, uploading) {
  if (live) return;
  live = new Live(batch, uploading, {
    photos: (known) => {
      for (const card of known) {
        // The server's list says "queued" of a photo that was answered meanwhile only when it is tried again.
        const { model } = list.set(card.index, whole(card));
        if (model && !at("stand-in").dataset.models.split(" ").includes(model)) tellStandIn(model);
      }
    },
    pool(state) { pool = state; refresh(); },
    status(told) { ({ line, hindrance, total: lineOf } = told); refresh(); },
    done({ total, cost: [title, amount] }) {
      allAnswered = total;
      [at("fact-cost").previousSibling.textContent, at("fact-cost").textContent] = [title, amount];
      if (completing) completed();
      if (list.open || uploader.busy) refresh();
      else draw();
    },
    connection(good) {
      streamLost = !good;
      if (completing) at("shown").textContent = good ? "" : "Connection lost, trying again";
      refresh();
    },
  });
}

// Another model than the one asked for is never passed off as it.
function tellStandIn(model) {
  at("stand-in").querySelector("b").textContent = model;
  at("stand-in").hidden = false;
}

// Seldom: the machine that draws may be the one that labels.
let waiting = 0;
let drawnAt = 0;
function refresh() {
  const pause = drawnAt + Math.min(list.size * DRAW_PHOTO, DRAW_LATEST) - performance.now();
  waiting ||= setTimeout(draw, Math.max(DRAW_AFTER, pause));
}

function draw() {
  clearTimeout(waiting);
  waiting = 0;
  drawnAt = performance.now();
  list.draw();
  if (completing || (!section.dataset.batch && !started)) return;
  const sent = list.size - list.unsent;
  const over = list.size > 0 && !list.open && !uploader.busy && (finished || !sent || allAnswered >= sent);
  if (over && !finished) finish();
  const words = status();
  if (words !== at("status").textContent) {
    at("status").textContent = words;
    if (list.batch) mine.remember(list.batch, words);
  }
  document.title = `${over ? words : fill(section.dataset.counting, number(list.answered), number(list.size))} · Shoal`;
  at("hindrance").textContent = hindrance;
  at("hindrance").hidden = over || !hindrance;
  at("uploaded").value = started ? uploader.sentShare : 1;
  at("labelled").max = list.size || 1;
  at("labelled").value = list.answered;
  const { done, failed, cancelled } = list.counts;
  for (const [name, count] of Object.entries({ done, failed, cancelled, open: list.open })) at(`fact-${name}`).textContent = number(count);
  if (pool) at("fact-workers").textContent = number(pool.running + pool.draining);
  showFact("fact-cancelled", cancelled > 0);
  showFact("fact-open", !over);
  showFact("fact-workers", !over && (pool || at("fact-workers").textContent));
  showFact("fact-cost", over && at("fact-cost").textContent);
  cancelForm.hidden = over || !list.batch;
  shareForm.hidden = !list.batch;
  at("copy").disabled = !list.answered;
  if (!finder.plain) count(over);
  if (over) retryForm.hidden = !list.canRetry && (retryForm.hidden || !failed);
  sayNowAndThen(words, over);
}

function showFact(id, shown) {
  at(id).parentElement.hidden = !shown;
}

function arrange() {
  list.arrange();
  count(true);
}

let countedAt = 0;
function count(now) {
  if (!now && performance.now() - countedAt < COUNT_EVERY) return;
  countedAt = performance.now();
  const words = finder.plain ? "" : fill(at("shown").dataset.words, number(list.found), number(list.size));
  if (at("shown").textContent !== words) at("shown").textContent = words;
}

// The server draws the first few hundred photos of a long batch; its stream has all.
function complete() {
  completing = true;
  list.held = location.search !== ""; // what the server drew are not the first photos
  watch(section.dataset.batch, false);
}

function completed() {
  completing = false;
  live.close();
  live = null;
  if (list.held || !finder.plain) arrange();
  list.held = false;
  refresh();
}

async function finish() {
  finished = true;
  live?.close();
  live = null;
  streamLost = false;
  uploadLost = "";
  if (!list.unsent) return;
  try { // the server does not know of photos that could not be sent
    const query = `unsent=${list.unsentFailed}&cancelled=${list.unsentCancelled}`;
    const reply = await fetch(`/batches/${list.batch}/status?${query}`);
    if (reply.ok) line = (await reply.json()).line;
    refresh();
  } catch {
    // its last word on the photos that it has stays
  }
}

function status() {
  if (finished) return line;
  if (uploadLost || streamLost) return `${(uploadLost || "Connection lost").replace(/\.$/, "")}, trying again`;
  if (started && !uploader.batch) return "Starting the upload";
  if (uploader.busy || (started && lineOf < list.size - list.unsent)) {
    const { waiting, uploading, done, failed } = list.counts;
    const answers = `${done ? `, ${number(done)} labelled` : ""}${failed ? `, ${number(failed)} failed` : ""}`;
    return `Uploading: ${number(list.size - waiting - uploading)} of ${number(list.size)}${answers}`;
  }
  return line;
}

// Nothing more is sent; what is on its way is cancelled when it has arrived.
async function cancel(event) {
  event.preventDefault();
  const button = cancelForm.querySelector("button");
  button.disabled = true;
  for (const item of uploader.stop()) {
    list.set(item.index, { state: "cancelled", message: cancelForm.dataset.words, unsent: true });
  }
  try {
    for (let busy = true; busy;) {
      busy = uploader.busy;
      const reply = await fetch(cancelForm.action, { method: "POST", headers: { Accept: "application/json" } });
      if (!reply.ok) throw new Error(reply.statusText);
      while (uploader.busy) await new Promise((done) => { setTimeout(done, COUNT_EVERY / 4); });
    }
  } catch {
    line = "The server does not answer: nothing was cancelled. Try again.";
    refresh();
  }
  button.disabled = false;
}

let saidAt = 0;
function sayNowAndThen(line, over) {
  const now = performance.now();
  if (over || now - saidAt > SAY_EVERY) say(line);
}

function say(line) {
  saidAt = performance.now();
  if (at("said").textContent !== line) at("said").textContent = line;
}

async function copy() {
  const words = list.asText();
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    copyTheOldWay(words); // the clipboard's interface is there on https and on this machine only
  }
  const button = at("copy");
  button.textContent = "Copied";
  say(`Copied ${photos(list.answered)} as text`);
  setTimeout(() => { button.textContent = "Copy as text"; }, 2000);
}

function copyTheOldWay(words) {
  const field = Object.assign(document.createElement("textarea"), { value: words, className: "unseen" });
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
