// Ties the page together: the upload page turns into the page of its batch, and says at all times what goes on.

import { installChoosers } from "./choose.js";
import { Finder } from "./find.js";
import { Live } from "./live.js";
import { PhotoList } from "./photos.js";
import { Uploader } from "./upload.js";
import { bytes, duration, photos, plural } from "./words.js";

const SAY_EVERY = 5000; // milliseconds between two announcements to a screen reader
const COUNT_EVERY = 1000;

const at = (id) => document.getElementById(id);
const section = at("batch");
const limit = Number(at("form")?.dataset.limit ?? Infinity);

const finder = new Finder(at("find"), () => arrange());
const list = new PhotoList(at("photos"), { photo: at("photo"), wrong: at("wrong") }, finder, () => refresh());
const uploader = new Uploader({
  state(item, state, error = "") {
    // The answer may be here before the reply to the upload is.
    if (item.state === "done" || (item.state === "failed" && state !== "failed")) return;
    list.set(item.index, { state, error: error || "" });
    if (state === "queued" && item.needsPicture) list.serverPicture(item);
  },
  progress: () => refresh(),
  connection(good) { uploadLost = !good; refresh(); },
});

let live = null;
let pool = null;
let uploadLost = false;
let streamLost = false;
let started = 0; // when the upload began; 0 on a page that only watches
let seconds = 0;
let finished = section.dataset.finished === "yes";
let told = false; // by the server, that every photo is answered
let size = 0;
let completing = false;

if (section.dataset.batch) {
  list.adopt(section.dataset.batch);
  if (!finished) watch(section.dataset.batch, false);
  else if (list.size < Number(section.dataset.total)) complete();
} else {
  installChoosers(document, take);
  at("go").addEventListener("click", start);
  at("clear").addEventListener("click", clear);
}
at("copy").addEventListener("click", copy);
addEventListener("beforeunload", (event) => { if (uploader.busy) event.preventDefault(); });

function take(files, leftOut) {
  if (!files.length && !leftOut) return;
  const items = files.map((file) => {
    size += file.size;
    const item = list.set(list.size, { name: file.name, file });
    if (file.size <= limit) return item;
    return list.set(item.index, { state: "failed", error: `the file has ${bytes(file.size)}; at most ${bytes(limit)} are taken` });
  });
  at("left-out").hidden = !leftOut;
  at("left-out").textContent = `${leftOut.toLocaleString("en")} ${plural(leftOut, "file")} in there ` +
    `${leftOut === 1 ? "is not a photo and was" : "are not photos and were"} left out.`;
  if (started) {
    finished = false;
    watch(uploader.batch, true);
    uploader.add(items.filter((item) => item.state === "waiting"));
    return;
  }
  at("chosen").textContent = list.size ? `${photos(list.size)}, ${bytes(size)}` : "No photos found";
  at("go").textContent = `Label ${list.size === 1 ? "it" : `all ${list.size.toLocaleString("en")}`}`;
  at("go").disabled = !list.size;
  at("tray").hidden = false;
  estimate();
  section.hidden = false;
  document.body.classList.add("choosing");
  say(at("chosen").textContent);
  if (document.activeElement === document.body || document.activeElement === at("files")) at("go").focus({ preventScroll: true });
}

// What it will take and cost, in the server's words.
let asked = 0;
async function estimate() {
  const mine = asked += 1;
  at("expected").textContent = "";
  if (!list.size) return;
  try {
    const reply = await fetch(`/estimate?photos=${list.size}`);
    if (reply.ok && mine === asked) at("expected").textContent = `Expected: ${(await reply.json()).words}`;
  } catch {
    // the server is away: nothing is promised
  }
}

function clear() {
  list.clear();
  size = 0;
  at("tray").hidden = true;
  section.hidden = true;
  document.body.classList.remove("choosing");
  at("files").focus();
}

async function start() {
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
  at("retry").action = `/batches/${batch}/retry`;
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
      for (const { index, ...rest } of known) {
        // The server's list says "queued" of a photo that was answered meanwhile only when it is tried again.
        list.set(index, rest);
        if (rest.model && !at("stand-in").dataset.models.split(" ").includes(rest.model)) tellStandIn(rest.model);
      }
    },
    pool(state) { pool = state; refresh(); },
    done(facts) {
      told = true;
      if (!started) seconds = facts.seconds;
      refresh();
    },
    connection(good) { streamLost = !good; refresh(); },
  });
}

// Another model than the one asked for is never passed off as it.
function tellStandIn(model) {
  at("stand-in").querySelector("b").textContent = model;
  at("stand-in").hidden = false;
}

let waiting = false;
function refresh() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

function draw() {
  if (completing || (!section.dataset.batch && !started)) return;
  const over = list.size > 0 && !list.open && !uploader.busy && (started || finished || told);
  if (over && !finished) finish();
  const line = status();
  if (line !== at("status").textContent) {
    at("status").textContent = line;
    document.title = `${line} · Shoal`;
  }
  at("uploaded").value = started ? uploader.sentShare : 1;
  at("labelled").max = list.size || 1;
  at("labelled").value = list.answered;
  at("fact-done").textContent = list.counts.done.toLocaleString("en");
  at("fact-failed").textContent = list.counts.failed.toLocaleString("en");
  at("fact-open").textContent = list.open.toLocaleString("en");
  if (pool) at("fact-workers").textContent = (pool.running + pool.draining).toLocaleString("en");
  at("copy").disabled = !list.answered;
  if (!finder.plain) count(over);
  if (over) at("retry").hidden = !list.canRetry && (at("retry").hidden || !list.counts.failed);
  sayNowAndThen(line, over);
}

function arrange() {
  list.arrange();
  count(true);
}

let countedAt = 0;
function count(now) {
  if (!now && performance.now() - countedAt < COUNT_EVERY) return;
  countedAt = performance.now();
  const words = finder.plain ? "" : `${list.found.toLocaleString("en")} of ${list.size.toLocaleString("en")} shown`;
  if (at("shown").textContent !== words) at("shown").textContent = words;
}

// The server draws the first few hundred of a long batch.
async function complete() {
  completing = true;
  try {
    await list.complete();
  } catch {
    at("shown").textContent = "The other photos could not be fetched: load the page again.";
    return;
  }
  completing = false;
  arrange();
  refresh();
}

function finish() {
  finished = true;
  if (started) seconds = (performance.now() - started) / 1000;
  live?.close();
  live = null;
  streamLost = uploadLost = false;
}

function status() {
  if (finished) {
    const failed = list.counts.failed ? `, ${list.counts.failed.toLocaleString("en")} of them failed` : "";
    if (!started && !told) return at("status").textContent; // the server drew it finished
    return `Done: ${photos(list.size)} in ${duration(seconds)}${failed}`;
  }
  if (uploadLost || streamLost) return "Connection lost, trying again";
  const total = list.size.toLocaleString("en");
  const answered = list.answered.toLocaleString("en");
  if (started && !uploader.batch) return "Starting the upload";
  if (uploader.busy) {
    const sent = (list.size - list.counts.waiting - list.counts.uploading).toLocaleString("en");
    return `Uploading: ${sent} of ${total}${list.answered ? `, ${answered} labelled` : ""}`;
  }
  if (!list.size) return "Waiting for photos";
  if (!pool) return `Labelling: ${answered} of ${total}`;
  const workers = pool.running + pool.draining;
  if (workers) return `Labelling: ${answered} of ${total}, ${workers} ${plural(workers, "worker")}`;
  if (pool.pending) return `Waiting for a worker: ${pool.pending} ${pool.pending === 1 ? "is" : "are"} starting`;
  return "Waiting for a worker: none is running yet";
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
