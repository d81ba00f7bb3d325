// The list of photos: what is known of each, and its element on the page (templates/_photo.html draws the same).

import { percent, whatIsThere } from "./words.js";

const INSERT_AT_ONCE = 200;
const DECODE_AT_ONCE = 3;
const THUMB = 168; // twice the size on the page, for sharp screens
const STATES = { waiting: "Ready", uploading: "Uploading", queued: "Queued" };

export class PhotoList {
  constructor(list, template, changed) {
    this.list = list;
    this.template = template;
    this.changed = changed;
    this.items = new Map();
    this.counts = { waiting: 0, uploading: 0, queued: 0, done: 0, failed: 0 };
    this.batch = "";
    this.fresh = [];
    this.decoding = 0;
    this.wanted = [];
    this.sight = new IntersectionObserver((seen) => this.#seen(seen), { rootMargin: "300px" });
  }

  get size() { return this.items.size; }
  get answered() { return this.counts.done + this.counts.failed; }
  get open() { return this.size - this.answered; }
  get canRetry() { return [...this.items.values()].some((item) => item.can_retry); }

  // Takes over the photos that the server drew.
  adopt(batch) {
    this.batch = batch;
    for (const element of this.list.children) {
      const index = Number(element.dataset.index);
      const item = { index, name: text(element, ".name"), state: element.dataset.state, element, file: null, drawn: true };
      item.label = text(element, ".label");
      item.error = item.state === "failed" ? text(element, ".state") : "";
      this.items.set(index, item);
      this.counts[item.state] += 1;
    }
  }

  // What is known of a photo now; makes it when it is new.
  set(index, known) {
    let item = this.items.get(index);
    if (!item) {
      item = { index, name: "", state: "waiting", labels: [], error: "", file: null, element: null };
      this.items.set(index, item);
      this.counts.waiting += 1;
      this.#insert(item);
    }
    this.counts[item.state] -= 1;
    const before = item.state;
    Object.assign(item, known);
    this.counts[item.state] += 1;
    if (known.labels) item.label = whatIsThere(known);
    if (item.element && !(item.drawn && before === item.state)) this.#draw(item);
    this.changed();
    return item;
  }

  clear() {
    for (const item of this.items.values()) forget(item);
    this.sight.disconnect();
    this.items.clear();
    this.fresh = [];
    this.wanted = [];
    for (const state of Object.keys(this.counts)) this.counts[state] = 0;
    this.list.replaceChildren();
    this.changed();
  }

  asText() {
    const sorted = [...this.items.values()].sort((one, other) => one.index - other.index);
    return sorted.filter((item) => item.state === "done" || item.state === "failed")
      .map((item) => `${item.name}, ${item.state === "done" ? item.label : `failed: ${item.error}`}\n`).join("");
  }

  #insert(item) {
    this.fresh.push(item);
    if (this.fresh.length === 1) requestAnimationFrame(() => this.#insertSome());
  }

  // A few hundred a frame: thousands of photos at once must not freeze the page.
  #insertSome() {
    const some = this.fresh.splice(0, INSERT_AT_ONCE);
    const made = document.createDocumentFragment();
    for (const item of some) {
      item.element = this.template.content.firstElementChild.cloneNode(true);
      item.element.dataset.index = item.index;
      this.#draw(item);
      this.sight.observe(item.element);
      made.append(item.element);
    }
    this.list.append(made);
    if (this.fresh.length) requestAnimationFrame(() => this.#insertSome());
  }

  #draw(item) {
    item.drawn = false;
    let element = item.element;
    if (!element.querySelector("details") || !element.querySelector(".state")) {
      const thumb = element.querySelector(".thumb"); // drawn by the server for another state
      element = this.template.content.firstElementChild.cloneNode(true);
      element.dataset.index = item.index;
      element.querySelector(".thumb").replaceWith(thumb);
      item.element.replaceWith(element);
      item.element = element;
    }
    const done = item.state === "done";
    element.className = `photo ${item.state}`;
    element.dataset.state = item.state;
    element.querySelector(".name").textContent = item.name;
    element.querySelector(".name").title = item.name;
    element.querySelector(".comma").hidden = !done;
    element.querySelector(".label").textContent = done ? item.label : "";
    element.querySelector(".state").textContent = item.state === "failed" ? item.error : STATES[item.state] || "";
    element.querySelector(".state").hidden = done;
    element.querySelector(".sure").hidden = !done;
    drawBoxes(element, done ? item.detections || [] : []);
    drawWarnings(element, done ? item.warnings || [] : []);
    if (done) drawLabels(element, item.labels?.length ? item.labels : asLabels(item.detections || []));
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      const item = this.items.get(Number(target.dataset.index));
      this.sight.unobserve(target);
      if (item && item.element === target) this.wanted.push(item);
    }
    this.#decode();
  }

  async #decode() {
    while (this.decoding < DECODE_AT_ONCE && this.wanted.length) {
      const item = this.wanted.shift();
      this.decoding += 1;
      this.#picture(item).finally(() => { this.decoding -= 1; this.#decode(); });
    }
  }

  async #picture(item) {
    const image = item.element.querySelector(".thumb");
    if (item.file) {
      try {
        item.url = await shrink(item.file);
        image.src = item.url;
        return;
      } catch {
        // A format that this browser cannot show: the server's picture comes once it has the photo.
      }
    }
    if (item.state === "waiting" || item.state === "uploading") item.needsPicture = true;
    else this.serverPicture(item);
  }

  serverPicture(item) {
    item.needsPicture = false;
    if (this.batch && item.element) {
      item.element.querySelector(".thumb").src = `/batches/${this.batch}/photos/${item.index}/thumbnail`;
    }
  }
}

function drawLabels(element, labels) {
  element.querySelector(".sure").hidden = !labels.length;
  const share = labels.length ? labels[0].probability : 0;
  element.querySelector("progress").value = share;
  element.querySelector(".percent").textContent = percent(share);
  element.querySelector(".others").replaceChildren(...labels.slice(1).map((label) => {
    const line = document.createElement("li");
    for (const words of [label.name, percent(label.probability)]) {
      line.append(Object.assign(document.createElement("span"), { textContent: words }));
    }
    return line;
  }));
}

const asLabels = (detections) => detections.map(({ name, score }) => ({ name, probability: score }));

function drawWarnings(element, warnings) {
  element.querySelectorAll(".warning").forEach((line) => line.remove());
  element.querySelector(".about").append(...warnings.map((words) =>
    Object.assign(document.createElement("p"), { className: "warning", textContent: words })));
}

// The thumbnail is cut to a square in the middle, and so are the boxes on it.
function drawBoxes(element, detections) {
  element.querySelector(".boxes")?.remove();
  if (!detections.length) return;
  const side = (at) => {
    const furthest = detections.reduce((one, other) => (other.relative_box[at] > one.relative_box[at] ? other : one));
    return Math.round(furthest.box[at] / furthest.relative_box[at]);
  };
  const picture = svg("svg", {
    class: "boxes", viewBox: `0 0 ${side(2)} ${side(3)}`, preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true",
  });
  for (const { box: [left, top, right, bottom] } of detections) {
    picture.append(svg("rect", { x: left, y: top, width: right - left, height: bottom - top }));
  }
  element.querySelector(".thumb").after(picture);
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

async function shrink(file) {
  const picture = await createImageBitmap(file);
  try {
    const side = Math.min(picture.width, picture.height);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = THUMB;
    canvas.getContext("2d").drawImage(
      picture, (picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, THUMB, THUMB);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.8));
    return URL.createObjectURL(blob);
  } finally {
    picture.close();
  }
}

function forget(item) {
  if (item.url) URL.revokeObjectURL(item.url);
}

function text(element, selector) {
  return element.querySelector(selector)?.textContent ?? "";
}
