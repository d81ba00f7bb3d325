// Packs an activation for its way to the tail: the message of docs/split.md, as inference/split/packing.py writes and
// reads it, in uint8 and compressed by gzip. tests/test_web_device.py has Python unpack what this writes.

const MAGIC = [0x89, 0x53, 0x68, 0x6f, 0x61, 0x6c, 0x41, 0x0a];
const VERSION = 1;
const LEVELS = 255; // steps from the least to the largest number
const LEAST_SCALE = 2 ** -126; // the least normal number of float32: a smaller scale would be refused

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

// The message as a blob. numbers: float32, of this shape. point: {model, cut, pair, shape} of the head.
// Rejects with an error for people.
export async function pack(numbers, shape, point) {
  if (shape.join() !== point.shape.join()) throw new Error(`the head gave the shape ${shape}, not ${point.shape}`);
  const { steps, scale, offset } = quantized(numbers);
  const header = new TextEncoder().encode(JSON.stringify({
    ...point, dtype: "uint8", compression: "gzip", check: checksum(steps), scale, offset,
  }));
  const front = [...MAGIC, VERSION, header.length >> 8, header.length & 255];
  return new Blob([Uint8Array.from(front), header, await gzipped(steps)]);
}

// The numbers in steps of equal size: number = offset + scale * step.
function quantized(numbers) {
  let least = Infinity, largest = -Infinity;
  for (const one of numbers) {
    if (!Number.isFinite(one)) throw new Error("the head gave a number that is not finite");
    if (one < least) least = one;
    if (one > largest) largest = one;
  }
  const exact = (largest - least) / LEVELS;
  const scale = exact > LEAST_SCALE ? exact : 1;
  return { steps: Uint8Array.from(numbers, (one) => nearest((one - least) / scale)), scale, offset: least };
}

// The nearest whole number, of two the even one, as NumPy rounds.
function nearest(value) {
  const below = Math.floor(value), rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2) ? below + 1 : below;
}

function checksum(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function gzipped(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
}
