// The network in its worker, as the page uses it.

// The smallest module with an instruction on 16 bytes at once: i8x16.splat.
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0,
  253, 15, 253, 98, 11]);

// Why this browser cannot run the network; empty if it can.
export function hindrance() {
  if (typeof WebAssembly !== "object") return "it has no WebAssembly";
  if (!WebAssembly.validate(SIMD)) return "its WebAssembly has no SIMD";
  if (typeof Worker !== "function" || typeof createImageBitmap !== "function") return "it is too old";
  return "";
}

// The files that the page names: name -> {address, unpacked}; unpacked in bytes.
export function filesOf(page) {
  return Object.fromEntries([...page.querySelectorAll(".file")].map(({ dataset }) => {
    return [dataset.name, { address: dataset.address, unpacked: Number(dataset.unpacked) }];
  }));
}

export class Network {
  // files: what the worker's `load` takes, and `classes`, but for a head. tell(share) is called while it loads.
  constructor(files, tell) {
    this.files = files;
    this.tell = tell;
    this.asked = new Map();
    this.count = 0;
  }

  // Resolves when it can label; may be called again. Rejects with an error for people.
  load() {
    this.loading ??= this.#load().catch((error) => {
      this.loading = undefined; // the next call tries again
      this.worker?.terminate();
      throw error;
    });
    return this.loading;
  }

  async #load() {
    const classes = this.files.classes && fetch(this.files.classes.address).then((reply) => reply.json());
    const ready = new Promise((done, failed) => {
      this.worker = new Worker("/device/worker.js", { type: "module" });
      this.worker.onmessage = ({ data }) => {
        if (data.kind === "progress") this.tell(data.share);
        else if (data.kind === "ready") done();
        else if (data.id === undefined) failed(new Error(data.why));
        else this.#answer(data);
      };
      this.worker.onerror = (event) => {
        failed(new Error(event.message || "its script cannot be fetched"));
        for (const id of this.asked.keys()) this.#answer({ id, kind: "failed", why: "the network ended" });
      };
    });
    this.worker.postMessage({ kind: "load", files: this.files });
    [this.classes] = await Promise.all([classes, ready]);
    this.ready = true;
  }

  // {labels: [{id, name, readable, share}], milliseconds} of a square picture. Rejects with an error for people.
  async label(pixels, side) {
    const { best, milliseconds } = await this.#ask({ kind: "label", pixels, side });
    const labels = best.map(({ index, share }) => {
      const [id, name, readable] = this.classes[index];
      return { id, name, readable, share };
    });
    return { labels, milliseconds };
  }

  // A head alone: the message with the activation of a square picture, as a blob. point: see packing.js.
  async packed(pixels, side, point) { return (await this.#ask({ kind: "pack", pixels, side, point })).message; }

  async #ask(question) {
    await this.load();
    return new Promise((done, failed) => {
      this.asked.set(this.count, { done, failed });
      this.worker.postMessage({ ...question, id: this.count }, [question.pixels.buffer]);
      this.count += 1;
    });
  }

  #answer(data) {
    const { done, failed } = this.asked.get(data.id);
    this.asked.delete(data.id);
    if (data.kind === "failed") failed(new Error(data.why));
    else done(data);
  }
}
