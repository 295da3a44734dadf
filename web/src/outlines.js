// Outlines of places as flat arrays that the graphics card takes as they are.
//
// Outlines are { corners, start, triangles, rings }: corner i is corners[2i], [2i + 1];
// place p has corners start[p] to start[p + 1]; rings(p) lists its closed rings.

import { cellToBoundary, getResolution } from "h3-js";
import earcut from "earcut";

const MOST_CORNERS = 10; // of a cell: a pentagon whose edges all cross an icosahedron edge

export function cellOutlines(cells) {
  const corners = new Float32Array(2 * MOST_CORNERS * cells.length);
  const start = new Uint32Array(cells.length + 1);
  const halves = new Uint32Array(cells.buffer, cells.byteOffset, 2 * cells.length);
  let next = 0;
  for (let place = 0; place < cells.length; place++) {
    const boundary = cellToBoundary([halves[2 * place], halves[2 * place + 1]]);
    const [, west] = boundary[0];
    for (const [lat, lon] of boundary) {
      corners[2 * next] = lon - 360 * Math.round((lon - west) / 360); // keep cells whole
      corners[2 * next + 1] = lat;
      next++;
    }
    start[place + 1] = next;
  }
  const used = corners.slice(0, 2 * next);
  const rings = (place) => [ring(used, start[place], start[place + 1])];
  return { corners: used, start, triangles: fans(start), rings };
}

export function resolutionOf(cells) {
  return getResolution(cells[0].toString(16));
}

/** Cut convex places into triangles around their first corner. */
function fans(start) {
  const places = start.length - 1;
  const triangles = new Uint32Array(3 * (start[places] - 2 * places));
  let next = 0;
  for (let place = 0; place < places; place++) {
    for (let corner = start[place] + 1; corner + 1 < start[place + 1]; corner++) {
      triangles[next++] = start[place];
      triangles[next++] = corner;
      triangles[next++] = corner + 1;
    }
  }
  return triangles;
}

export function zoneOutlines(corners, ringStart, tokenStart) {
  const start = tokenStart.map((first) => ringStart[first]);
  const triangles = [];
  for (let place = 0; place + 1 < tokenStart.length; place++) {
    for (const part of partsOf(corners, ringStart, tokenStart[place], tokenStart[place + 1])) {
      addTriangles(triangles, corners, ringStart, part);
    }
  }
  const rings = (place) => {
    const found = [];
    for (let r = tokenStart[place]; r < tokenStart[place + 1]; r++) {
      found.push(ring(corners, ringStart[r], ringStart[r + 1]));
    }
    return found;
  };
  return { corners, start, triangles: Uint32Array.from(triangles), rings };
}

/** Put each outer ring together with the holes that follow it. */
function partsOf(corners, ringStart, first, last) {
  const parts = [];
  for (let r = first; r < last; r++) {
    if (signedArea(corners, ringStart[r], ringStart[r + 1]) > 0) parts.push([r]);
    else parts.at(-1).push(r);
  }
  return parts;
}

function addTriangles(triangles, corners, ringStart, part) {
  const first = ringStart[part[0]];
  const last = ringStart[part.at(-1) + 1];
  const holes = part.slice(1).map((r) => ringStart[r] - first);
  const cut = earcut(corners.subarray(2 * first, 2 * last), holes);
  for (const corner of cut) triangles.push(first + corner);
}

function signedArea(corners, from, to) {
  let area = 0;
  for (let i = from, j = to - 1; i < to; j = i++) {
    area += corners[2 * j] * corners[2 * i + 1] - corners[2 * i] * corners[2 * j + 1];
  }
  return area / 2;
}

function ring(corners, from, to) {
  const points = [];
  for (let i = from; i < to; i++) points.push([corners[2 * i], corners[2 * i + 1]]);
  points.push(points[0]);
  return points;
}
