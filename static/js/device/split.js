// "Split": the head runs here, and the activation goes to its tail in the pool. The photo stays, but can be rebuilt from
// what goes.

import { Network } from "./network.js";
import { follow } from "./pool.js";
import { smaller } from "../smaller.js";
import { Uploader } from "../upload.js";
import { photos, size } from "../words.js";

const SAMPLED = 8; // so many photos are made smaller to tell the size of all
const STATES = { uploading: "Its activation is being sent", queued: "With the tail" };

// Why this browser cannot send activations; empty if it can.
export const hindrance = () => (typeof CompressionStream === "function" ? "" : "it has no CompressionStream");

export class Split {
  // part: the section; its data says what is cut, and where. files: see `filesOf`.
  // tell: {loading(share), labelled(item, label, words), failed(item, why)}
  constructor(part, files, tell) {
    this.part = part;
    this.tell = tell;
    const { tail, side, ...point } = JSON.parse(part.dataset.cut);
    Object.assign(this, { tail, side, point });
    this.network = new Network({ program: files.program, wasm: files.wasm, net: files.head }, tell.loading);
    this.began = false; // whether anything was sent
    this.items = []; // of the batch, in its order
    this.open = new Set(); // those that have no answer
    this.count = this.sent = this.whole = 0; // photos; bytes of their activations, and of themselves
    this.sample = [];
  }

  // Runs the head on a square picture, and has the activation sent. Rejects with an error for people.
  async send(item, pixels) {
    const message = await this.network.packed(pixels, this.side, this.point);
    const uploader = await (this.uploader ??= this.#opened());
    this.began = true;
    this.count += 1;
    this.sent += message.size;
    this.whole += item.file.size;
    if (this.sample.length < SAMPLED) this.sample.push(item.file);
    this.open.add(item);
    const file = new File([message], item.file.name, { type: "application/vnd.shoal.activation" });
    uploader.add([{ item, index: this.items.push(item) - 1, file }]);
    this.following ??= follow(uploader.batch, () => this.closing && !this.open.size, (photo) => this.#answer(photo));
    this.#show();
  }

  // Resolves when each photo that was sent has its label, or failed.
  async answered() {
    this.closing = true;
    if (await this.following === false) for (const item of [...this.open]) this.#fail(item, "its batch was deleted");
    this.items = [];
    this.closing = this.following = this.uploader = undefined; // the next photos have a batch of their own
    if (this.began) this.#show(await this.#resized());
  }

  async #opened() {
    this.part.hidden = false;
    const uploader = new Uploader({
      state: ({ item }, state, why) => {
        if (this.open.has(item)) say(item, why || STATES[state] || state);
      },
      unsent: ({ item }, why) => this.#fail(item, why),
      progress: () => {},
      connection: (good, why) => this.#words("lost", good ? "" : why || "Connection lost, trying again"),
    });
    uploader.model = this.tail;
    uploader.venue = "split";
    const link = this.#at("split-batch");
    link.href = `/batches/${await uploader.open()}`;
    link.hidden = false;
    return uploader;
  }

  #answer(photo) {
    const item = this.items[photo.index];
    if (!this.open.delete(item)) return;
    const label = photo.labels?.[0];
    if (label) this.tell.labelled(item, label.readable, `${Math.round(label.probability * 100)}% sure, by the tail`);
    else this.tell.failed(item, photo.error || photo.state);
  }

  #fail(item, why) {
    if (this.open.delete(item)) this.tell.failed(item, why);
  }

  // Bytes of all photos as smaller copies, from those of some.
  async #resized() {
    const some = await Promise.all(this.sample.map((file) => smaller(file).catch(() => file)));
    const [copies, files] = [some, this.sample].map((all) => all.reduce((sum, one) => sum + one.size, 0));
    return files && (copies / files) * this.whole;
  }

  #show(resized) {
    this.#words("sent", `${size(this.sent)} of ${photos(this.count)}`);
    this.#words("whole", size(this.whole));
    this.#words("resized", resized === undefined ? "…" : `about ${size(Math.round(resized))}`);
  }

  #at(name) { return this.part.querySelector(`#${name}`); }

  #words(name, words) { this.#at(name).textContent = words; }
}

const say = (item, words) => { item.card.querySelector(".state").textContent = words; };
