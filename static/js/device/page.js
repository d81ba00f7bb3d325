// The page "On this device": photos are opened, made small and labelled here. None of them is sent from here; `send.js`
// sends those that a person chooses to send.

import { Network, filesOf, hindrance } from "./network.js";
import { square } from "./picture.js";
import { Sending } from "./send.js";
import { number, photos } from "../words.js";

const SIDE = 224;

const page = document.querySelector("#device");
const part = (name) => page.querySelector(`#${name}`);
const files = filesOf(page);
const sending = part("send") && new Sending(part("send"), () => { part("figures").textContent = ""; });
const waiting = [];
let running = false;
let labelled = 0, failed = 0;

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

// While the network looks at one photo, the next is opened.
async function labelAll() {
  const results = [];
  let next = opened();
  for (let one = next; one; one = next) {
    const { item, picture } = one;
    next = opened();
    try {
      const { pixels } = await picture;
      const found = await network.label(pixels, SIDE);
      show(item, found);
      results.push({ ...item, share: found.labels[0].share });
      labelled += 1;
    } catch (error) {
      item.card.classList.add("failed");
      item.card.querySelector(".state").textContent = error.message;
      failed += 1;
    }
    if (next) tell("Labelling");
  }
  return results;
}

function opened() {
  const item = waiting.shift();
  if (!item) return null;
  const picture = square(item.file, SIDE);
  picture.catch(() => {}); // it is told when its turn comes
  return { item, picture };
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
  part("status").textContent = doing === "Done" ? `Done: ${done}` : `${doing}: ${done}, ${number(waiting.length + 1)} to go`;
  part("figures").textContent = `${rate}${failed ? `${photos(failed)} could not be labelled. ` : ""}${sending?.began ? "" : "Nothing was sent."}`;
}
