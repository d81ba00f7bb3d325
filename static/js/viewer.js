// Shows one photo large. Arrow keys and swipes go to the others; two fingers, the wheel, + and - enlarge.

import { canShow } from "./photos.js";
import { fill, number } from "./words.js";

const LARGEST = 8; // times
const SWIPE = 50; // pixels
const STEP = { ArrowLeft: -1, ArrowRight: 1 };
const ZOOM = { "+": 1.5, "-": 1 / 1.5, 0: 0 };

export class Viewer {
  // list: the PhotoList, whose order counts.
  constructor(dialog, list) {
    this.dialog = dialog;
    this.list = list;
    this.item = null;
    this.fingers = new Map(); // pointer -> where it is
    const at = (selector) => dialog.querySelector(selector);
    Object.assign(this, { at, stage: at(".stage"), sheet: at(".sheet"), image: at("img") });
    list.redrawn = (item) => { if (item === this.item) this.#describe(); };
    list.list.addEventListener("click", (event) => this.#clicked(event));
    dialog.addEventListener("close", () => this.#closed());
    dialog.addEventListener("keydown", (event) => this.#pressed(event));
    dialog.addEventListener("click", ({ target }) => {
      if (target.closest("[data-close]")) dialog.close();
      this.#go(Number(target.closest("[data-step]")?.dataset.step ?? 0));
    });
    this.image.addEventListener("load", () => this.#fit());
    this.image.addEventListener("error", () => this.#failed());
    addEventListener("resize", () => { if (dialog.open) this.#fit(); });
    this.#takeFingers();
  }

  #clicked(event) {
    const link = event.target.closest("a.open[href]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.#show(link.closest(".photo"));
    this.dialog.showModal();
    this.at("[data-close]").focus();
  }

  #closed() {
    this.image.removeAttribute("src");
    this.#forget();
    const link = this.item?.element.querySelector(".open");
    this.item = null;
    link?.focus();
    link?.scrollIntoView({ block: "nearest" });
  }

  #forget() {
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = "";
  }

  get #cards() { return [...this.list.list.children].filter((card) => card.querySelector("a.open[href]")); }

  #go(step) {
    const cards = this.#cards;
    const next = cards[cards.indexOf(this.item?.element) + step];
    if (step && next) this.#show(next);
  }

  #show(card) {
    this.item = this.list.items.get(Number(card.dataset.index));
    this.#forget();
    this.at(".trouble").hidden = true;
    this.sheet.hidden = true;
    if (canShow(this.item.file)) this.address = URL.createObjectURL(this.item.file);
    this.image.src = this.address || this.#onServer(this.item);
    this.#describe();
    const cards = this.#cards;
    const place = cards.indexOf(card);
    this.at(".position").textContent = fill(this.at(".position").dataset.words, number(place + 1), number(cards.length));
    for (const button of this.dialog.querySelectorAll("[data-step]")) {
      const next = cards[place + Number(button.dataset.step)];
      button.setAttribute("aria-disabled", String(!next)); // a disabled button would lose the focus
      const item = next && this.list.items.get(Number(next.dataset.index));
      if (item && !item.file) new Image().src = this.#onServer(item);
    }
  }

  #onServer({ index }) { return `/batches/${this.list.batch}/photos/${index}/picture`; }

  // The browser cannot show this format: the server can.
  #failed() {
    if (this.address && this.item?.large) {
      this.#forget();
      this.image.src = this.#onServer(this.item);
    } else if (this.item) this.at(".trouble").hidden = false;
  }

  #describe() {
    const { name, label, best, boxes, size, state, message } = this.item;
    const done = state === "done";
    this.at(".label").textContent = done ? label : message || name;
    this.at(".percent").textContent = (done && best?.percent) || "";
    this.at(".file").textContent = name;
    this.image.alt = done ? label : name;
    this.at(".marks").replaceChildren(...(done ? boxes : []).map(({ at, words }) => mark(at, size, words)));
    if (!this.sheet.hidden) this.#spread();
  }

  // Words that would lie over others go below them, those of the highest box first.
  #spread() {
    const words = [...this.at(".marks").querySelectorAll("span")];
    for (const one of words) one.style.marginTop = "";
    const seen = words.map((one) => [one, one.getBoundingClientRect()]).sort((one, other) => one[1].top - other[1].top);
    const placed = [];
    for (const [one, { left, right, top, height }] of seen) {
      let place = top;
      const covers = (it) => left < it.right && it.left < right && place < it.bottom && it.top < place + height;
      for (let it = placed.find(covers); it; it = placed.find(covers)) place = it.bottom;
      placed.push({ left, right, top: place, bottom: place + height });
      one.style.marginTop = `${(place - top) / this.zoom}px`;
    }
  }

  // As large as the stage; small pictures three times at most.
  #fit() {
    this.sheet.hidden = false;
    const { naturalWidth: width, naturalHeight: height } = this.image;
    const scale = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height, 3);
    this.sheet.style.width = `${width * scale}px`;
    this.sheet.style.height = `${height * scale}px`;
    this.#move(1, 0, 0);
    this.#spread();
  }

  #move(zoom, x, y) {
    this.zoom = zoom;
    const within = (value, size) => clamp(value, (-size * (zoom - 1)) / 2, (size * (zoom - 1)) / 2);
    this.x = within(x, this.sheet.offsetWidth);
    this.y = within(y, this.sheet.offsetHeight);
    this.sheet.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    this.sheet.style.setProperty("--zoom", this.zoom);
  }

  // The point under (x, y) stays where it is.
  #enlarge(factor, x, y) {
    const stage = this.stage.getBoundingClientRect();
    const [fromX, fromY] = [x - stage.left - stage.width / 2, y - stage.top - stage.height / 2];
    const zoom = clamp(this.zoom * factor, 1, LARGEST);
    const grown = zoom / this.zoom;
    this.#move(zoom, fromX - (fromX - this.x) * grown, fromY - (fromY - this.y) * grown);
    this.#spread();
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in STEP) this.#go(STEP[event.key]);
    else if (event.key in ZOOM) {
      const { left, top, width, height } = this.stage.getBoundingClientRect();
      this.#enlarge(ZOOM[event.key], left + width / 2, top + height / 2);
    } else return;
    event.preventDefault();
  }

  #takeFingers() {
    const { stage, fingers } = this;
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, event);
      this.from = fingers.size === 1 ? event : null; // where a swipe began
      event.preventDefault();
    });
    stage.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const other = [...fingers.entries()].find(([id]) => id !== event.pointerId)?.[1];
      if (other) {
        const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
        this.#enlarge(apart(event) / apart(before), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
      } else if (this.zoom > 1) {
        this.#move(this.zoom, this.x + event.clientX - before.clientX, this.y + event.clientY - before.clientY);
      }
      fingers.set(event.pointerId, event);
    });
    const lift = (event) => {
      fingers.delete(event.pointerId);
      if (event.type === "pointerup" && this.from && this.zoom === 1) {
        const [x, y] = [event.clientX - this.from.clientX, event.clientY - this.from.clientY];
        if (Math.abs(x) > SWIPE && Math.abs(x) > Math.abs(y)) this.#go(x < 0 ? 1 : -1);
      }
      this.from = null;
    };
    stage.addEventListener("pointerup", lift);
    stage.addEventListener("pointercancel", lift);
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#enlarge(Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
    }, { passive: false });
  }
}

const clamp = (value, least, most) => Math.max(least, Math.min(most, value));

// Where an object is, in parts of the picture.
function mark([left, top, right, bottom], [width, height], words) {
  // The words of a box at the right are ended by it: they would be cut off by the edge of a phone.
  const made = Object.assign(document.createElement("div"), { className: left + right > width ? "mark last" : "mark" });
  const inset = [top / height, 1 - right / width, 1 - bottom / height, left / width];
  made.style.inset = inset.map((part) => `${100 * part}%`).join(" ");
  made.append(Object.assign(document.createElement("span"), { textContent: words }));
  return made;
}
