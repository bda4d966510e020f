// Computes what the page computes: JSON cases in from standard input, results out.
//
// node web_numbers_test.mjs PAGE_FOLDER

import { readFileSync } from "node:fs";
import path from "node:path";

const { evalCrop, resizeCrop } = await load("preprocessing.js");
const { classMap } = await load("maps.js");
const { images, maps } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify({ images: images.map(resize), maps: maps.map(makeMap) }));

// As a module whatever its name ends in, as in a browser.
async function load(name) {
  const code = readFileSync(path.join(process.argv[2], name)).toString("base64");
  return import(`data:text/javascript;base64,${code}`);
}

function makeMap({ features, weights, channels, index }) {
  const places = Float32Array.from(features);
  return [...classMap(places, Uint16Array.from(weights), channels, index)];
}

function resize({ height, width, rgba, spec }) {
  const crop = evalCrop(height, width, spec);
  const readRows = (first, rows) => {
    const pixels = new Uint8ClampedArray(rows * crop.width * 4);
    for (let y = 0; y < rows; y++) {
      const from = ((crop.top + first + y) * width + crop.left) * 4;
      pixels.set(rgba.slice(from, from + crop.width * 4), y * crop.width * 4);
    }
    return pixels;
  };
  return [...resizeCrop(readRows, crop, spec)];
}
