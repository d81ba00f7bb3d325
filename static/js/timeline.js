// Where a photo's time went: a bar and its words, as elements.

export function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// times: the stages in their order, {name, told, start, width}.
export function drawTimes(times) {
  const bar = svg("svg", { class: "times", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" });
  const words = Object.assign(document.createElement("dl"), { className: "stages" });
  for (const { name, told, start, width } of times) {
    bar.append(svg("rect", { class: `stage-${name}`, x: start, width, height: 8 }));
    const line = Object.assign(document.createElement("div"), { className: `stage-${name}` });
    line.append(
      Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: told }),
    );
    words.append(line);
  }
  return [bar, words];
}
