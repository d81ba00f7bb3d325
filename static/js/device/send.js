// "Only what is unsure": the photos below a confidence are sent to the pool; what that means for those at hand is shown.

import { follow } from "./pool.js";
import { smaller } from "../smaller.js";
import { Uploader } from "../upload.js";
import { number, photos, size } from "../words.js";

const SAMPLED = 8; // so many photos are made smaller to tell the size of all
const WORDS = { uploading: "Being sent", queued: "In the pool" };

export class Sending {
  // part: the section; its data says what was learned at preparation. leaving() is called before the first is sent.
  constructor(part, leaving) {
    this.part = part;
    this.leaving = leaving;
    this.began = false; // whether anything was sent
    this.steps = JSON.parse(part.dataset.steps);
    this.results = [];
    this.sent = new Set();
    for (const name of ["threshold", "smaller"]) this.#at(name).addEventListener("input", () => this.show());
    this.#at("go").addEventListener("click", () => this.#send());
  }

  // results: [{file, card, share}] of the photos that have a label.
  add(results) {
    this.results.push(...results);
    this.part.hidden = !this.results.length;
    this.show();
  }

  async show() {
    const least = Number(this.#at("threshold").value) / 100;
    const going = this.#going();
    const staying = this.results.filter((one) => one.share >= least && !this.sent.has(one));
    const agreeing = staying.reduce((sum, one) => sum + this.#agreement(one.share), 0);
    const others = this.results.length - staying.length;
    this.#tell("share", `${Math.round(least * 100)}%`);
    this.#tell("stay", `${number(staying.length)} of ${number(this.results.length)}`);
    this.#tell("agreement", `${Math.round(((agreeing + others) / this.results.length) * 100)}%`);
    this.#tell("go", going.length ? `Send ${photos(going.length)}` : "Nothing to send");
    this.#at("go").disabled = !going.length || this.busy;
    const turn = this.turn = (this.turn ?? 0) + 1;
    const [bytes, price] = await Promise.all([this.#bytes(going), priceOf(going.length)]);
    if (turn !== this.turn) return; // the slider was moved meanwhile
    this.#tell("bytes", bytes);
    this.#tell("price", price);
  }

  #at(name) { return this.part.querySelector(`#${name}`); }

  #tell(name, words) { this.#at(name).textContent = words; }

  #going() {
    const least = Number(this.#at("threshold").value) / 100;
    return this.results.filter((one) => one.share < least && !this.sent.has(one));
  }

  // The share of the photos with such a confidence whose label is that of the pool's model.
  #agreement(share) { return this.steps.findLast(([from]) => share >= from)[1]; }

  async #bytes(going) {
    if (!this.#at("smaller").checked) return size(going.reduce((sum, one) => sum + one.file.size, 0));
    const some = await Promise.all(going.slice(0, SAMPLED).map(({ file }) => smaller(file).catch(() => file)));
    const sum = some.reduce((whole, one) => whole + one.size, 0);
    return `${going.length > SAMPLED ? "about " : ""}${size(Math.round((sum / (some.length || 1)) * going.length))}`;
  }

  async #send() {
    const going = this.#going();
    const shrink = this.#at("smaller").checked;
    this.busy = this.began = true;
    this.leaving();
    this.show();
    for (const one of going) this.sent.add(one);
    const unsent = new Map();
    const uploader = new Uploader({
      state: ({ one }, state, error) => say(one, error || WORDS[state] || state),
      unsent: (item, why) => unsent.set(item.one, why),
      progress: () => {},
      connection: (good, why) => this.#tell("told", good ? "" : why || "Connection lost, trying again"),
    });
    const batch = await uploader.open();
    const link = this.#at("batch");
    link.href = `/batches/${batch}`;
    link.hidden = false;
    uploader.shrink = shrink ? smaller : null;
    uploader.add(going.map((one, index) => ({ one, index, file: one.file })));
    await this.#follow(batch, going, unsent);
    for (const [one, why] of unsent) {
      say(one, why);
      this.sent.delete(one); // it can be sent again
    }
    this.busy = false;
    this.show();
  }

  // Shows the pool's labels as they come.
  #follow(batch, going, unsent) {
    const open = new Set(going);
    return follow(batch, () => open.size <= unsent.size, (found) => {
      const one = going[found.index];
      if (!open.delete(one)) return;
      const label = found.labels?.[0];
      if (label) one.card.querySelector(".label").textContent = label.readable;
      say(one, label ? `${Math.round(label.probability * 100)}% sure, by the pool` : found.error || found.state);
    });
  }
}

const say = (one, words) => { one.card.querySelector(".state").textContent = words; };

async function priceOf(count) {
  if (!count) return "nothing";
  const reply = await fetch(`/estimate?photos=${count}`).catch(() => null);
  return reply?.ok ? (await reply.json()).words : "unknown";
}
