"use strict";
// What the page knows about the places: outlines, middles, names, vectors.
// Nothing here touches the document, so that it can be tested without a browser.

const EARTH_RADIUS_KM = 6371.0088;
const MAX_LATITUDE = 85.05; // where Web Mercator becomes a square
const RADIANS = Math.PI / 180;

/** Turn base64 text back into the typed array it was written from. */
function decode(text, ArrayType) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return new ArrayType(bytes.buffer);
}

/** Web Mercator on a unit square: x eastwards, y downwards from the north. */
const mercator = {
  x: (lon) => lon / 360 + 0.5,
  y: (lat) => {
    const kept = Math.max(-MAX_LATITUDE, Math.min(MAX_LATITUDE, lat));
    return 0.5 - Math.log(Math.tan(Math.PI / 4 + (kept * RADIANS) / 2)) / (2 * Math.PI);
  },
  lon: (x) => (x - 0.5) * 360,
  lat: (y) => (2 * Math.atan(Math.exp((0.5 - y) * 2 * Math.PI)) - Math.PI / 2) / RADIANS,
};

/** A plane whose place on Earth is unknown: y downwards, as on the screen. */
const plane = { x: (x) => x, y: (y) => -y, lon: (x) => x, lat: (y) => -y };

/** Read what map.py wrote; corners and middles are projected once, here. */
function readPlaces(data) {
  const projection = data.kind === "grid" ? plane : mercator;
  const corners = decode(data.corners, Float32Array);
  const middles = decode(data.middles, Float32Array);
  const project = (pairs, axis, onto) =>
    Float64Array.from({ length: pairs.length / 2 }, (_, i) => onto(pairs[2 * i + axis]));
  const places = {
    count: data.ids.length,
    kind: data.kind,
    unitKm: data.unitKm,
    dim: data.dim,
    ids: data.ids,
    names: data.ids.map((id, token) => data.labels[token] || id),
    projection,
    ringStart: decode(data.ringStart, Uint32Array),
    tokenStart: decode(data.tokenStart, Uint32Array),
    x: project(corners, 0, projection.x),
    y: project(corners, 1, projection.y),
    middleX: project(middles, 0, projection.x),
    middleY: project(middles, 1, projection.y),
    lonlat: middles,
  };
  places.boxes = boundingBoxes(places);
  return places;
}

/** Give west, north, east, south of each place, four numbers in a row. */
function boundingBoxes(places) {
  const boxes = new Float64Array(4 * places.count);
  for (let token = 0; token < places.count; token++) {
    let west = places.middleX[token], east = west;
    let north = places.middleY[token], south = north;
    const [begin, end] = cornersOf(places, token);
    for (let i = begin; i < end; i++) {
      west = Math.min(west, places.x[i]);
      east = Math.max(east, places.x[i]);
      north = Math.min(north, places.y[i]);
      south = Math.max(south, places.y[i]);
    }
    boxes.set([west, north, east, south], 4 * token);
  }
  return boxes;
}

/** Give the first and one past the last corner of a place, all its rings together. */
function cornersOf(places, token) {
  const { ringStart, tokenStart } = places;
  return [ringStart[tokenStart[token]], ringStart[tokenStart[token + 1]]];
}

/** Tell whether a point lies inside a place; holes are outside (even-odd rule). */
function contains(places, token, x, y) {
  let inside = false;
  for (let ring = places.tokenStart[token]; ring < places.tokenStart[token + 1]; ring++) {
    const begin = places.ringStart[ring], end = places.ringStart[ring + 1];
    for (let i = begin, j = end - 1; i < end; j = i++) {
      const [x0, y0, x1, y1] = [places.x[j], places.y[j], places.x[i], places.y[i]];
      if (y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) inside = !inside;
    }
  }
  return inside;
}

/** Find the place at a point, else the nearest middle within `reach`, else -1. */
function placeAt(places, x, y, reach) {
  let nearest = -1, least = reach * reach;
  for (let token = 0; token < places.count; token++) {
    const box = 4 * token;
    const within = x >= places.boxes[box] && x <= places.boxes[box + 2]
      && y >= places.boxes[box + 1] && y <= places.boxes[box + 3];
    if (within && contains(places, token, x, y)) return token;
    const distance = (x - places.middleX[token]) ** 2 + (y - places.middleY[token]) ** 2;
    if (distance < least) [nearest, least] = [token, distance];
  }
  return nearest;
}

/** Give the cosine of every place's vector with one place's. */
function cosines(vectors, dim, chosen) {
  const count = vectors.length / dim;
  const result = new Float32Array(count);
  const own = vectors.subarray(chosen * dim, (chosen + 1) * dim);
  const ownSquare = own.reduce((sum, entry) => sum + entry * entry, 0);
  for (let token = 0; token < count; token++) {
    let product = 0, square = 0;
    for (let k = 0, i = token * dim; k < dim; k++, i++) {
      product += vectors[i] * own[k];
      square += vectors[i] * vectors[i];
    }
    result[token] = product / (Math.sqrt(square * ownSquare) || 1);
  }
  return result;
}

/** List the `count` other places with the greatest values, greatest first. */
function greatest(values, chosen, count) {
  const others = Array.from(values.keys()).filter((token) => token !== chosen);
  return others.sort((a, b) => values[b] - values[a] || a - b).slice(0, count);
}

/** Give the distance between two middles in kilometres; NaN where unknown. */
function distanceKm(places, a, b) {
  const [lonA, latA] = places.lonlat.subarray(2 * a, 2 * a + 2);
  const [lonB, latB] = places.lonlat.subarray(2 * b, 2 * b + 2);
  if (places.kind === "grid") return Math.hypot(lonA - lonB, latA - latB) * places.unitKm;
  const h = Math.sin(((latB - latA) * RADIANS) / 2) ** 2
    + Math.cos(latA * RADIANS) * Math.cos(latB * RADIANS)
    * Math.sin(((lonB - lonA) * RADIANS) / 2) ** 2;
  return 2 * EARTH_RADIUS_KM * Math.asin(Math.sqrt(Math.min(1, h)));
}

/** Give what fills the first view: the middle 98 % of places and what is near them. */
function mainExtent(places) {
  const axis = (middles, low, high) => {
    const known = middles.filter(Number.isFinite).sort();
    const at = (share) => known[Math.round(share * (known.length - 1))];
    const side = (token) => places.boxes[4 * token + high] - places.boxes[4 * token + low];
    const sides = Float64Array.from({ length: places.count }, (_, t) => side(t));
    const size = sides.filter(Number.isFinite).sort()[known.length >> 1];
    const margin = 0.25 * (at(0.99) - at(0.01)) + size;
    const ends = extent(places);
    return [Math.max(ends[low], at(0.01) - margin), Math.min(ends[high], at(0.99) + margin)];
  };
  const [west, east] = axis(places.middleX, 0, 2);
  const [north, south] = axis(places.middleY, 1, 3);
  return [west, north, east, south];
}

/** Give west, north, east, south of some places, or of all of them. */
function extent(places, tokens = Array.from({ length: places.count }, (_, i) => i)) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const token of tokens) {
    const [west, north, east, south] = places.boxes.subarray(4 * token, 4 * token + 4);
    if (!Number.isFinite(west)) continue;
    box[0] = Math.min(box[0], west);
    box[1] = Math.min(box[1], north);
    box[2] = Math.max(box[2], east);
    box[3] = Math.max(box[3], south);
  }
  return box;
}

/** Give round numbers between two ends: 1, 2 or 5 times a power of ten apart. */
function roundSteps(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const first = Math.ceil(low / step - 1e-9);
  const steps = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: steps }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Give round numbers for a log scale: powers of ten, and 2 and 5 where there is room. */
function roundPowers(low, high, most) {
  const all = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
    for (const factor of [1, 2, 5]) all.push(Number((factor * 10 ** power).toPrecision(3)));
  }
  const inside = all.filter((tick) => tick >= low && tick <= high);
  if (inside.length <= most) return inside;
  const tens = inside.filter((tick) => Number.isInteger(Math.log10(tick)));
  return tens.filter((_, i) => i % Math.ceil(tens.length / most) === 0);
}
