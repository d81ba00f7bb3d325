// Numbers and durations for a person; web_tier/routes/pages.py says the same in the same words.

export const plural = (count, word) => (count === 1 ? word : `${word}s`);

// A label, or what was found and how often: "person ×3, kite".
export function whatIsThere({ labels, detections = [] }) {
  if (labels.length) return labels[0].name;
  const counts = new Map();
  for (const { name } of detections) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, count]) => (count > 1 ? `${name} ×${count}` : name)).join(", ") || "nothing found";
}

export const photos = (count) => `${count.toLocaleString("en")} ${plural(count, "photo")}`;

export function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function bytes(size) {
  if (size < 1024) return `${size} bytes`;
  if (size < 1024 * 1024) return `${Math.round(size / 1024)} KB`;
  const mega = size / 1024 / 1024;
  return mega < 1024 ? `${mega.toFixed(mega < 10 ? 1 : 0)} MB` : `${(mega / 1024).toFixed(1)} GB`;
}

export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

export function percent(share) {
  if (share < 0.001) return "<0.1 %";
  return `${(share * 100).toFixed(share >= 0.0995 ? 0 : 1)} %`;
}
