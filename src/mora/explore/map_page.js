// The state of the page, its colours, its legend and its picture.

const REST_MS = 130; // after the last movement the map is drawn in full quality
const FRAME_MS = 24; // a full picture that takes longer is drawn coarsely in motion
const BARS = 32; // columns of a layer's histogram

const element = (id) => document.getElementById(id);
const data = JSON.parse(element("data").textContent);
const places = readPlaces(data);
const view = new View();
const painter = new Painter();
const base = element("base").getContext("2d");
const marks = element("marks").getContext("2d");
const vectorColours = decode(data.colours, Uint8Array);
const ramp = decode(data.ramp, Uint8Array);
const layers = data.layers.map((layer) => ({
  ...layer,
  values: decode(layer.values, Float32Array),
}));
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const narrow = matchMedia("(max-width: 720px)"); // as in map.css
const dark = matchMedia("(prefers-color-scheme: dark)");

const state = {
  chosen: -1, // the token whose panel is open
  pointed: -1, // the token under the pointer, or in a list
  similar: [],
  likeness: null, // cosine of every place with the chosen one
  shown: "vectors", // or "similarity", or the number of a layer
  colours: new Uint32Array(places.count),
  touched: false, // the reader has moved the map
  moving: false,
  fullMs: 0,
};

/* Numbers and colours */

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const precise = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function withUnit(text, unit) {
  return unit && text !== "no value" ? `${text}${unit === "%" ? "" : "\u00a0"}${unit}` : text;
}

function valueText(value, unit = "") {
  if (!Number.isFinite(value)) return "no value";
  return withUnit((Math.abs(value) >= 1000 ? whole : precise).format(value), unit);
}

function themeColours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ["ground", "grid", "muted", "missing", "accent"];
  return Object.fromEntries(names.map((name) => [name, read(name)]));
}

/** Pack a colour the way ImageData keeps it on little-endian machines. */
function packed(colours, index) {
  const [red, green, blue] = colours.subarray(3 * index, 3 * index + 3);
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function cssColour(pixel) {
  return `rgb(${pixel & 255} ${(pixel >> 8) & 255} ${(pixel >> 16) & 255})`;
}

/** The layer now shown: one of the file's, or the similarity to the chosen place. */
function shownLayer() {
  if (state.shown === "vectors") return null;
  if (state.shown !== "similarity") return layers[state.shown];
  return { name: "Similarity", unit: "", low: 0, high: 1, log: false, values: state.likeness };
}

/** Where a value lies on its layer's scale: 0 at the low end, 1 at the high end. */
function onScale({ low, high, log }, value) {
  const share = log
    ? Math.log(Math.max(value, low) / low) / Math.log(high / low)
    : (value - low) / (high - low);
  return Math.max(0, Math.min(1, share));
}

function rampColour(share) {
  return packed(ramp, Math.round(share * (ramp.length / 3 - 1)));
}

function recolour() {
  const layer = shownLayer();
  const hex = Number.parseInt(themeColours().missing.slice(1), 16);
  const missing = packed(Uint8Array.of(hex >> 16, (hex >> 8) & 255, hex & 255), 0);
  for (let token = 0; token < places.count; token++) {
    if (!layer) state.colours[token] = packed(vectorColours, token);
    else if (!Number.isFinite(layer.values[token])) state.colours[token] = missing;
    else state.colours[token] = rampColour(onScale(layer, layer.values[token]));
  }
}

/* Legend */

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function drawLegend() {
  const layer = shownLayer();
  element("legend").replaceChildren(...(layer ? layerLegend(layer) : vectorLegend()));
  markLegend();
}

function vectorLegend() {
  const key = decode(data.key, Uint8Array);
  const side = Math.sqrt(key.length / 3);
  const canvas = make("canvas", { width: side, height: side });
  const image = new ImageData(side, side);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = packed(key, i);
  canvas.getContext("2d").putImageData(image, 0, 0);
  const [first, second, third] = data.share.map((share) => `${Math.round(100 * share)}%`);
  const text = "Like colours mean like vectors. Left to right, bottom to top and dark to "
    + `light are the three directions in which vectors differ most (${first}, ${second} `
    + `and ${third} of their variance).`;
  return [make("div", { className: "key" }, canvas, make("p", { textContent: text }))];
}

function layerLegend(layer) {
  const counts = new Array(BARS).fill(0);
  let absent = 0;
  for (const value of layer.values) {
    if (!Number.isFinite(value)) absent++;
    else counts[Math.min(BARS - 1, Math.floor(onScale(layer, value) * BARS))]++;
  }
  const most = Math.max(...counts, 1);
  const bars = counts.map((count, i) => {
    const bar = make("i");
    bar.style.height = count ? `${Math.max(2, (100 * count) / most)}%` : "0";
    bar.style.background = cssColour(rampColour((i + 0.5) / BARS));
    return bar;
  });
  const strip = make("div", { className: "strip" }, make("b", { hidden: true }));
  const stops = Array.from({ length: 17 }, (_, i) => cssColour(rampColour(i / 16)));
  strip.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
  const scale = [layer.unit && `In ${layer.unit}`, layer.log && "log scale"].filter(Boolean);
  const text = scale.length ? `${scale.join(", ")}. `.replace(/^l/, "L") : "";
  const parts = [
    make("div", { className: "bars" }, ...bars), strip, legendTicks(layer),
    make("p", { textContent: `${text}Taller bars, more places; the end bars include the extremes.` }),
  ];
  if (absent) {
    const count = `${absent.toLocaleString("en")} without a value`;
    parts.push(make("p", { className: "absent" }, make("i"), count));
  }
  return parts;
}

function legendTicks(layer) {
  const pick = layer.log ? roundPowers : roundSteps;
  const ticks = pick(layer.low, layer.high, 6).map((value) => {
    const tick = make("span", { textContent: compact.format(value) });
    tick.style.left = `${100 * onScale(layer, value)}%`;
    return tick;
  });
  return make("div", { className: "ticks" }, ...ticks);
}

/** Show on the legend where the pointed or chosen place lies. */
function markLegend() {
  const marker = element("legend").querySelector("b");
  if (!marker) return;
  const layer = shownLayer();
  const value = layer.values[state.pointed >= 0 ? state.pointed : state.chosen];
  marker.hidden = !Number.isFinite(value);
  if (!marker.hidden) marker.style.left = `${100 * onScale(layer, value)}%`;
}

function show(what) {
  state.shown = what === "vectors" || what === "similarity" ? what : Number(what);
  element("shown").value = what;
  recolour();
  drawLegend();
  redraw();
}

/* Drawing */

let pending = 0;
let resting = 0;

/** Ask for one new picture before the next frame. */
function redraw() {
  pending ||= requestAnimationFrame(() => {
    pending = 0;
    drawBase();
    drawMarks();
  });
}

function moved() {
  state.touched = true;
  state.moving = true;
  pointAt(-1);
  clearTimeout(resting);
  resting = setTimeout(() => {
    state.moving = false;
    redraw();
  }, REST_MS);
  redraw();
}

function drawBase() {
  const theme = themeColours();
  const begun = performance.now();
  const coarse = state.moving && state.fullMs > FRAME_MS;
  base.clearRect(0, 0, view.width, view.height);
  const lines = drawGrid(base, places, view, theme.grid);
  painter.paint(base, places, view, state.colours, coarse ? 1 : Math.max(2, devicePixelRatio));
  if (!coarse) drawOutlines(base, places, view, theme.ground);
  drawGridLabels(base, places, view, lines, theme);
  drawScaleBar(base, places, view, theme);
  if (!coarse) state.fullMs = performance.now() - begun;
}

function drawMarks() {
  marks.clearRect(0, 0, view.width, view.height);
  const style = { colour: "#ffffff", halo: "rgb(10 14 20 / 75%)" };
  for (const token of state.similar) {
    drawMark(marks, places, view, token, { ...style, radius: 5, width: 1.8 });
  }
  if (state.chosen >= 0) {
    drawMark(marks, places, view, state.chosen, { ...style, radius: 8, width: 3.6 });
  }
  if (state.pointed >= 0) {
    drawMark(marks, places, view, state.pointed, { ...style, radius: 7, width: 2.4 });
  }
  if (element("marks").matches(":focus-visible")) drawCrosshair();
}

/** Show keyboard users which point Enter chooses. */
function drawCrosshair() {
  const [x, y] = [Math.round(view.width / 2) + 0.5, Math.round(view.height / 2) + 0.5];
  for (const [width, colour] of [[4, "#ffffff"], [1.5, "#10151c"]]) {
    marks.beginPath();
    for (const [dx, dy] of [[1, 0], [0, 1], [-1, 0], [0, -1]]) {
      marks.moveTo(x + 5 * dx, y + 5 * dy);
      marks.lineTo(x + 13 * dx, y + 13 * dy);
    }
    marks.lineWidth = width;
    marks.strokeStyle = colour;
    marks.stroke();
  }
}
