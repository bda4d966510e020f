// Runs the network in the background, so that the page stays responsive.
"use strict";

const TOP = 5; // classes shown, unless each class has a threshold
const BASE = new URL(".", self.location.href).href;
let network = null;

self.onmessage = async ({ data }) => {
  try {
    if (data.kind === "start") {
      network = await start(data.spec);
      self.postMessage({ kind: "ready" });
    } else {
      const answer = await classify(network, data.bitmap);
      self.postMessage({ kind: "answer", id: data.id, ...answer });
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    self.postMessage({ kind: "failed", id: data.id, message });
  }
};

async function start(spec) {
  const [{ Tensor, loadAndCompile, loadLiteRt }, preprocessing, { classMap }, model] =
    await Promise.all([
      import(`${BASE}litert/core.js`),
      import(`${BASE}preprocessing.js`),
      import(`${BASE}maps.js`),
      download(`${BASE}${spec.model}`),
    ]);
  self.Module = {
    // In a worker the loader would look for its .wasm file beside this script.
    locateFile: (name) => `${BASE}litert/${name}`,
    // Most of the runtime's messages there are not errors.
    printErr: (line) => (line.startsWith("ERROR") ? console.error : console.debug)(line),
  };
  await loadLiteRt(`${BASE}litert/`);
  const compiled = await loadAndCompile(model, { accelerator: "wasm" });
  const weights = spec.maps && readWeights(model, spec);
  const started = { spec, preprocessing, classMap, weights, Tensor, compiled };
  // The first run allocates buffers; no photo should wait for that.
  await infer(started, new Float32Array(spec.image_size ** 2 * 3));
  return started;
}

async function download(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} returned ${response.status}`);
  const total = Number(response.headers.get("Content-Length"));
  const chunks = [];
  let done = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { value } = await reader.read();
    if (!value) break;
    chunks.push(value);
    done += value.length;
    self.postMessage({ kind: "progress", share: total ? Math.min(1, done / total) : 0 });
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

// Weights of the last layer, (classes, channels), as the bits of float16 numbers.
function readWeights(model, { maps, labels }) {
  const end = maps.offset + 2 * labels.length * maps.channels;
  return new Uint16Array(model.slice(maps.offset, end).buffer);
}

async function classify(network, bitmap) {
  const { spec, preprocessing } = network;
  const begin = performance.now();
  const crop = preprocessing.evalCrop(bitmap.height, bitmap.width, spec);
  const readRows = rowReader(bitmap, crop);
  const pixels = preprocessing.resizeCrop(readRows, crop, spec);
  bitmap.close();
  const prepared = performance.now();
  const { probabilities, features } = await infer(network, pixels);
  const networkMs = performance.now() - prepared;
  const order = [...probabilities.keys()];
  order.sort((a, b) => probabilities[b] - probabilities[a]);
  const { thresholds } = spec; // of a multi-label model
  const isShown = (index) => probabilities[index] >= thresholds[index];
  const shown = thresholds ? order.filter(isShown) : order.slice(0, TOP);
  const best = shown.map((index) => ({
    label: spec.labels[index],
    probability: probabilities[index],
    map: network.weights && mapOf(network, features, index),
  }));
  return { best, prepareMs: prepared - begin, networkMs };
}

function mapOf({ spec, weights, classMap }, features, index) {
  return classMap(features, weights, spec.maps.channels, index);
}

function rowReader(bitmap, { top, left, width }) {
  const canvas = new OffscreenCanvas(width, 1);
  const context = canvas.getContext("2d", { alpha: true, willReadFrequently: true });
  return (first, rows) => {
    canvas.height = rows; // this clears it too
    context.drawImage(bitmap, left, top + first, width, rows, 0, 0, width, rows);
    return context.getImageData(0, 0, width, rows).data;
  };
}

// Some files do not name their outputs, but only features have four dimensions.
async function infer({ spec, Tensor, compiled }, pixels) {
  const images = new Tensor(pixels, [1, spec.image_size, spec.image_size, 3]);
  const outputs = await compiled.run([images]);
  const values = {};
  for (const tensor of outputs) {
    const isFlat = tensor.type.layout.dimensions.length === 2;
    values[isFlat ? "probabilities" : "features"] = tensor.toTypedArray();
    tensor.delete();
  }
  images.delete();
  return values;
}
