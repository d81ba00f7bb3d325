// A photo as workers see it (inference/images.py): upright, on white, its central square resized by a triangle filter.

const CROP = 224 / 256; // of the short side
const LEAST = 2; // a photo is first made smaller by halves, to at least so many times the pixels that are needed

// RGB of the central square, side x side x 3 bytes, and the photo's size. Rejects with an error for people.
export async function square(file, side) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error("this browser cannot open the photo");
  });
  try {
    return { pixels: squareOf(bitmap, side), width: bitmap.width, height: bitmap.height };
  } finally {
    bitmap.close();
  }
}

function squareOf(bitmap, side) {
  const needed = (LEAST * side) / CROP;
  let halved = 1;
  while (halved < 8 && Math.min(bitmap.width, bitmap.height) >= 2 * halved * needed) halved *= 2;
  const width = Math.max(1, Math.round(bitmap.width / halved));
  const height = Math.max(1, Math.round(bitmap.height / halved));
  const short = Math.min(width, height) * CROP;
  const across = taps((width - short) / 2, short, width, side);
  const down = taps((height - short) / 2, short, height, side);
  const used = { left: across[0].from, right: across[side - 1].to, top: down[0].from, bottom: down[side - 1].to };
  const canvas = new OffscreenCanvas(used.right - used.left, used.bottom - used.top);
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "medium";
  context.drawImage(bitmap, -used.left, -used.top, width, height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return resized(data, canvas.width, canvas.height, across, down, used);
}

// For each of `count` places the pixels that it is made of: from, to and their weights, which add up to 1.
function taps(start, length, size, count) {
  const scale = length / count;
  const reach = Math.max(scale, 1);
  return Array.from({ length: count }, (_, place) => {
    const centre = start + (place + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - reach + 0.5));
    const to = Math.min(size, Math.trunc(centre + reach + 0.5));
    const weights = new Float32Array(to - from).map((__, at) => {
      return Math.max(0, 1 - Math.abs((from + at - centre + 0.5) / reach));
    });
    const sum = weights.reduce((whole, one) => whole + one, 0);
    return { from, to, weights: weights.map((one) => one / sum) };
  });
}

// data: RGBA of the part that is used. First across, then down, rounded in between, as Pillow does.
function resized(data, width, height, across, down, used) {
  const side = across.length;
  const narrow = new Uint8ClampedArray(side * height * 3);
  for (let y = 0, out = 0; y < height; y += 1) {
    for (const { from, weights } of across) {
      let red = 0, green = 0, blue = 0;
      for (let at = 0, index = (y * width + from - used.left) * 4; at < weights.length; at += 1, index += 4) {
        const weight = weights[at];
        red += data[index] * weight;
        green += data[index + 1] * weight;
        blue += data[index + 2] * weight;
      }
      narrow[out] = red;
      narrow[out + 1] = green;
      narrow[out + 2] = blue;
      out += 3;
    }
  }
  const pixels = new Uint8ClampedArray(side * side * 3);
  const line = side * 3;
  down.forEach(({ from, weights }, y) => {
    for (let x = 0; x < line; x += 1) {
      let sum = 0;
      for (let at = 0, index = (from - used.top) * line + x; at < weights.length; at += 1, index += line) {
        sum += narrow[index] * weights[at];
      }
      pixels[y * line + x] = sum;
    }
  });
  return new Uint8Array(pixels.buffer);
}
