// The batches sent from this browser or opened in it, which alone keeps the list.

const KEY = "shoal-batches";
const MOST = 20;

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(kept) ? kept.filter(({ id, at }) => /^[0-9a-z]+$/.test(id) && Number.isFinite(at)) : [];
  } catch {
    return []; // no storage here, or somebody else wrote it
  }
}

// line: what the server said of the batch last.
export function remember(id, line) {
  const kept = read();
  const at = kept.find((one) => one.id === id)?.at ?? Date.now();
  write([{ id, at, line }, ...kept.filter((one) => one.id !== id)].sort((one, other) => other.at - one.at));
}

export function forget(id) {
  write(read().filter((one) => one.id !== id));
}

function write(newest) {
  try {
    localStorage.setItem(KEY, JSON.stringify(newest.slice(0, MOST)));
  } catch {
    // a browser that keeps nothing
  }
}

export function show(section) {
  const kept = read();
  const template = section.querySelector("template").content.firstElementChild;
  section.hidden = !kept.length;
  section.querySelector("ul").replaceChildren(...kept.map(({ id, at, line }) => {
    const item = template.cloneNode(true);
    Object.assign(item.querySelector("a"), { href: `/batches/${id}`, textContent: line });
    const time = item.querySelector("time");
    time.dateTime = new Date(at).toISOString();
    time.textContent = new Date(at).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
    return item;
  }));
  section.querySelector("button").addEventListener("click", () => {
    localStorage.removeItem(KEY);
    section.hidden = true;
  });
}
