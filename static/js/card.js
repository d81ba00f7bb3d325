// One photo on the page: puts the server's words in their places, as templates/_photo.html does.

import { drawTimes, svg } from "./timeline.js";

const BEFORE_THE_SERVER = { waiting: "Ready", uploading: "Uploading" };

export function newCard(item, template) {
  const element = template.content.firstElementChild.cloneNode(true);
  element.dataset.index = item.index;
  element.id = `photo-${item.index}`;
  return element;
}

// What the server wrote into a photo's element.
export function readCard(element) {
  const text = (selector) => element.querySelector(selector)?.textContent ?? "";
  const { index, state, find } = element.dataset;
  return { index: Number(index), state, name: text(".name"), label: text(".label"), told: text(".state"), ...JSON.parse(find) };
}

export function drawCard(element, item) {
  const done = item.state === "done";
  const at = (selector) => element.querySelector(selector);
  element.className = `photo ${item.state}`;
  element.dataset.state = item.state;
  at(".name").textContent = item.name;
  at(".name").title = item.name;
  at(".comma").hidden = !done;
  at(".label").textContent = done ? item.label : "";
  at(".state").textContent = (item.state === "waiting" && item.why) || (BEFORE_THE_SERVER[item.state] ?? item.told);
  at(".state").hidden = done;
  at(".sure").hidden = !done;
  at(".more")?.remove();
  drawCorrection(element, item);
  drawBoxes(element, done ? item.boxes : [], item.size);
  drawWarnings(element, done ? item.warnings : []);
  if (done) drawSure(element, item.best);
}

export function drawCorrection(element, { correction = "" }) {
  let line = element.querySelector(".corrected");
  if (!line && correction) {
    line = Object.assign(document.createElement("p"), { className: "corrected", textContent: "Corrected: " });
    line.append(document.createElement("b"));
    element.querySelector(".line").after(line);
  }
  if (line) {
    line.hidden = !correction;
    line.querySelector("b").textContent = correction;
  }
  const form = element.querySelector(".wrong");
  if (form) form.elements.drop.hidden = !correction;
}

// What is seen of a photo once it is opened: made then, for thousands would make the page slow.
export function drawMore(element, item, batch, template) {
  const details = element.querySelector(".sure");
  if (details.querySelector(".more")) return;
  const more = Object.assign(document.createElement("div"), { className: "more" });
  const others = Object.assign(document.createElement("ol"), { className: "others" });
  others.append(...item.others.map((pair) => {
    const line = document.createElement("li");
    for (const words of pair) line.append(Object.assign(document.createElement("span"), { textContent: words }));
    return line;
  }));
  more.append(others, ...(item.times.length ? drawTimes(item.times) : []), drawWrong(item, batch, template));
  details.append(more);
}

function drawWrong(item, batch, template) {
  const form = template.content.firstElementChild.cloneNode(true);
  const { label, drop } = form.elements;
  form.action = `/batches/${batch}/photos/${item.index}/correction`;
  label.value = item.correction || "";
  drop.hidden = !item.correction;
  label.id = form.querySelector("label").htmlFor = `right-${item.index}`;
  form.querySelector("datalist").id = `guesses-${item.index}`;
  label.setAttribute("list", `guesses-${item.index}`);
  form.querySelector("datalist").append(...item.others.map(([name]) =>
    Object.assign(document.createElement("option"), { value: name })));
  return form;
}

function drawSure(element, best) {
  const known = best !== null;
  const [bar, words] = [element.querySelector(".sure progress"), element.querySelector(".percent")];
  bar.hidden = words.hidden = !known;
  bar.value = best?.share ?? 0;
  words.textContent = best?.told ?? "";
  words.nextElementSibling.className = known ? "unseen" : "what";
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
  for (const [left, top, right, bottom] of boxes) {
    picture.append(svg("rect", { x: left, y: top, width: right - left, height: bottom - top }));
  }
  element.querySelector(".thumb").after(picture);
}
