// Sends photos, a few requests at a time, and tries again while the server is away: large ones straight to the bucket, if
// the server offers that, others in groups. A photo has its index in the batch: sent twice, it writes the same object.

const DIRECT_BYTES = 1024 * 1024; // from here on the two more requests of the direct way are worth it
const DIRECT_TRIES = 4;
const GROUP_PHOTOS = 8;
const GROUP_BYTES = 4 * 1024 * 1024;
const LANES = 3;
// Signed out, too much of one user, or no space: the answer says it, and it may pass.
const TOLD = new Set([401, 429, 507]);
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 8000;

export class Uploader {
  // tell: {state(item, state, error), unsent(item, why), progress(), connection(good, why)}
  constructor(tell) {
    this.tell = tell;
    this.batch = "";
    this.model = ""; // the name of the one to label with; empty for the default
    this.venue = ""; // where; empty for the default
    this.shrink = null; // async: makes the smaller copy of a file that is sent in its place; it may fail
    this.waiting = [];
    this.lanes = 0;
    this.total = 0;
    this.settled = 0;
    this.flying = new Map();
    this.direct = true; // until the server or the way to the bucket says otherwise
  }

  get busy() { return this.lanes > 0 || this.waiting.length > 0; }
  get sentShare() {
    let sent = this.settled;
    for (const loaded of this.flying.values()) sent += loaded;
    return this.total ? Math.min(1, sent / this.total) : 1;
  }

  // Makes the batch; goes on trying until there is one.
  async open() {
    for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      let why = "";
      try {
        const reply = await fetch("/batches", { method: "POST", headers: { Accept: "application/json" } });
        if (reply.ok) {
          this.tell.connection(true);
          this.batch = (await reply.json()).batch;
          return this.batch;
        }
        if (TOLD.has(reply.status)) why = (await reply.json()).error;
      } catch {
        // the server is away
      }
      this.tell.connection(false, why);
      await rest(pause);
    }
  }

  add(items) {
    for (const item of items) this.total += item.file.size;
    this.waiting.push(...items);
    while (this.lanes < LANES && this.lanes < this.waiting.length) this.#lane();
  }

  // Sends no more than what is under way. Returns the photos that are not sent.
  stop() {
    const left = this.waiting.splice(0);
    this.#settle(left);
    return left;
  }

  async #lane() {
    this.lanes += 1;
    while (this.waiting.length) {
      if (this.shrink && !this.waiting[0].ready) {
        await this.#makeSmaller();
        continue; // another lane may have taken them
      }
      const group = this.#group();
      if (this.#isLarge(group[0]) && await this.#sendDirect(group[0])) continue;
      await this.#send(group);
    }
    this.lanes -= 1;
    this.tell.progress();
  }

  // One by one, for they are large when opened. What the browser cannot open is sent whole.
  async #makeSmaller() {
    const items = this.waiting.splice(0, GROUP_PHOTOS);
    for (const item of items) {
      const file = await this.shrink(item.file).catch(() => item.file);
      this.total += file.size - item.file.size;
      item.file = file;
      item.ready = true;
    }
    this.waiting.unshift(...items);
  }

  #group() {
    const group = [this.waiting.shift()];
    let size = group[0].file.size;
    if (this.#isLarge(group[0])) return group;
    while (this.waiting.length && group.length < GROUP_PHOTOS) {
      const next = this.waiting[0];
      // The server counts on from the first index of a group.
      if (size + next.file.size > GROUP_BYTES || next.index !== group[group.length - 1].index + 1) break;
      if (this.#isLarge(next) || (this.shrink && !next.ready)) break;
      size += next.file.size;
      group.push(this.waiting.shift());
    }
    return group;
  }

  #isLarge(item) { return this.direct && !this.venue && item.file.size >= DIRECT_BYTES; }

  // Straight to the bucket. False when it has to go through the server after all.
  async #sendDirect(item) {
    this.tell.state(item, "uploading");
    for (let pause = FIRST_PAUSE, tries = 0; tries < DIRECT_TRIES && this.direct; pause *= 2, tries += 1) {
      const offered = await this.#ask("/v1/uploads", { batch: this.batch, ...this.#named(item) });
      if (offered.status >= 400 && offered.status < 500) this.direct = false;
      const sent = offered.status === 201 ? await this.#put(item, offered.reply.uploads[0]) : 0;
      if (sent >= 200 && sent < 300) return this.#confirm(item);
      if (sent === 0 && offered.status === 201 && await this.#unreadable([item])) return true;
      if (offered.status === 201 && !this.arrived && tries > 0) this.direct = false; // the bucket cannot be reached
      if (this.direct) await rest(pause);
    }
    return false;
  }

  async #confirm(item) {
    this.arrived = true;
    for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      const { status, reply } = await this.#ask(`/v1/batches/${this.batch}/photos/confirm`, this.#named(item));
      const taken = reply?.photos?.[0];
      if (taken?.status === "missing" || (status >= 400 && status < 500)) return false;
      if (taken) {
        this.tell.connection(true);
        this.#settle([item]);
        this.tell.state(item, taken.status === "failed" ? "failed" : "queued", taken.error);
        return true;
      }
      this.tell.connection(false);
      await rest(pause);
    }
  }

  #named(item) {
    return { photos: [{ index: item.index, name: item.file.name }], ...(this.model && { model: this.model }) };
  }

  async #ask(path, body) {
    try {
      const headers = { "Content-Type": "application/json" };
      const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
      return { status: answer.status, reply: await answer.json() };
    } catch {
      return { status: 0, reply: null }; // the server is away
    }
  }

  async #put(item, { url, fields }) {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("Content-Type", item.file.type.startsWith("image/") ? item.file.type : "image/unknown");
    form.append("file", item.file);
    return (await this.#transfer(url, form, item.file.size)).status;
  }

  async #send(group) {
    for (const item of group) this.tell.state(item, "uploading");
    for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      const { status, reply } = await this.#post(group);
      if (status === 200 && Array.isArray(reply)) {
        this.tell.connection(true);
        this.#settle(group);
        for (const taken of reply) {
          const item = group[taken.index - group[0].index];
          if (item) this.tell.state(item, taken.status === "failed" ? "failed" : "queued", taken.error);
        }
        return;
      }
      if (status >= 400 && status < 500 && status !== 408 && !TOLD.has(status)) {
        this.#refuse(group, reply?.error || `refused by the server (${status})`);
        return;
      }
      if (status === 0 && await this.#unreadable(group)) return;
      const full = TOLD.has(status) ? reply?.error : "";
      if (full) for (const item of group) this.tell.state(item, "waiting", full);
      this.tell.connection(false, full);
      await rest(pause * (0.8 + 0.4 * Math.random()));
    }
  }

  // A photo that was moved or changed since it was chosen is given up; the others are sent.
  async #unreadable(group) {
    const gone = [];
    for (const item of group) {
      try {
        await item.file.slice(0, 1).arrayBuffer();
      } catch {
        gone.push(item);
      }
    }
    if (!gone.length) return false;
    this.#refuse(gone, "the file cannot be read any more: choose it again");
    this.waiting.unshift(...group.filter((item) => !gone.includes(item)));
    return true;
  }

  #refuse(items, error) {
    this.#settle(items);
    for (const item of items) this.tell.unsent(item, error);
  }

  #settle(items) {
    for (const item of items) this.settled += item.file.size;
    this.tell.progress();
  }

  #post(group) {
    const form = new FormData();
    for (const item of group) form.append("inputFile", item.file, item.file.name);
    const size = group.reduce((sum, item) => sum + item.file.size, 0);
    const query = `first=${group[0].index}&model=${encodeURIComponent(this.model)}&venue=${this.venue}`;
    return this.#transfer(`/batches/${this.batch}/photos?${query}`, form, size, "json");
  }

  #transfer(address, form, size, kind = "") {
    return new Promise((done) => {
      const call = new XMLHttpRequest(); // fetch does not tell how much of a body was sent
      call.open("POST", address);
      if (kind) call.setRequestHeader("Accept", "application/json");
      call.responseType = kind;
      call.timeout = 120000 + size / 10;
      call.upload.onprogress = (sent) => {
        this.flying.set(call, Math.min(sent.loaded, size));
        this.tell.progress();
      };
      call.onloadend = () => {
        this.flying.delete(call);
        done({ status: call.status, reply: call.response });
      };
      call.send(form);
    });
  }
}

function rest(milliseconds) {
  return new Promise((done) => { setTimeout(done, milliseconds); });
}
