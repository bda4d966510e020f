// Class maps: how much each place of the image speaks for a class.

/**
 * Weighs the features of each place with a class' weights.
 *
 * @param {Float32Array} features Of the network's last map, (places, channels).
 * @param {Uint16Array} weights Of all classes, (classes, channels), float16 bits.
 * @param {number} channels
 * @param {number} index Of the class.
 * @return {Float32Array} A number per place: negative ones speak against the class.
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
 * Widens a float16.
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
