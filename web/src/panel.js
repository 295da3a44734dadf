// The panel about the chosen place: what is there, its numbers, movement, places like it.

import { placeSwatch } from "./legend.js";
import { element, make } from "./elements.js";
import { countText, numberText, placeText } from "./numbers.js";

const WORDS = 8; // things in the place that are named
const PARTNERS = 6; // of those drawn as arcs, this many are listed
const TITLES = {
  label: "Labels", prediction: "Predictions", residual: "Residuals",
  input: "Who lives here", people: "People", movement: "Movement",
};

/** Show a place; `on.choose(place)` and `on.point(place)` follow its lists. */
export async function showPlace(run, view, { place, similar, source, partners }, on) {
  const [{ id, name }, inside, values] = await Promise.all(
    [run.texts(), run.inside(), valuesAt(run, place)]);
  element("name").textContent = name(place);
  const where = placeText(run.middle(place), run.meta.kind !== "grid");
  element("where").textContent = name(place) === id(place) ? where : `${where} · ${id(place)}`;
  element("run").textContent = run.meta.name;
  showInside(inside?.[place] ?? []);
  element("values").replaceChildren(...values);
  showPartners(run, partners, name, on);
  element("similar").replaceChildren(...similar.map(({ place: other, score }) =>
    placeButton(run, view, other, name(other), score.toFixed(2), on)));
  element("source").textContent = source;
  element("hint").hidden = true;
  element("chosen").hidden = false;
  element("status").textContent =
    `${name(place)} chosen; ${similar.length} places like it are listed and marked.`;
}

export function hidePlace() {
  element("hint").hidden = false;
  element("chosen").hidden = true;
  element("status").textContent = "";
}

function showInside(words) {
  const listed = words.slice(0, WORDS).map((word) => make("li", { textContent: word }));
  element("inside").replaceChildren(...listed);
  element("inside-part").hidden = !words.length;
}

/** Give rows of all columns: name, value, and how many places lie below. */
async function valuesAt(run, place) {
  const rows = [];
  let kind = "";
  for (const column of run.meta.columns) {
    const values = await run.array(column.values);
    if (column.kind !== kind) {
      kind = column.kind;
      rows.push(make("h3", { textContent: TITLES[kind] }));
    }
    rows.push(valueRow(column, values, place));
  }
  return rows;
}

function valueRow(column, values, place) {
  const value = values[place];
  const row = make("div", { className: "value", title: column.description },
    make("span", { textContent: column.name }),
    make("b", { textContent: numberText(value, column.unit) }));
  if (!Number.isFinite(value)) return row;
  const below = values.reduce((count, other) => count + (other < value), 0);
  const share = column.known > 1 ? below / (column.known - 1) : 0;
  const bar = make("i");
  bar.style.setProperty("--share", share);
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `higher than ${Math.round(100 * share)}% of places`);
  row.append(bar);
  return row;
}

function showPartners(run, partners, name, on) {
  const { arcs } = run.meta;
  element("partners-part").hidden = !arcs;
  if (!arcs) return;
  const listed = partners.slice(0, PARTNERS).map(({ place, weight }) =>
    placeButton(run, null, place, name(place), numberText(weight), on));
  element("partners").replaceChildren(...listed);
  const hidden = arcs.minUsers ? `; pairs of fewer than ${arcs.minUsers} people are left out` : "";
  element("partners-note").textContent = partners.length
    ? `Both directions together. The map draws the ${countText(partners.length)} strongest${hidden}.`
    : `No movement to other places${hidden}.`;
}

function placeButton(run, view, place, title, note, on) {
  const button = make("button", { type: "button" },
    ...(view ? [placeSwatch(run, view, place)] : []),
    make("strong", { textContent: title }),
    make("small", { textContent: placeText(run.middle(place), run.meta.kind !== "grid") }),
    make("span", { textContent: note }));
  button.dataset.place = place;
  button.addEventListener("click", () => on.choose(place));
  for (const event of ["pointerenter", "focus"]) {
    button.addEventListener(event, () => on.point(place));
  }
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => on.point(-1));
  return make("li", {}, button);
}
