// The legend: what the colours mean, in words, numbers and a strip.

import { colourOf, cssColour, missingColour, onScale } from "./colours.js";
import { make } from "./elements.js";
import { countText, numberText, shortText } from "./numbers.js";

const BARS = 36; // of the histogram over the strip

/** Make the legend of one run. */
export async function legendOf(run, view) {
  if (view.kind === "absent") return [make("p", { textContent: "This run does not have it." })];
  if (view.kind === "components") return componentLegend(run, view);
  if (view.kind === "groups") return groupLegend(view);
  return columnLegend(run, view);
}

async function componentLegend(run, { key, share }) {
  const colours = await run.array(key);
  const side = Math.sqrt(colours.length / 3);
  const canvas = make("canvas", { width: side, height: side, ariaHidden: true });
  const image = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    image.data.set([...colours.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  const parts = share.map((part) => `${Math.round(100 * part)}%`);
  const text = "Like colours mean like places. Across, up and from dark to light are the "
    + `three directions in which the places differ most (${parts[0]}, ${parts[1]} and `
    + `${parts[2]} of all difference).`;
  return [make("div", { className: "key" }, canvas, make("p", { textContent: text }))];
}

function groupLegend({ colours, sizes, descriptions }) {
  const items = sizes.map((size, group) => make("li", {},
    swatch(cssColour(colours[group])),
    make("span", { textContent: `Group ${group + 1}: ${descriptions[group]}` }),
    make("small", { textContent: countText(size) })));
  return [
    make("p", { textContent: "Places of like vectors, the largest group first, and what sets"
      + " each apart from the average place." }),
    make("ul", { className: "groups" }, ...items),
  ];
}

function columnLegend(run, view) {
  const title = view.unit ? `${view.name} (${view.unit})` : view.name;
  const nodes = [make("p", { className: "title", textContent: title })];
  if (view.description) nodes.push(make("p", { textContent: view.description }));
  if (!view.known) return [...nodes, make("p", { textContent: "No place has a value." })];
  nodes.push(histogram(view), strip(view), ticks(view));
  nodes.push(make("p", { className: "spread", textContent: spread(view) }));
  const missing = run.count - view.known;
  if (missing) {
    const text = `no value: ${countText(missing)} of ${countText(run.count)} places`;
    nodes.push(make("p", { className: "absent" }, swatch(missingColour), text));
  }
  return nodes;
}

function spread({ quantiles: [lowest, lower, middle, upper, highest], unit }) {
  const text = (value) => numberText(value, unit);
  return `Half of the places lie between ${text(lower)} and ${text(upper)}, the middle one at `
    + `${text(middle)}. One in twenty is below ${text(lowest)}, one in twenty above `
    + `${text(highest)}.`;
}

function histogram(view) {
  const counts = new Array(BARS).fill(0);
  for (const value of view.values) {
    if (Number.isFinite(value)) counts[Math.floor(onScale(view, value) * (BARS - 1e-9))]++;
  }
  const most = Math.max(...counts);
  const bars = counts.map((count, bar) => {
    const node = make("i");
    node.style.height = `${count ? Math.max(2, (100 * count) / most) : 0}%`;
    node.style.background = rampColour(view, (bar + 0.5) / BARS);
    return node;
  });
  return make("div", { className: "bars", ariaHidden: true }, ...bars);
}

function strip(view) {
  const steps = [0, 0.25, 0.5, 0.75, 1].map((share) => rampColour(view, share));
  const node = make("div", { className: "strip" });
  node.style.background = `linear-gradient(90deg, ${steps.join(", ")})`;
  return node;
}

function ticks({ low, high, log, unit }) {
  const middle = log ? Math.sqrt(low * high) : (low + high) / 2;
  const labels = [low, middle, high].map((value) =>
    make("span", { textContent: shortText(value, unit === "%" ? unit : "") }));
  return make("div", { className: "ticks" }, ...labels);
}

function rampColour({ colours }, share) {
  return cssColour(colours[Math.round(share * (colours.length - 1))]);
}

export function swatch(colour) {
  const node = make("i", { className: "swatch", ariaHidden: true });
  node.style.background = colour;
  return node;
}

export const placeSwatch = (run, view, place) => swatch(cssColour(colourOf(run, view, place)));
