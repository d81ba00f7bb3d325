// One photo on the page; templates/_photo.html draws the same.

import { drawTimes } from "./timeline.js";
import { percent, svg } from "./words.js";

const STATES = { waiting: "Ready", uploading: "Uploading", queued: "Queued" };

export function newCard(item, template) {
  const element = template.content.firstElementChild.cloneNode(true);
  element.dataset.index = item.index;
  element.id = `photo-${item.index}`;
  return element;
}

// What the server wrote into a photo's element.
export function readCard(element) {
  const text = (selector) => element.querySelector(selector)?.textContent ?? "";
  const bar = element.querySelector("progress:not([hidden])");
  const state = element.dataset.state;
  return {
    index: Number(element.dataset.index), name: text(".name"), state, label: text(".label"),
    error: state === "failed" ? text(".state") : "", correction: text(".corrected b"), sure: bar ? bar.value : undefined,
    warnings: [...element.querySelectorAll(".warning")].map((line) => line.textContent),
    total: Number(element.dataset.seconds), labels: null,
  };
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
  at(".state").textContent = item.state === "failed" ? item.error : STATES[item.state] || "";
  at(".state").hidden = done;
  at(".sure").hidden = !done;
  at(".more")?.remove();
  drawCorrection(element, item);
  drawBoxes(element, done ? item.detections || [] : []);
  drawWarnings(element, done ? item.warnings || [] : []);
  if (done) drawSure(element, item.sure);
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
  others.append(...named(item).slice(1).map(([name, share]) => {
    const line = document.createElement("li");
    for (const words of [name, percent(share)]) line.append(Object.assign(document.createElement("span"), { textContent: words }));
    return line;
  }));
  more.append(others, ...(item.seconds ? drawTimes(item.seconds) : []), drawWrong(item, batch, template));
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
  form.querySelector("datalist").append(...named(item).slice(1).map(([name]) =>
    Object.assign(document.createElement("option"), { value: name })));
  return form;
}

// Its labels, or the things in it, with how sure they are, best first.
export function named({ labels, detections }) {
  if (labels?.length) return labels.map(({ name, probability }) => [name, probability]);
  return (detections ?? []).map(({ name, score }) => [name, score]);
}

function drawSure(element, share) {
  const known = share !== undefined;
  const [bar, words] = [element.querySelector(".sure progress"), element.querySelector(".percent")];
  bar.hidden = words.hidden = !known;
  bar.value = share ?? 0;
  words.textContent = known ? percent(share) : "";
  words.nextElementSibling.className = known ? "unseen" : "what";
}

function drawWarnings(element, warnings) {
  element.querySelectorAll(".warning").forEach((line) => line.remove());
  element.querySelector(".about").append(...warnings.map((words) =>
    Object.assign(document.createElement("p"), { className: "warning", textContent: words })));
}

// The thumbnail is cut to a square in the middle, and so are the boxes on it.
function drawBoxes(element, detections) {
  element.querySelector(".boxes")?.remove();
  if (!detections.length) return;
  const side = (at) => {
    const furthest = detections.reduce((one, other) => (other.relative_box[at] > one.relative_box[at] ? other : one));
    return Math.round(furthest.box[at] / furthest.relative_box[at]);
  };
  const picture = svg("svg", {
    class: "boxes", viewBox: `0 0 ${side(2)} ${side(3)}`, preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true",
  });
  for (const { box: [left, top, right, bottom] } of detections) {
    picture.append(svg("rect", { x: left, y: top, width: right - left, height: bottom - top }));
  }
  element.querySelector(".thumb").after(picture);
}
