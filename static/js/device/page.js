// The page "On this device": photos are opened, made small and labelled here. None of them is sent from here; `send.js`
// sends those that a person chooses to send.

import { Network, filesOf, hindrance } from "./network.js";
import { square } from "./picture.js";
import { Sending } from "./send.js";
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

const network = new Network(files, (share) => {
  part("bar").hidden = share >= 1;
  part("loaded").value = share;
  part("status").textContent = share < 1 ? `Fetching the network: ${Math.floor(share * 100)}%` : "Starting the network";
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

async function run() {
  if (running) return;
  running = true;
  part("now").hidden = false;
  part("again").hidden = true;
  try {
    if (!network.classes) part("status").textContent = "Fetching the network";
    await network.load();
    tell("Labelling");
    const began = performance.now();
    const before = labelled;
    sending?.add(await labelAll());
    const rate = (labelled - before) / ((performance.now() - began) / 1000);
    tell("Done", `${labelled === before ? "" : `${rate.toFixed(rate < 10 ? 1 : 0)} a second. `}`);
  } catch (error) {
    part("bar").hidden = true;
    part("status").textContent = `The network cannot run: ${error.message}`;
    part("again").hidden = false;
  } finally {
    running = false;
  }
  if (waiting.length && part("again").hidden) run(); // chosen at the last moment
}

// While the network looks at one photo, the next waits for it already: the network never waits for the page.
async function labelAll() {
  const results = [];
  const lane = async () => {
    for (let item = waiting.shift(); item; item = waiting.shift()) {
      const share = await labelOne(item);
      if (share !== undefined) results.push({ ...item, share });
      if (labelled + failed < taken) tell("Labelling");
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return results;
}

// How sure the network is of the label; undefined if there is none.
async function labelOne(item) {
  try {
    const { pixels } = await square(item.file, SIDE);
    const found = await network.label(pixels, SIDE);
    show(item, found);
    labelled += 1;
    return found.labels[0].share;
  } catch (error) {
    item.card.classList.add("failed");
    item.card.querySelector(".state").textContent = error.message;
    failed += 1;
    return undefined;
  }
}

function show(item, { labels }) {
  const [best, ...others] = labels;
  item.card.classList.add("done");
  item.card.querySelector(".label").textContent = best.readable;
  item.card.querySelector(".state").textContent = `${percent(best.share)} sure`;
  item.card.title = others.map((one) => `${one.readable} ${percent(one.share)}`).join(", ");
}

const percent = (share) => `${Math.round(share * 100)}%`;

function tell(doing, rate = "") {
  const done = photos(labelled + failed);
  part("status").textContent = doing === "Done" ? `Done: ${done}` : `${doing}: ${done}, ${number(taken - labelled - failed)} to go`;
  part("figures").textContent = `${rate}${failed ? `${photos(failed)} could not be labelled. ` : ""}${sending?.began ? "" : "Nothing was sent."}`;
}
