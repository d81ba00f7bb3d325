// Smaller copies of photos, for those who need not send the originals. Loaded only where somebody wants them.

const SHORT = 256; // pixels
const QUALITY = 0.85;

// A JPEG with a short side of SHORT, upright, without place and time; the file itself if that is no larger.
// Fails for a file that the browser cannot open.
export async function smaller(file) {
  if (file.type === "image/bmp") return file; // browsers take the unused fourth byte of its pixels for transparency
  const bitmap = await createImageBitmap(file);
  try {
    const scale = SHORT / Math.min(bitmap.width, bitmap.height);
    if (scale >= 1) return file;
    const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    return new File([blob], file.name, { type: blob.type });
  } finally {
    bitmap.close();
  }
}
