// The parts that need no browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { cellToBoundary, cellToLatLng } from "h3-js";
import { onScale } from "../src/colours.js";
import { indexOf, makeLocate } from "../src/locate.js";
import { numberText, placeText } from "../src/numbers.js";
import { cellOutlines, zoneOutlines } from "../src/outlines.js";
import { plain, searchIndex } from "../src/search.js";
import { highest } from "../src/similar.js";
import { makeCells } from "./fixture.js";

const area = ({ corners, triangles }) => {
  let total = 0;
  for (let t = 0; t < triangles.length; t += 3) {
    const [a, b, c] = [0, 1, 2].map((i) => corners.subarray(2 * triangles[t + i]));
    total += Math.abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2;
  }
  return total;
};

test("triangles of cells cover their outlines", () => {
  const cells = makeCells(3);
  const outlines = cellOutlines(cells);
  let expected = 0;
  for (const cell of cells) {
    const ring = cellToBoundary(cell.toString(16));
    expected += Math.abs(ring.reduce((sum, [y, x], i) => {
      const [ny, nx] = ring[(i + 1) % ring.length];
      return sum + x * ny - nx * y;
    }, 0)) / 2;
  }
  assert.ok(Math.abs(area(outlines) / expected - 1) < 1e-3);
});

test("a cell across the 180th meridian stays whole", () => {
  const cells = BigUint64Array.of(0x837eb1fffffffffn, 0x837eb4fffffffffn, 0x839b60fffffffffn);
  const { corners, start } = cellOutlines(cells);
  for (let place = 0; place < cells.length; place++) {
    const lons = corners.subarray(2 * start[place], 2 * start[place + 1]).filter((_, i) => i % 2 === 0);
    assert.ok(Math.max(...lons) - Math.min(...lons) < 10);
  }
});

test("triangles of zones leave holes and join parts", () => {
  const corners = Float32Array.of(
    0, 0, 4, 0, 4, 4, 0, 4, 1, 1, 1, 2, 2, 2, 2, 1, 6, 0, 7, 0, 7, 1, 6, 1);
  const outlines = zoneOutlines(
    corners, Uint32Array.of(0, 4, 8, 12), Uint32Array.of(0, 3));
  assert.equal(area(outlines), 16);
  const locate = makeLocate({ outlines });
  assert.deepEqual([[0.5, 0.5], [1.5, 1.5], [6.5, 0.5], [5, 0.5]].map(locate), [0, -1, 0, -1]);
});

test("every cell is found at its middle", () => {
  const cells = makeCells(4);
  const locate = makeLocate({ cells });
  cells.forEach((cell, place) => {
    const [lat, lon] = cellToLatLng(cell.toString(16));
    assert.equal(locate([lon, lat]), place);
  });
  assert.equal(locate([0, 0]), -1);
  assert.equal(locate([0, 95]), -1);
  assert.equal(indexOf(cells, 1n), -1);
});

test("scales in steps and in ratios", () => {
  assert.equal(onScale({ low: 0, high: 10, log: false }, 2.5), 0.25);
  assert.ok(Math.abs(onScale({ low: 1, high: 100, log: true }, 10) - 0.5) < 1e-12);
  assert.equal(onScale({ low: 1, high: 100, log: true }, 0), 0);
  assert.equal(onScale({ low: 0, high: 10, log: false }, 99), 1);
});

test("the highest come first, equals in order, without the one itself", () => {
  const found = highest(Float32Array.of(0.5, 1, 0.9, 0.5, 0.9), 3, 1);
  assert.deepEqual(found.map(({ place }) => place), [2, 4, 0]);
  assert.equal(highest(Float32Array.of(1), 3, 0).length, 0);
});

test("search goes by names, then by what is inside, then by size", () => {
  const entry = (place, name, inside = [], size = 0) =>
    ({ place, name: plain(name), id: `id${place}`, inside: inside.map(plain), size });
  const index = {
    entries: [
      entry(0, "Süd Mitte"), entry(1, "Mitte"), entry(2, "Mitte-Ost"), entry(3, "Ort", ["Café Mitte"]),
      entry(4, "Committee"), entry(5, "Mitte", [], 9),
    ],
    original: [[], [], [], ["Café Mitte"], [], []],
  };
  const found = (text, count = 9) => searchIndex(index, text, count).map(({ place }) => place);
  assert.deepEqual(found("mitte"), [5, 1, 2, 0, 3]);
  assert.deepEqual(found("MITTE", 2), [5, 1]);
  assert.deepEqual(found("sud mi"), [0]);
  assert.deepEqual(found("cafe"), [3]);
  assert.deepEqual(found("id4"), [4]);
  assert.deepEqual(found("  "), []);
  assert.equal(searchIndex(index, "cafe", 1)[0].because, "Café Mitte");
});

test("numbers as people read them", () => {
  assert.equal(numberText(12345.6, "US$"), "12,346\u00a0US$");
  assert.equal(numberText(12.345, "%"), "12.3%");
  assert.equal(numberText(NaN, "%"), "no value");
  assert.equal(placeText([190, -10], true), "10.00° S, 170.00° W");
  assert.equal(placeText([1, 2], false), "1.0 km, 2.0 km");
});
