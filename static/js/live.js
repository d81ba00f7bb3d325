// A batch's stream of events. When it breaks it is opened again: its first event brings all up to date.

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 8000;

export class Live {
  // tell: {photos(list), pool(state), status({line, hindrance, total}), done({total, cost}), connection(good)}
  constructor(batch, uploading, tell) {
    this.address = `/batches/${batch}/events${uploading ? "?uploading=1" : ""}`;
    this.tell = tell;
    this.pause = FIRST_PAUSE;
    this.closed = false;
    this.#open();
  }

  close() {
    this.closed = true;
    this.source.close();
    clearTimeout(this.timer);
  }

  #open() {
    const source = new EventSource(this.address);
    this.source = source;
    const on = (name, action) => source.addEventListener(name, (event) => action(JSON.parse(event.data)));
    on("snapshot", ({ photos }) => {
      this.pause = FIRST_PAUSE;
      this.tell.connection(true);
      this.tell.photos(photos);
    });
    on("results", (list) => this.tell.photos(list));
    for (const name of ["photos", "pool", "status", "done"]) on(name, (told) => this.tell[name](told));
    source.onerror = () => this.#again();
  }

  #again() {
    this.source.close();
    if (this.closed) return;
    this.tell.connection(false);
    this.timer = setTimeout(() => this.#open(), this.pause);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
  }
}
