// What `shoal compare` calls on the page, in a headless browser.

import { Network, filesOf, hindrance } from "./network.js";
import { square } from "./picture.js";

const SIDE = 224;

const files = filesOf(document);
const network = new Network(files, () => {});

// The name of the label of a photo, and milliseconds: all, from the file to the label, and those of opening it and of
// the network alone. The first call fetches the network. Rejects with an error for people.
export async function measure(base64) {
  const why = hindrance();
  if (why) throw new Error(`this browser cannot run the network: ${why}`);
  if (!files.net) throw new Error("the page has no network: does it want a key?");
  const file = new Blob([Uint8Array.from(atob(base64), (one) => one.charCodeAt(0))]);
  const began = performance.now();
  network.load().catch(() => {}); // `label` tells it
  const { pixels } = await square(file, SIDE);
  const opening = performance.now() - began;
  const { labels, milliseconds: computing } = await network.label(pixels, SIDE);
  return { label: labels[0].name, total: performance.now() - began, opening, computing };
}
