// One photo on the page: puts the server's words in place, as templates/_photo.html does.

const BEFORE_THE_SERVER = { waiting: "Ready", uploading: "Uploading" };
const OPEN_WITHIN = 30000; // milliseconds

// The server leaves empty fields out.
const EMPTY = {
  message: "", label: "", correction: "", warnings: [], best: null, boxes: [], line: "", can_retry: false, large: false,
};
const TAIL = 12; // letters of a name that are always shown
export const whole = (card) => ({ ...EMPTY, ...card });

export function newCard(item, template) {
  const element = template.content.firstElementChild.cloneNode(true);
  element.dataset.index = item.index;
  element.id = `photo-${item.index}`;
  return element;
}

// What the server wrote into a photo's element.
export const readCard = (element) => whole(JSON.parse(element.dataset.card));

export function drawCard(element, item) {
  const done = item.state === "done";
  const at = (selector) => element.querySelector(selector);
  element.className = `photo ${item.state}`;
  element.dataset.state = item.state;
  at(".line").hidden = !done;
  at(".label").textContent = done ? item.label : "";
  drawName(at(".name"), item.name);
  drawLink(at(".open"), item);
  at(".state").textContent = (item.state === "waiting" && item.why) || (BEFORE_THE_SERVER[item.state] ?? item.message);
  at(".state").hidden = done;
  drawCorrection(element, item);
  drawBoxes(element, done ? item.boxes : [], item.size);
  drawWarnings(element, done ? item.warnings : []);
  if (!done) at(".sure")?.remove();
}

// A long name is cut in its middle: the head shrinks, the tail stays.
function drawName(element, name) {
  const letters = [...name];
  element.title = name;
  element.querySelector(".head").textContent = letters.slice(0, -TAIL).join("");
  element.querySelector(".tail").textContent = letters.slice(-TAIL).join("");
}

function drawLink(link, { index, name, file, large, state }) {
  if (large || (file && state !== "cancelled")) {
    link.href = `#photo-${index}`;
    link.setAttribute("aria-label", `Show ${name} large`);
  } else {
    link.removeAttribute("href");
    link.removeAttribute("aria-label");
  }
}

// The share of a labelled photo, which opens. Drawn when it is in sight: thousands would make the page slow.
export function drawSure(element, { best }, template) {
  let details = element.querySelector(".sure");
  if (!details) {
    details = template.content.firstElementChild.cloneNode(true);
    element.querySelector(".state").after(details);
  }
  const [bar, percent, words] = details.querySelector("summary").children;
  bar.hidden = percent.hidden = !best;
  bar.value = best?.share ?? 0;
  percent.textContent = best?.percent ?? "";
  words.className = best ? "unseen" : "what";
}

export function drawCorrection(element, { correction = "" }) {
  let line = element.querySelector(".corrected");
  if (!line && correction) {
    line = Object.assign(document.createElement("p"), { className: "corrected", textContent: "Corrected: " });
    line.append(document.createElement("b"));
    element.querySelector(".name").after(line);
  }
  if (line) {
    line.hidden = !correction;
    line.querySelector("b").textContent = correction;
  }
  const form = element.querySelector(".wrong");
  if (form) form.elements.drop.hidden = !correction;
}

// What an opened photo shows comes from the server: for thousands it would make the page slow.
export function showMore(details, address, template) {
  if (details.querySelector(".more")) return;
  const drawn = details.querySelector("noscript");
  if (drawn) {
    drawn.outerHTML = drawn.textContent;
    return;
  }
  const more = template.content.firstElementChild.cloneNode(true);
  more.querySelector("button").addEventListener("click", () => {
    details.querySelector("summary").focus();
    fill(more, address);
  });
  details.append(more);
  fill(more, address);
}

async function fill(more, address) {
  const [loading, failed, again] = more.children;
  const tell = (fails) => {
    loading.hidden = fails;
    failed.hidden = again.hidden = !fails;
  };
  tell(false);
  try {
    const reply = await fetch(address, { signal: AbortSignal.timeout(OPEN_WITHIN) });
    if (!reply.ok) throw new Error(reply.statusText);
    more.outerHTML = await reply.text();
  } catch {
    tell(true);
  }
}

function drawWarnings(element, warnings) {
  element.querySelectorAll(".warning").forEach((line) => line.remove());
  element.querySelector(".about").append(...warnings.map((words) =>
    Object.assign(document.createElement("p"), { className: "warning", textContent: words })));
}

// The thumbnail is cut to a square in the middle, and so are the boxes on it.
function drawBoxes(element, boxes, size) {
  element.querySelector(".boxes")?.remove();
  if (!boxes.length) return;
  const picture = svg("svg", {
    class: "boxes", viewBox: `0 0 ${size[0]} ${size[1]}`, preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true",
  });
  for (const { at: [left, top, right, bottom] } of boxes) {
    picture.append(svg("rect", { x: left, y: top, width: right - left, height: bottom - top }));
  }
  element.querySelector(".thumb").after(picture);
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
