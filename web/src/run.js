// One run: its places at once, everything else when it is first wanted.

import { readArray, readJson } from "./files.js";
import { makeLocate } from "./locate.js";
import { cellOutlines, zoneOutlines } from "./outlines.js";

const FORMAT = 1;

export async function openRun(folder) {
  const meta = await readJson(`${folder}/meta.json`);
  if (meta.format !== FORMAT) {
    throw new Error(`${folder} has format ${meta.format}; this page reads ${FORMAT}.`);
  }
  const run = new Run(folder, meta);
  await run.open();
  return run;
}

export class Run {
  #read = new Map();

  constructor(folder, meta) {
    this.folder = folder;
    this.meta = meta;
    this.count = meta.places;
  }

  async open() {
    const { meta } = this;
    const [middles, colours] = await Promise.all(
      [this.array(meta.middles), this.array(meta.components.colours)]);
    Object.assign(this, { middles, colours });
    if (meta.cells) {
      this.cells = await this.array(meta.cells);
      this.outlines = cellOutlines(this.cells);
    } else {
      const { corners, ring_start, token_start } = meta.outlines;
      const files = [corners, ring_start, token_start].map((file) => this.array(file));
      this.outlines = zoneOutlines(...await Promise.all(files));
    }
    this.locate = makeLocate(this);
  }

  array(file) { return this.#once(file, readArray); }

  json(file) { return this.#once(file, readJson); }

  #once(file, read) {
    if (!this.#read.has(file)) this.#read.set(file, read(`${this.folder}/${file}`));
    return this.#read.get(file);
  }

  middle(place) { return [this.middles[2 * place], this.middles[2 * place + 1]]; }

  /** Read what a list of places shows: ids and names. */
  async texts() {
    const { ids, names } = this.meta;
    const read = (file) => (file ? this.json(file) : null);
    const [idTexts, nameTexts] = await Promise.all([read(ids), read(names)]);
    const id = (place) => (idTexts ? idTexts[place] : this.cells[place].toString(16));
    const name = (place) => nameTexts?.[place] || id(place);
    return { id, name };
  }

  inside() { return this.meta.inside ? this.json(this.meta.inside) : null; }

  column(name) { return this.meta.columns.find((column) => column.name === name); }

  /** List the strongest edges of a place: [{ place, weight }], the strongest first. */
  async partners(place) {
    const { arcs } = this.meta;
    if (!arcs) return [];
    const [starts, targets, weights] = await Promise.all(
      [arcs.starts, arcs.targets, arcs.weights].map((file) => this.array(file)));
    const found = [];
    for (let edge = starts[place]; edge < starts[place + 1]; edge++) {
      found.push({ place: targets[edge], weight: weights[edge] });
    }
    return found;
  }
}
