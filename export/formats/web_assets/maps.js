// Class activation maps: how much each place of the image supports a class.

/**
 * Multiplies the features of each place with the weights of a class.
 *
 * @param {Float32Array} features Last feature map, (places, channels).
 * @param {Uint16Array} weights Weights of all classes, (classes, channels), float16 bits.
 * @param {number} channels
 * @param {number} index Index of the class.
 * @return {Float32Array} One number per place; negative ones are evidence against the class.
 */
export function classMap(features, weights, channels, index) {
  const row = Float32Array.from(
    weights.subarray(index * channels, (index + 1) * channels),
    fromFloat16,
  );
  const map = new Float32Array(features.length / channels);
  for (let place = 0; place < map.length; place++) {
    let sum = 0;
    for (let k = 0; k < channels; k++) sum += features[place * channels + k] * row[k];
    map[place] = sum;
  }
  return map;
}

/**
 * Converts a float16 to a number.
 *
 * @param {number} bits
 * @return {number}
 */
export function fromFloat16(bits) {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  if (exponent === 0) return sign * fraction * 2 ** -14;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction) * 2 ** (exponent - 15);
}
