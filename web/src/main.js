// The page: opens the runs and ties map, panel, search and service together.

import { allowSimilarity, fillChooser } from "./chooser.js";
import { cornerColours, viewOf } from "./colours.js";
import { element, make } from "./elements.js";
import { findSimilar, findWords } from "./finding.js";
import { legendOf } from "./legend.js";
import { NO_MARKS, PlacesMap } from "./map.js";
import { countText } from "./numbers.js";
import { hidePlace, showPlace } from "./panel.js";
import { openRun } from "./run.js";
import { makeSearchBox } from "./searchbox.js";
import { showTip } from "./tip.js";

const FOLDER = "data";

class Explorer {
  constructor(runs) {
    this.runs = runs;
    this.views = [];
    this.likeness = runs.map(() => null); // cosines with the chosen place, in each run
    this.chosen = null; // { pane, place }
    this.shown = "components";
    this.map = new PlacesMap(element("stage"), runs, {
      choose: (pane, place) => this.choose(pane, place),
      point: (pane, place, x, y) => showTip(runs[pane], this.views[pane], place, x, y),
      letGo: () => this.letGo(),
    });
  }

  async recolour() {
    await Promise.all(this.runs.slice(0, this.map.shown).map(async (run, pane) => {
      const view = await viewOf(run, this.shown, this.likeness[pane]);
      this.views[pane] = view;
      this.map.colour(pane, cornerColours(run, view));
      const legend = element(pane ? "second-legend" : "legend");
      const named = this.map.shown > 1 ? [make("h3", { textContent: run.meta.name })] : [];
      legend.replaceChildren(...named, ...await legendOf(run, view));
    }));
  }

  async show(name) {
    this.shown = name;
    element("shown").value = name;
    await this.recolour();
  }

  async choose(pane, place) {
    this.chosen = { pane, place };
    const at = this.runs[pane].middle(place);
    await Promise.all(this.runs.slice(0, this.map.shown).map((run, other) => {
      const same = other === pane ? place : run.locate(at);
      return this.#mark(other, same, other === pane);
    }));
    allowSimilarity(true);
    if (this.shown === "similarity") await this.recolour();
  }

  async #mark(pane, place, detailed) {
    const run = this.runs[pane];
    if (place < 0) return this.map.mark(pane, NO_MARKS);
    const [{ similar, source, likeness }, partners] = await Promise.all(
      [findSimilar(run, place), run.partners(place)]);
    this.likeness[pane] = likeness;
    const places = similar.map((found) => found.place);
    this.map.mark(pane, { chosen: place, similar: places, partners, pointed: -1 });
    if (!detailed) return;
    this.similar = places;
    await showPlace(run, this.views[pane], { place, similar, source, partners }, {
      choose: (other) => this.goTo(pane, other),
      point: (other) => this.map.mark(pane, { pointed: other }),
    });
    if (this.map.narrow.matches) element("chosen").scrollIntoView({ block: "start" });
  }

  async goTo(pane, place) {
    this.map.goTo(pane, place);
    await this.choose(pane, place);
    element("name").focus({ preventScroll: true });
  }

  letGo() {
    this.chosen = null;
    this.likeness = this.runs.map(() => null);
    this.runs.forEach((_, pane) => this.map.mark(pane, NO_MARKS));
    hidePlace();
    if (allowSimilarity(false)) this.show("components");
  }

  async compare(on) {
    this.map.showPanes(on ? 2 : 1);
    const button = element("compare");
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on
      ? "Show one run" : `Compare with ${this.runs[1].meta.name}`;
    for (const id of ["first-name", "second-name", "second-legend"]) element(id).hidden = !on;
    element("run-line").hidden = !on;
    document.body.classList.toggle("comparing", on);
    await this.recolour();
    if (this.chosen && this.chosen.pane < this.map.shown) {
      await this.choose(this.chosen.pane, this.chosen.place);
    } else this.letGo();
  }
}

function describe({ meta }) {
  document.title = `${meta.name}: places`;
  element("title").textContent = meta.name;
  const what = { h3: "H3 cells", grid: "grid cells", zone: "zones" }[meta.kind];
  element("size").textContent = `${countText(meta.places)} ${what}, ${meta.dim} numbers each`;
  element("notes").replaceChildren(...meta.notes.map((note) => make("li", { textContent: note })));
}

function listen(explorer) {
  const { map, runs } = explorer;
  const on = (id, act) => element(id).addEventListener("click", act);
  on("zoom-in", () => map.zoomBy(1));
  on("zoom-out", () => map.zoomBy(-1));
  on("fit", () => map.fit());
  on("clear", () => explorer.letGo());
  on("fit-similar", () => map.fitPlaces(
    explorer.chosen.pane, [explorer.chosen.place, ...explorer.similar]));
  makeSearchBox((text, early) => findWords(runs[0], text, early), (place) => explorer.goTo(0, place));
  fillChooser(runs, (name) => explorer.show(name));
  if (runs.length < 2) return;
  runs.forEach((run, pane) => {
    element(pane ? "second-name" : "first-name").textContent = run.meta.name;
  });
  element("compare").hidden = false;
  element("compare").textContent = `Compare with ${runs[1].meta.name}`;
  on("compare", () => explorer.compare(map.shown === 1));
}

async function start() {
  const first = await openRun(FOLDER);
  describe(first);
  const runs = [first];
  if (first.meta.second) runs.push(await openRun(`${FOLDER}/${first.meta.second}`));
  const explorer = new Explorer(runs);
  globalThis.explorer = explorer; // for tests, and for those who look into the page
  listen(explorer);
  await explorer.recolour();
}

start().catch((error) => {
  element("title").textContent = "Nothing to show";
  element("trouble").textContent = error.message;
  element("trouble").hidden = false;
});
