// The batches sent from this browser or opened in it, which alone keeps the list.

const KEY = "shoal-batches";
const MOST = 20;
const LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"; // of an id: its first nine say when the batch was made

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(kept) ? kept.filter(({ id }) => /^[0-9a-z]{20}$/.test(id)) : [];
  } catch {
    return []; // no storage here, or somebody else wrote it
  }
}

// line: what the server said of the batch last.
export function remember(id, line) {
  write([{ id, line }, ...read().filter((one) => one.id !== id)].sort((one, other) => (one.id < other.id ? 1 : -1)));
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

const made = (id) => new Date([...id.slice(0, 9)].reduce((sum, one) => sum * 32 + LETTERS.indexOf(one), 0));

export function show(section) {
  const kept = read();
  const template = section.querySelector("template").content.firstElementChild;
  section.hidden = !kept.length;
  section.querySelector("ul").replaceChildren(...kept.map(({ id, line }) => {
    const item = template.cloneNode(true);
    Object.assign(item.querySelector("a"), { href: `/batches/${id}`, textContent: line });
    const time = item.querySelector("time");
    time.dateTime = made(id).toISOString();
    time.textContent = made(id).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
    return item;
  }));
  section.querySelector("button").addEventListener("click", () => {
    localStorage.removeItem(KEY);
    section.hidden = true;
  });
}
