// Where a photo's time went; web_tier/results/timeline.py says the same in the same words.

import { svg } from "./words.js";

const STAGES = ["upload", "queue", "fetch", "decode", "wait", "infer", "store", "publish"];

export const total = (seconds) => STAGES.reduce((sum, name) => sum + (seconds?.[name] ?? 0), 0);

// The bar and its words, as elements.
export function drawTimes(seconds) {
  const bar = svg("svg", { class: "times", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" });
  const words = Object.assign(document.createElement("dl"), { className: "stages" });
  const whole = total(seconds) || 1;
  let start = 0;
  for (const name of STAGES) {
    if (!(name in seconds)) continue;
    const width = 100 * seconds[name] / whole;
    bar.append(svg("rect", { class: `stage-${name}`, x: start, width, height: 8 }));
    start += width;
    const line = Object.assign(document.createElement("div"), { className: `stage-${name}` });
    line.append(
      Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: short(seconds[name]) }),
    );
    words.append(line);
  }
  return [bar, words];
}

function short(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 10 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
}
