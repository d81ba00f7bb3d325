// The page "On this device": photos are opened, made small and labelled here. Nothing is sent from here: `send.js` sends
// the photos that a person chooses to send, and `split.js` activations, if a person chooses that.

import { Network, filesOf, hindrance } from "./network.js";
import { square } from "./picture.js";
import { Sending } from "./send.js";
import { Split, hindrance as splitHindrance } from "./split.js";
import { number, photos } from "../words.js";

const SIDE = 224;
const AT_ONCE = 3; // photos: one in the network, one that waits for it, and one that is opened

const page = document.querySelector("#device");
const part = (name) => page.querySelector(`#${name}`);
const files = filesOf(page);
const sending = part("send") && new Sending(part("send"), () => { part("figures").textContent = ""; });
const waiting = [];
let running = false;
let taken = 0, labelled = 0, failed = 0;

const network = new Network(files, loading);
const split = part("split") && new Split(part("split"), files, {
  loading,
  labelled: (item, label, words) => { done(item, label, words); told(); },
  failed: (item, words) => { fail(item, words); told(); },
});

const why = hindrance();
if (why) {
  part("cannot").hidden = false;
  part("cannot").querySelector("p").textContent = `This browser cannot run the network: ${why}.`;
  part("drop").hidden = true;
} else {
  install();
}

function install() {
  part("files").addEventListener("change", ({ target }) => {
    take([...target.files]);
    target.value = ""; // so that the same photos can be chosen again
  });
  part("examples")?.addEventListener("click", takeExamples);
  part("again").addEventListener("click", run);
  if (split && splitHindrance()) {
    part("way-split").disabled = true;
    part("split-hint").textContent = `This browser cannot send activations: ${splitHindrance()}.`;
  }
  addEventListener("paste", (event) => take([...(event.clipboardData?.files ?? [])]));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    take([...(event.dataTransfer?.files ?? [])]);
  });
}

async function takeExamples() {
  const samples = [...page.querySelectorAll(".sample")].map(async ({ dataset }) => {
    const reply = await fetch(dataset.address);
    return reply.ok ? [new File([await reply.blob()], dataset.name)] : [];
  });
  take((await Promise.all(samples.map((one) => one.catch(() => [])))).flat());
}

function take(chosen) {
  for (const file of chosen) waiting.push({ file, card: drawn(file) });
  taken += chosen.length;
  if (chosen.length) run();
}

function drawn(file) {
  const card = part("photo").content.cloneNode(true).firstElementChild;
  const picture = card.querySelector("img");
  picture.addEventListener("load", () => URL.revokeObjectURL(picture.src), { once: true });
  picture.addEventListener("error", () => { picture.hidden = true; }, { once: true });
  picture.src = URL.createObjectURL(file);
  card.querySelector(".name").textContent = file.name;
  card.querySelector(".state").textContent = "Waiting";
  part("photos").append(card);
  return card;
}

function loading(share) {
  part("bar").hidden = share >= 1;
  part("loaded").value = share;
  part("status").textContent = share < 1 ? `Fetching the network: ${Math.floor(share * 100)}%` : "Starting the network";
}

async function run() {
  if (running) return;
  running = true;
  const way = part("way-split")?.checked ? split : null;
  part("now").hidden = false;
  part("again").hidden = true;
  if (split) part("ways").disabled = true;
  try {
    const used = way?.network ?? network;
    if (!used.ready) part("status").textContent = "Fetching the network";
    await used.load();
    tell("Labelling");
    const began = performance.now();
    const before = labelled;
    if (way) await inLanes((item) => splitOne(way, item)).then(() => way.answered());
    else await labelAll();
    const rate = (labelled - before) / ((performance.now() - began) / 1000);
    tell("Done", `${labelled === before ? "" : `${rate.toFixed(rate < 10 ? 1 : 0)} a second. `}`);
  } catch (error) {
    part("bar").hidden = true;
    part("status").textContent = `The network cannot run: ${error.message}`;
    part("again").hidden = false;
  } finally {
    running = false;
    if (split) part("ways").disabled = false;
  }
  if (waiting.length && part("again").hidden) run(); // chosen at the last moment
}

// While the network looks at one photo, the next waits for it already: the network never waits for the page.
function inLanes(work) {
  const lane = async () => {
    for (let item = waiting.shift(); item; item = waiting.shift()) await work(item);
  };
  return Promise.all(Array.from({ length: AT_ONCE }, lane));
}

async function labelAll() {
  const results = [];
  await inLanes(async (item) => {
    const share = await labelOne(item);
    if (share !== undefined) results.push({ ...item, share });
    told();
  });
  sending?.add(results);
}

// How sure the network is of the label; undefined if there is none.
async function labelOne(item) {
  try {
    const { pixels } = await square(item.file, SIDE);
    const { labels: [best, ...others] } = await network.label(pixels, SIDE);
    done(item, best.readable, `${percent(best.share)} sure`);
    item.card.title = others.map((one) => `${one.readable} ${percent(one.share)}`).join(", ");
    return best.share;
  } catch (error) {
    fail(item, error.message);
    return undefined;
  }
}

// Has the head run on a photo, and its activation sent. The label comes later.
async function splitOne(way, item) {
  try {
    const { pixels } = await square(item.file, way.side);
    await way.send(item, pixels);
  } catch (error) {
    fail(item, error.message);
    told();
  }
}

function done(item, label, words) {
  item.card.classList.add("done");
  item.card.querySelector(".label").textContent = label;
  item.card.querySelector(".state").textContent = words;
  labelled += 1;
}

function fail(item, why) {
  item.card.classList.add("failed");
  item.card.querySelector(".state").textContent = why;
  failed += 1;
}

const percent = (share) => `${Math.round(share * 100)}%`;

function told() {
  if (labelled + failed < taken) tell("Labelling");
}

function tell(doing, rate = "") {
  const ended = photos(labelled + failed);
  part("status").textContent = doing === "Done" ? `Done: ${ended}` : `${doing}: ${ended}, ${number(taken - labelled - failed)} to go`;
  part("figures").textContent = `${rate}${failed ? `${photos(failed)} could not be labelled. ` : ""}${sending?.began || split?.began ? "" : "Nothing was sent."}`;
}
