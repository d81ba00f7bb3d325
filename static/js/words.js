// The few words that a page makes itself, of photos that are not sent yet. web_tier/words.py has the same rules:
// tests/test_web_words.py compares them.

export const number = (count) => count.toLocaleString("en");

export const plural = (count, word) => (count === 1 ? word : `${word}s`);

export const photos = (count) => `${number(count)} ${plural(count, "photo")}`;

export function size(count) {
  if (count < 1024) return `${count} bytes`;
  const kilo = Math.round(count / 1024);
  if (kilo < 1024) return `${kilo} KB`;
  const mega = Math.round((count * 10) / 1024 ** 2);
  if (mega < 10240) return `${tenths(mega)} MB`;
  return `${tenths(Math.round((count * 10) / 1024 ** 3))} GB`;
}

const tenths = (count) => (count / 10).toFixed(1).replace(".0", "");

// A sentence of the server's, with its gaps filled in.
export const fill = (sentence, ...words) => words.reduce((whole, word) => whole.replace("{}", () => word), sentence);
