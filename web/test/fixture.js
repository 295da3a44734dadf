// Data folders as mora.explore.explorer_data writes them, with planted places.

import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cellToLatLng, gridDisk, latLngToCell } from "h3-js";

const DIST = fileURLToPath(new URL("../../src/mora/explore/page", import.meta.url));
const RAMP = Array.from({ length: 64 }, (_, i) => [4 * i, 128, 255 - 4 * i]);
export const NAMES = ["Adlershof", "Mitte", "Mitte-Süd", "Wedding"];

/** Numbers in [0, 1) that look drawn by chance; the same for the same seed. */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Write files, each also as a script, as the page needs them when opened from disk. */
async function writer(folder) {
  await mkdir(folder, { recursive: true });
  const write = async (name, bytes) => {
    await writeFile(join(folder, name), bytes);
    const packed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
    await writeFile(join(folder, `${name}.js`), `moraFile("${packed}");\n`);
    return name;
  };
  const json = (name, content) => write(name, Buffer.from(JSON.stringify(content)));
  return { write, json };
}

/** H3 cells around a point: `rings` 12 are 469 cells, 75 are 17,101, 258 are 200,467. */
export function makeCells(rings, resolution = 7) {
  const disk = gridDisk(latLngToCell(52.5, 13.4, resolution), rings);
  return BigUint64Array.from(disk, (cell) => BigInt(`0x${cell}`)).sort();
}

export function makeRun({ rings = 12, resolution = 7, dim = 8, seed = 1, name = "planted" } = {}) {
  const cells = makeCells(rings, resolution);
  const random = chance(seed);
  const middles = new Float32Array(2 * cells.length);
  cells.forEach((cell, place) => {
    const [lat, lon] = cellToLatLng(cell.toString(16));
    middles.set([lon, lat], 2 * place);
  });
  const draw = (Type, length, value) => Type.from({ length }, value);
  return {
    name, cells, dim, middles,
    vectors: draw(Int8Array, dim * cells.length, () => Math.round(254 * random()) - 127),
    colours: draw(Uint8Array, 3 * cells.length, () => Math.floor(256 * random())),
    groups: draw(Uint8Array, cells.length, () => Math.floor(3 * random())),
    income: draw(Float32Array, cells.length, (_, place) => (place === 5 ? NaN : place)),
    names: Array.from(cells, (_, place) => NAMES[place] ?? ""),
    inside: Array.from(cells, (_, place) => (place === 7 ? ["Café Müller", "Old port"] : [])),
  };
}

export async function writeRun(folder, run, changes = {}) {
  const { write, json } = await writer(folder);
  const count = run.cells.length;
  const starts = Uint32Array.from({ length: count + 1 }, (_, place) => 2 * place);
  const targets = Uint32Array.from({ length: 2 * count }, (_, i) => ((i >> 1) + 1 + (i & 1)) % count);
  const quantiles = [0.05, 0.25, 0.5, 0.75, 0.95].map((share) => share * (count - 1));
  await json("meta.json", {
    format: 1, name: run.name, notes: ["A note <b>for readers</b>."], kind: "h3", cellKm: null,
    places: count, dim: run.dim, service: null, second: null,
    cells: await write("cells.u64", run.cells),
    middles: await write("middles.f32", run.middles),
    names: await json("names.json", run.names),
    inside: await json("inside.json", run.inside),
    vectors: { values: await write("vectors.i8", run.vectors) },
    components: {
      colours: await write("components.u8", run.colours),
      key: await write("components_key.u8", new Uint8Array(12)),
      share: [0.5, 0.25, 0.125],
    },
    groups: {
      values: await write("groups.u8", run.groups),
      colours: [[200, 0, 0], [0, 200, 0], [0, 0, 200]],
      sizes: [0, 1, 2].map((group) => run.groups.filter((own) => own === group).length),
      descriptions: ["high Income", "low Income", "near the average"],
    },
    columns: [{
      name: "Income", kind: "label", unit: "US$", description: "of households, 2020",
      values: await write("column_0.f32", run.income), low: 0, high: count - 1, log: false,
      ramp: "sequential", known: count - 1, quantiles,
    }],
    ramps: { sequential: RAMP, diverging: RAMP },
    arcs: {
      starts: await write("arc_start.u32", starts),
      targets: await write("arc_target.u32", targets),
      weights: await write("arc_weight.f32", Float32Array.from(targets, (_, i) => 2 - (i & 1))),
      most: 2, minUsers: 5,
    },
    ...changes,
  });
}

/** Squares side by side: the first with a hole, the second in two parts. */
export async function writeZones(folder, changes = {}) {
  const { write, json } = await writer(folder);
  const square = (x, y, side) => [x, y, x + side, y, x + side, y + side, x, y + side];
  const hole = [0.4, 40.4, 0.4, 40.6, 0.6, 40.6, 0.6, 40.4]; // clockwise
  const corners = [square(0, 40, 1), hole, square(1, 40, 1), square(4, 40, 1), square(2, 40, 1)];
  await json("meta.json", {
    format: 1, name: "zones", notes: [], kind: "zone", cellKm: null, places: 3, dim: 2,
    service: null, second: null, names: null, inside: null,
    ids: await json("ids.json", ["first", "second", "third"]),
    outlines: {
      corners: await write("corners.f32", Float32Array.from(corners.flat())),
      ring_start: await write("ring_start.u32", Uint32Array.from([0, 4, 8, 12, 16, 20])),
      token_start: await write("token_start.u32", Uint32Array.from([0, 2, 4, 5])),
    },
    middles: await write("middles.f32", Float32Array.from([0.2, 40.5, 1.5, 40.5, 2.5, 40.5])),
    vectors: { values: await write("vectors.i8", Int8Array.from([100, 0, 100, 10, 0, 100])) },
    components: {
      colours: await write("components.u8", Uint8Array.from([200, 0, 0, 0, 200, 0, 0, 0, 200])),
      key: await write("components_key.u8", new Uint8Array(12)),
      share: [1, 0, 0],
    },
    groups: {
      values: await write("groups.u8", new Uint8Array(3)),
      colours: [[90, 90, 90]], sizes: [3], descriptions: ["near the average"],
    },
    columns: [], ramps: { sequential: RAMP, diverging: RAMP }, arcs: null,
    ...changes,
  });
}

/** Put the built page into a folder. */
export const copyPage = (folder) => cp(DIST, folder, { recursive: true });
export const rampColour = (share) => RAMP[Math.round(share * (RAMP.length - 1))];
