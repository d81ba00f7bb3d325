// What the device pages share about batches that were sent from here.

const LOOK = 1000; // milliseconds between two looks at a batch

// Calls answered(photo) once for each photo of a batch that has its label or failed, until isOver() says so. A server
// that is away is asked again. False if the batch was deleted.
export async function follow(batch, isOver, answered) {
  const seen = new Set();
  while (!isOver()) {
    await new Promise((done) => { setTimeout(done, LOOK); });
    const reply = await fetch(`/batches/${batch}.json`).catch(() => null);
    if (reply?.status === 404) return false;
    const told = reply?.ok ? await reply.json().catch(() => null) : null;
    for (const photo of told?.photos ?? []) {
      if (photo.state === "queued" || seen.has(photo.index)) continue;
      seen.add(photo.index);
      answered(photo);
    }
  }
  return true;
}
