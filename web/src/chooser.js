// The choice of what the map is coloured by.

import { SIMILARITY } from "./colours.js";
import { element, make } from "./elements.js";

const SECTIONS = [
  ["label", "Labels"], ["prediction", "Predictions"], ["residual", "Residuals"],
  ["input", "Who lives there"], ["people", "People"], ["movement", "Movement"],
];

export function fillChooser(runs, change) {
  const chooser = element("shown");
  const vectors = make("optgroup", { label: "Vectors" },
    new Option("Likeness (three main directions)", "components"),
    new Option("Groups of like places", "groups"),
    new Option("Similarity to the chosen place", SIMILARITY));
  chooser.replaceChildren(vectors);
  const columns = new Map(runs.flatMap(({ meta }) => meta.columns.map((c) => [c.name, c.kind])));
  for (const [kind, label] of SECTIONS) {
    const names = [...columns.keys()].filter((name) => columns.get(name) === kind);
    if (!names.length) continue;
    chooser.append(make("optgroup", { label }, ...names.map((name) => new Option(name, name))));
  }
  chooser.addEventListener("change", () => change(chooser.value));
  allowSimilarity(false);
}

/** Similarity can be shown only while a place is chosen. */
export function allowSimilarity(allowed) {
  const chooser = element("shown");
  const option = [...chooser.options].find(({ value }) => value === SIMILARITY);
  option.disabled = !allowed;
  if (!allowed && option.selected) {
    chooser.value = "components";
    return true; // what is shown must change
  }
  return false;
}
