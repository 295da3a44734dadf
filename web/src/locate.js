// Which place lies at a point: looked up, because asking the graphics card is slow.

import { latLngToCell } from "h3-js";
import { resolutionOf } from "./outlines.js";

/** Give a function from [x, y] to the place there, or -1. */
export function makeLocate(run) {
  return run.cells ? locateCell(run.cells) : locateZone(run.outlines);
}

function locateCell(cells) {
  const resolution = resolutionOf(cells);
  return ([lon, lat]) => {
    if (!(Math.abs(lat) <= 90)) return -1;
    return indexOf(cells, BigInt(`0x${latLngToCell(lat, lon, resolution)}`));
  };
}

/** Find a cell among ascending ones. */
export function indexOf(cells, cell) {
  let low = 0;
  let high = cells.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (cells[middle] === cell) return middle;
    if (cells[middle] < cell) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

function locateZone(outlines) {
  const boxes = boundingBoxes(outlines);
  return ([x, y]) => {
    for (let place = 0; place < boxes.length / 4; place++) {
      const [west, south, east, north] = boxes.subarray(4 * place, 4 * place + 4);
      const near = x >= west && x <= east && y >= south && y <= north;
      if (near && holds(outlines.rings(place), x, y)) return place;
    }
    return -1;
  };
}

function boundingBoxes({ corners, start }) {
  const boxes = new Float32Array(4 * (start.length - 1));
  for (let place = 0; place + 1 < start.length; place++) {
    const box = boxes.subarray(4 * place, 4 * place + 4);
    box.set([Infinity, Infinity, -Infinity, -Infinity]);
    for (let i = start[place]; i < start[place + 1]; i++) {
      const [x, y] = [corners[2 * i], corners[2 * i + 1]];
      box.set([Math.min(box[0], x), Math.min(box[1], y)]);
      box.set([Math.max(box[2], x), Math.max(box[3], y)], 2);
    }
  }
  return boxes;
}

/** Count the edges to one side: odd inside, holes and parts included. */
function holds(rings, x, y) {
  let inside = false;
  for (const ring of rings) {
    for (let i = 1; i < ring.length; i++) {
      const [[ax, ay], [bx, by]] = [ring[i - 1], ring[i]];
      if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) inside = !inside;
    }
  }
  return inside;
}
