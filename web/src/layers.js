// What is drawn: the places, the chosen one, those like it, and its arcs.

import { ArcLayer, PathLayer, ScatterplotLayer, SolidPolygonLayer } from "@deck.gl/layers";

const INK = [20, 27, 38];
const PAPER = [255, 255, 255];
const ACCENT = [214, 40, 57];
// Marks lie over the places and over each other in the order they are drawn.
const ON_TOP = { depthCompare: "always", depthWriteEnabled: false };
const ARC_WIDTH = 5; // pixels of the strongest

/** The places of a run as one mesh, cut into triangles beforehand. */
export function placeLayer(id, run, colours) {
  const { corners, start, triangles } = run.outlines;
  return new SolidPolygonLayer({
    id,
    data: {
      length: run.count,
      startIndices: start,
      attributes: {
        getPolygon: { value: corners, size: 2 },
        getFillColor: { value: colours, size: 4 },
        indices: { value: triangles, size: 1 },
      },
    },
    _normalize: false,
    positionFormat: "XY",
    pickable: false, // places are looked up from the point under the pointer
  });
}

/** Marks over the places: { chosen, similar: [places], partners: [{ place, weight }] }. */
export function markLayers(id, run, { chosen, similar, partners, pointed }) {
  const some = chosen >= 0;
  // Layers that draw nothing are left out: each costs the first picture a shader.
  return [
    partners.length && arcLayer(`${id}-arcs`, run, chosen, partners),
    similar.length && dotLayer(`${id}-similar`, run, similar, 5, PAPER, INK),
    some && outlineLayer(`${id}-outline`, run, chosen),
    some && dotLayer(`${id}-chosen`, run, [chosen], 7, ACCENT, PAPER),
    pointed >= 0 && dotLayer(`${id}-pointed`, run, [pointed], 9, [...ACCENT, 0], ACCENT),
  ].filter(Boolean);
}

function dotLayer(id, run, places, radius, fill, line) {
  return new ScatterplotLayer({
    id,
    data: places,
    getPosition: (place) => run.middle(place),
    getRadius: radius,
    radiusUnits: "pixels",
    stroked: true,
    getFillColor: fill,
    getLineColor: line,
    getLineWidth: 2,
    lineWidthUnits: "pixels",
    parameters: ON_TOP,
  });
}

function outlineLayer(id, run, chosen) {
  return new PathLayer({
    id,
    data: run.outlines.rings(chosen),
    getPath: (ring) => ring,
    getColor: ACCENT,
    getWidth: 2,
    widthUnits: "pixels",
    parameters: ON_TOP,
  });
}

function arcLayer(id, run, chosen, partners) {
  const strongest = partners[0].weight;
  return new ArcLayer({
    id,
    data: partners,
    getSourcePosition: () => run.middle(chosen),
    getTargetPosition: ({ place }) => run.middle(place),
    getSourceColor: [...ACCENT, 210],
    getTargetColor: [...INK, 190],
    getWidth: ({ weight }) => 1 + (ARC_WIDTH - 1) * Math.sqrt(weight / strongest),
    getHeight: 0.4,
    getTilt: 70, // the map is seen from above, where an upright arc is a line
    updateTriggers: { getSourcePosition: chosen },
    parameters: ON_TOP,
  });
}
