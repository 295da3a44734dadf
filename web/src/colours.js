// What the map shows and the colour of every place in it.
//
// A view is { kind, title, ... } for one run: "components", "groups", or a "column" with
// values, low, high, log and ramp; "absent" where a run does not have it.

const MISSING = [176, 184, 194];

export const SIMILARITY = "similarity";

/** Look up in a run what was chosen under "Colour by". */
export async function viewOf(run, shown, likeness) {
  const { meta } = run;
  if (shown === "components") return { kind: "components", ...meta.components };
  if (shown === "groups") {
    return { kind: "groups", ...meta.groups, values: await run.array(meta.groups.values) };
  }
  if (shown === SIMILARITY) return likeness ? similarityView(run, likeness) : { kind: "absent" };
  const column = run.column(shown);
  if (!column) return { kind: "absent" };
  const values = await run.array(column.values);
  return { ...column, type: column.kind, kind: "column", colours: meta.ramps[column.ramp], values };
}

function similarityView(run, likeness) {
  const sorted = likeness.slice().sort();
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const quantiles = [0.05, 0.25, 0.5, 0.75, 0.95].map(at);
  return {
    kind: "column", name: "Similarity to the chosen place", unit: "", values: likeness,
    description: "Cosine of the vectors: 1 alike, 0 unrelated",
    low: quantiles[0], high: at(0.995), log: false, known: likeness.length, quantiles,
    colours: run.meta.ramps.sequential,
  };
}

/** Say where a value lies on a column's scale: 0 at the low end, 1 at the high end. */
export function onScale({ low, high, log }, value) {
  const share = log
    ? Math.log(Math.max(value, low) / low) / Math.log(high / low)
    : (value - low) / (high - low);
  return Math.max(0, Math.min(1, share));
}

/** Give one place's colour. */
export function colourOf(run, view, place) {
  if (view.kind === "components") return [...run.colours.subarray(3 * place, 3 * place + 3)];
  if (view.kind === "groups") return view.colours[view.values[place]];
  if (view.kind === "absent" || !Number.isFinite(view.values[place])) return MISSING;
  return view.colours[Math.round(onScale(view, view.values[place]) * (view.colours.length - 1))];
}

/** Give the colours of all corners: red, green, blue and opacity of each. */
export function cornerColours(run, view) {
  const { start } = run.outlines;
  const packed = new Uint32Array(start[run.count]);
  const bytes = new Uint8Array(packed.buffer);
  for (let place = 0; place < run.count; place++) {
    const [red, green, blue] = colourOf(run, view, place);
    // Whole corners are written at once; browsers run on little-endian machines only.
    packed.fill(((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0,
      start[place], start[place + 1]);
  }
  return bytes;
}

export const cssColour = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
export const missingColour = cssColour(MISSING);
