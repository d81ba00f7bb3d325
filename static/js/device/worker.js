// Runs the network, away from the page so that it stays quick. Pixels come in, numbers of classes go out, or the packed
// activation of a head; it sends nothing, and fetches only the files that the page names.

let session;
let Tensor;

let last = Promise.resolve();

// The next photo may come before the network has ended with one: it waits here.
onmessage = ({ data }) => { last = last.then(() => answer(data)); };

async function answer(data) {
  try {
    if (data.kind === "load") await load(data.files);
    else if (data.kind === "pack") postMessage({ kind: "packed", id: data.id, message: await packed(data) });
    else postMessage({ kind: "labelled", id: data.id, ...await label(data.pixels, data.side) });
  } catch (error) {
    postMessage({ kind: "failed", id: data.id, why: error?.message ?? String(error) });
  }
}

// files: {program, wasm, net}, each {address, unpacked}; unpacked in bytes.
async function load(files) {
  const parts = [files.wasm, files.net];
  const total = parts.reduce((sum, one) => sum + one.unpacked, 0);
  const got = parts.map(() => 0);
  const tell = (index) => (bytes) => {
    got[index] = bytes;
    postMessage({ kind: "progress", share: Math.min(1, got.reduce((sum, one) => sum + one, 0) / total) });
  };
  const [ort, wasm, net] = await Promise.all([
    import(files.program.address),
    ...parts.map((one, index) => fetched(one, tell(index))),
  ]);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = wasm;
  ({ Tensor } = ort);
  session = await ort.InferenceSession.create(net, { executionProviders: ["wasm"] });
  postMessage({ kind: "ready" });
}

async function fetched({ address, unpacked }, tell) {
  const reply = await fetch(address);
  if (!reply.ok) throw new Error(`the server answers ${reply.status} for ${address}`);
  const whole = new Uint8Array(unpacked);
  let got = 0;
  for (const reader = reply.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (got + value.length > unpacked) throw new Error(`${address} is larger than it should be: reload the page`);
    whole.set(value, got);
    got += value.length;
    tell(got);
  }
  if (got < unpacked) throw new Error(`${address} did not arrive whole`);
  return whole;
}

// pixels: RGB, side x side x 3 bytes.
async function label(pixels, side) {
  const began = performance.now();
  const scores = (await output(pixels, side)).data;
  const order = Array.from(scores.keys()).sort((one, other) => scores[other] - scores[one] || one - other);
  return {
    best: order.slice(0, 5).map((index) => ({ index, share: scores[index] })),
    milliseconds: performance.now() - began,
  };
}

async function packed({ pixels, side, point }) {
  const { pack } = await import("/static/js/device/packing.js");
  const { data, dims } = await output(pixels, side);
  return pack(data, dims.slice(1), point);
}

async function output(pixels, side) {
  const input = new Tensor("uint8", pixels, [1, side, side, 3]);
  const outputs = await session.run({ [session.inputNames[0]]: input });
  return outputs[session.outputNames[0]];
}
