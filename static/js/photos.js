// The photos: what is known of each, and its element on the page (templates/_photo.html draws the same).

import { drawCard, drawCorrection, drawSure, newCard, readCard, showMore, whole } from "./card.js";

const INSERT_WITHIN = 50; // milliseconds of a frame
const DECODE_AT_ONCE = 3;
const THUMB = 168; // twice the size on the page, for sharp screens

export class PhotoList {
  // finder: which photos are shown. changed(): something is known that was not.
  constructor(list, templates, finder, changed) {
    this.list = list;
    this.templates = templates;
    this.finder = finder;
    this.changed = changed;
    this.items = new Map();
    this.counts = { waiting: 0, uploading: 0, queued: 0, done: 0, failed: 0, cancelled: 0 };
    this.batch = "";
    this.fresh = new Set(); // to be put on the page, in this order
    this.stale = new Set(); // to be drawn anew
    this.inserting = 0; // the frame that is asked for, to do that
    this.redrawn = () => {}; // told of each photo that is drawn anew
    this.held = false; // new photos wait for arrange()
    this.decoding = 0;
    this.wanted = [];
    this.sight = new IntersectionObserver((seen) => this.#seen(seen), { rootMargin: "300px" });
    list.addEventListener("click", (event) => this.#more(event.target.closest("summary")?.parentElement)); // before it opens
    list.addEventListener("toggle", ({ target }) => { if (target.open) this.#more(target); }, true); // found in the page
    list.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#correct(event.target, event.submitter?.name === "drop");
    });
  }

  get size() { return this.items.size; }
  get answered() { return this.counts.done + this.counts.failed + this.counts.cancelled; }
  get open() { return this.size - this.answered; }
  get unsent() { return this.#unsent("failed") + this.#unsent("cancelled"); }
  get unsentFailed() { return this.#unsent("failed"); }
  get unsentCancelled() { return this.#unsent("cancelled"); }
  #unsent(state) { return [...this.items.values()].filter((item) => item.unsent && item.state === state).length; }
  get canRetry() { return [...this.items.values()].some((item) => item.can_retry); }

  // Takes over the photos that the server drew.
  adopt(batch) {
    this.batch = batch;
    for (const element of this.list.children) {
      const item = { ...readCard(element), element, file: null, drawn: true, seen: true };
      this.items.set(item.index, item);
      this.counts[item.state] += 1;
    }
  }

  // What is known of a photo now; makes it when it is new.
  set(index, known) {
    let item = this.items.get(index);
    if (!item) {
      item = { index, name: "", state: "waiting", message: "", file: null, element: null };
      this.items.set(index, item);
      this.counts.waiting += 1;
    }
    this.counts[item.state] -= 1;
    const before = item.state;
    Object.assign(item, known);
    this.counts[item.state] += 1;
    if (item.element && !(item.drawn && before === item.state)) this.stale.add(item);
    if (!this.held && !item.element?.isConnected && this.finder.fits(item)) this.#insert(item);
    this.changed();
    return item;
  }

  clear() {
    for (const item of this.items.values()) forget(item);
    this.sight.disconnect();
    this.items.clear();
    this.fresh.clear();
    this.stale.clear();
    this.wanted = [];
    for (const state of Object.keys(this.counts)) this.counts[state] = 0;
    this.list.replaceChildren();
    this.changed();
  }

  // Shows what became known since the last time. All at once, for each change costs a layout of the whole page.
  draw() {
    for (const item of this.stale) this.#draw(item);
  }

  // Shows what the finder finds, in its order.
  arrange() {
    this.fresh = new Set(this.finder.found([...this.items.values()]));
    this.list.replaceChildren();
    cancelAnimationFrame(this.inserting);
    this.#insertSome();
  }

  get found() { return [...this.items.values()].filter((item) => this.finder.fits(item)).length; }

  asText() {
    const sorted = [...this.items.values()].sort((one, other) => one.index - other.index);
    return sorted.filter((item) => item.line).map((item) => `${item.line}\n`).join("");
  }

  #insert(item) {
    this.fresh.add(item);
    this.inserting ||= requestAnimationFrame(() => this.#insertSome());
  }

  // As many as a frame has time for: thousands at once would stop the page.
  #insertSome() {
    const until = performance.now() + INSERT_WITHIN;
    const made = document.createDocumentFragment();
    for (const item of this.fresh) {
      if (performance.now() > until) break;
      this.fresh.delete(item);
      if (!item.element) this.#make(item);
      if (this.finder.fits(item)) made.append(item.element);
    }
    this.list.append(made);
    this.inserting = this.fresh.size ? requestAnimationFrame(() => this.#insertSome()) : 0;
  }

  #make(item) {
    item.element = newCard(item, this.templates.photo);
    this.#draw(item);
    this.sight.observe(item.element);
  }

  #draw(item) {
    this.stale.delete(item);
    item.drawn = false;
    let element = item.element;
    if (!element.querySelector(".state") || !element.querySelector(".label")) {
      const thumb = element.querySelector(".thumb"); // drawn by the server for another state
      element = newCard(item, this.templates.photo);
      element.querySelector(".thumb").replaceWith(thumb);
      item.element.replaceWith(element);
      item.element = element;
    }
    drawCard(element, item);
    this.redrawn(item);
    if (item.seen && item.state === "done") drawSure(element, item, this.templates.sure);
  }

  #more(details) {
    if (!details) return;
    const { index } = details.closest(".photo").dataset;
    showMore(details, `/batches/${this.batch}/photos/${index}/more`, this.templates.opening);
  }

  async #correct(form, drop) {
    const item = this.items.get(Number(form.closest(".photo").dataset.index));
    const answer = form.querySelector(".answer");
    const body = new URLSearchParams(drop ? { drop: "1" } : { label: form.elements.label.value });
    try {
      const reply = await fetch(form.action, { method: "POST", headers: { Accept: "application/json" }, body });
      const { card, error } = await reply.json();
      answer.textContent = error ?? (drop ? "Taken back." : "Kept for a later training.");
      if (error) return;
      Object.assign(item, whole(card));
      form.elements.label.value = item.correction;
      drawCorrection(item.element, item);
    } catch {
      answer.textContent = "The server does not answer. Try again.";
    }
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      const item = this.items.get(Number(target.dataset.index));
      this.sight.unobserve(target);
      if (!item || item.element !== target) continue;
      item.seen = true;
      if (item.state === "done") drawSure(target, item, this.templates.sure);
      this.wanted.push(item);
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
    if (canShow(item.file)) {
      try {
        item.url = await shrink(item.file);
        image.src = item.url;
        return;
      } catch {
        // The browser cannot show this format: the server can once it has the photo.
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

// Browsers take the unused fourth byte of a BMP's pixels for transparency.
export const canShow = (file) => file && file.type !== "image/bmp";

async function shrink(file) {
  const picture = await createImageBitmap(file);
  try {
    const side = Math.min(picture.width, picture.height);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = THUMB;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff"; // transparency is white, as in the server's picture
    pen.fillRect(0, 0, THUMB, THUMB);
    pen.drawImage(
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
