// Evaluation preprocessing: a central crop, resized. Results match TensorFlow's kernels,
// which differ from the resizing of a canvas.

const TABLE_SIZE = 1024; // steps of the old bicubic kernel between two pixels
const BAND_PIXELS = 1 << 20; // read at once; some phones limit a canvas' size

/**
 * Finds evaluation's central crop.
 *
 * @param {number} height Height of the image, pixels.
 * @param {number} width Width of the image, pixels.
 * @param {{crop_ratio: number, crop_mode: (string|undefined)}} spec
 * @return {{top: number, left: number, height: number, width: number}} In pixels.
 */
export function evalCrop(height, width, spec) {
  const ratio = Math.fround(spec.crop_ratio);
  const scaled = (length) =>
    Math.max(1, Math.floor(Math.fround(ratio * Math.fround(length))));
  const isSquashed = spec.crop_mode === "squash";
  const shorter = Math.min(height, width);
  const rows = scaled(isSquashed ? height : shorter);
  const columns = scaled(isSquashed ? width : shorter);
  return {
    top: Math.floor((height - rows + 1) / 2),
    left: Math.floor((width - columns + 1) / 2),
    height: rows,
    width: columns,
  };
}

/**
 * Resizes a crop to a square.
 *
 * @param {function(number, number): Uint8ClampedArray} readRows Takes the first row and
 *     a number of rows; returns their RGBA pixels.
 * @param {{height: number, width: number}} crop In pixels.
 * @param {{image_size: number, interpolation: string}} spec
 * @return {Float32Array} RGB, (image_size, image_size, 3), about 0 to 255.
 */
export function resizeCrop(readRows, { height, width }, spec) {
  const size = spec.image_size;
  const across = findTaps(width, size, spec.interpolation);
  const down = findTaps(height, size, spec.interpolation);
  const narrow = new Float32Array(height * size * 3);
  const band = Math.max(1, Math.floor(BAND_PIXELS / width));
  for (let top = 0; top < height; top += band) {
    const rows = Math.min(band, height - top);
    const pixels = readRows(top, rows);
    for (let row = 0; row < rows; row++) {
      narrowRow(pixels, row * width * 4, across, narrow, (top + row) * size * 3);
    }
  }
  const result = new Float32Array(size * size * 3);
  for (let row = 0; row < size; row++) {
    mixRows(narrow, down[row], size * 3, result, row * size * 3);
  }
  return result;
}

/**
 * Finds the source pixels of each target pixel, and their weights.
 *
 * @param {number} side Number of source pixels.
 * @param {number} size Number of target pixels.
 * @param {string} method Resize method of EvalPreprocessing.
 * @return {Array<{indices: number[], weights: number[]}>} One per target pixel.
 */
export function findTaps(side, size, method) {
  if (method === "bicubic_legacy") {
    return Array.from({ length: size }, (_, i) => legacyTaps(i, side, size));
  }
  if (method === "bicubic") {
    return Array.from({ length: size }, (_, i) => taps(i, side, size, cubic, 2));
  }
  if (method === "bilinear") {
    return Array.from({ length: size }, (_, i) => taps(i, side, size, triangle, 1));
  }
  if (method === "bilinear_no_antialias") {
    return Array.from({ length: size }, (_, i) => taps(i, side, size, triangle, 1, 1));
  }
  throw new Error(`Unknown resize method: ${method}`);
}

// TensorFlow's ResizeBicubic without half pixel centers: pixel i is at i, four source
// pixels whatever the scale, the kernel (a = -0.75) from a table.
function legacyTaps(i, side, size) {
  const scale = Math.fround(side / size);
  const place = Math.fround(i * scale);
  const nearest = Math.floor(place);
  const step = roundToEven(Math.fround(place - nearest) * TABLE_SIZE);
  const after = step / TABLE_SIZE;
  const before = 1 - after;
  return {
    indices: [-1, 0, 1, 2].map((k) => clamp(nearest + k, 0, side - 1)),
    weights: [outer(after), inner(after), inner(before), outer(before)],
  };
}

// The cubic kernel at x, and at 1 + x.
function inner(x) {
  return Math.fround((1.25 * x - 2.25) * x * x + 1);
}

function outer(x) {
  const y = x + 1;
  return Math.fround(((-0.75 * y + 3.75) * y - 6) * y + 3);
}

// TensorFlow's ScaleAndTranslate: pixel i is at i + 0.5, the kernel's weights sum to 1,
// and with antialiasing, the default, it is as wide as a target pixel.
function taps(i, side, size, kernel, radius, width = Math.max(side / size, 1)) {
  const scale = side / size;
  const center = (i + 0.5) * scale;
  const first = Math.max(0, Math.ceil(center - radius * width - 0.5));
  const last = Math.min(side - 1, Math.floor(center + radius * width - 0.5));
  const indices = [];
  const weights = [];
  for (let index = first; index <= last; index++) {
    indices.push(index);
    weights.push(kernel(Math.abs(index + 0.5 - center) / width));
  }
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return { indices, weights: weights.map((weight) => weight / total) };
}

// Keys' kernel, a = -0.5.
function cubic(x) {
  if (x >= 2) return 0;
  if (x >= 1) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return (1.5 * x - 2.5) * x * x + 1;
}

function triangle(x) {
  return Math.max(0, 1 - x);
}

function narrowRow(pixels, from, taps, narrow, to) {
  for (const { indices, weights } of taps) {
    let red = 0;
    let green = 0;
    let blue = 0;
    for (let k = 0; k < indices.length; k++) {
      const at = from + indices[k] * 4;
      red += weights[k] * pixels[at];
      green += weights[k] * pixels[at + 1];
      blue += weights[k] * pixels[at + 2];
    }
    narrow[to++] = red;
    narrow[to++] = green;
    narrow[to++] = blue;
  }
}

function mixRows(narrow, { indices, weights }, length, result, to) {
  for (let k = 0; k < indices.length; k++) {
    const from = indices[k] * length;
    for (let x = 0; x < length; x++) result[to + x] += weights[k] * narrow[from + x];
  }
}

function roundToEven(x) {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}

function clamp(x, low, high) {
  return Math.min(Math.max(x, low), high);
}
