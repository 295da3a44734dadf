// Moving the view, and choosing a place to look at.

const FLIGHT_MS = 380;

/* Moving the view */

const mainBox = mainExtent(places);
const home = () => ({ ...view.around(mainBox), home: true });
const sides = Float64Array.from({ length: places.count }, (_, token) =>
  places.boxes[4 * token + 2] - places.boxes[4 * token]).sort();
const wholeExtent = extent(places);

/** Keep the middle over the places, and the scale between all and one of them. */
function moveTo({ x, y, scale }) {
  const nearest = (0.6 * Math.min(view.width, view.height)) / (sides[sides.length >> 1] || 1e-6);
  const all = view.around(wholeExtent).scale;
  view.scale = Math.max(0.5 * all, Math.min(Math.max(nearest, 4 * home().scale), scale));
  const [west, north, east, south] = wholeExtent;
  view.x = Math.max(west, Math.min(east, x));
  view.y = Math.max(north, Math.min(south, y));
}

/** Zoom so that the point under (px, py) stays where it is. */
function zoomAt(px, py, factor) {
  const [x, y] = view.toPlane(px, py);
  moveTo({ ...view, scale: view.scale * factor });
  const [left, top] = view.toPlane(px, py);
  moveTo({ scale: view.scale, x: view.x + x - left, y: view.y + y - top });
  moved();
}

function panBy(dx, dy) {
  moveTo({ scale: view.scale, x: view.x - dx / view.scale, y: view.y - dy / view.scale });
  moved();
}

let flight = 0;

/** Glide to another view; at once where the reader prefers no motion. */
function flyTo(goal) {
  cancelAnimationFrame(flight);
  const from = { x: view.x, y: view.y, scale: view.scale };
  const begun = performance.now();
  const step = (now) => {
    const t = calm.matches ? 1 : Math.max(0, Math.min(1, (now - begun) / FLIGHT_MS));
    const ease = t * t * (3 - 2 * t);
    const mix = (a, b) => a + (b - a) * ease;
    const scale = from.scale * (goal.scale / from.scale) ** ease;
    moveTo({ x: mix(from.x, goal.x), y: mix(from.y, goal.y), scale });
    moved();
    if (t < 1) flight = requestAnimationFrame(step);
    else if (goal.home) state.touched = false; // follow the window's size again
  };
  flight = requestAnimationFrame(step);
}

/** Bring a place into view if it is not there yet. */
function reveal(token) {
  const [x, y] = [places.middleX[token], places.middleY[token]];
  if (!Number.isFinite(x)) return;
  const [px, py] = view.toScreen(x, y);
  const inside = px > 40 && py > 80 && px < view.width - 40 && py < view.height - 40;
  if (!inside) flyTo({ x, y, scale: view.scale });
}

function resize() {
  const { width, height } = element("map").getBoundingClientRect();
  Object.assign(view, { width: Math.max(1, width), height: Math.max(1, height) });
  for (const context of [base, marks]) {
    context.canvas.width = Math.round(view.width * devicePixelRatio);
    context.canvas.height = Math.round(view.height * devicePixelRatio);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  }
  moveTo(state.touched ? view : home());
  drawBase();
  drawMarks();
}

/* Choosing a place */

let vectors = null;

function choose(token) {
  vectors ??= decode(data.vectors, Int8Array); // large; decoded when first needed
  state.chosen = token;
  state.likeness = cosines(vectors, places.dim, token);
  state.similar = greatest(state.likeness, token, data.similar);
  element("shown").querySelector("[value=similarity]").disabled = false;
  if (state.shown === "similarity") show("similarity");
  pointAt(-1);
  fillPanel(token);
  location.hash = encodeURIComponent(places.ids[token]);
  reveal(token);
  markLegend();
  redraw();
}

function clearChoice() {
  if (state.chosen < 0) return;
  Object.assign(state, { chosen: -1, similar: [], pointed: -1 });
  element("shown").querySelector("[value=similarity]").disabled = true;
  if (state.shown === "similarity") show("vectors");
  element("chosen").hidden = true;
  element("hint").hidden = false;
  location.hash = "";
  markLegend();
  redraw();
}

function whereText(token) {
  const [lon, lat] = places.lonlat.subarray(2 * token, 2 * token + 2);
  if (!Number.isFinite(lon)) return "place unknown";
  if (places.kind === "grid") return `column ${Math.ceil(lon)}, row ${Math.ceil(lat)}`;
  return `${degrees(places, lat, "N", "S", 3)}, ${degrees(places, lon, "E", "W", 3)}`;
}

function fillPanel(token) {
  const [name, id] = [places.names[token], places.ids[token]];
  element("hint").hidden = true;
  element("chosen").hidden = false;
  element("name").textContent = name;
  element("where").textContent = (name === id ? "" : `${id} · `) + whereText(token);
  element("values").replaceChildren(...layers.flatMap((layer) => [
    make("dt", { textContent: layer.name.replace(/\s*\([^()]+\)$/, "") }),
    make("dd", { textContent: valueText(layer.values[token], layer.unit) }),
  ]));
  element("similar").replaceChildren(...state.similar.map((other) => similarItem(token, other)));
  element("status").textContent = `${name} chosen. Most similar: `
    + state.similar.map((other) => places.names[other]).join("; ");
  const top = narrow.matches ? element("place") : element("colours"); // keep the legend
  element("panel").scrollTo({ top: top.offsetTop, behavior: calm.matches ? "auto" : "smooth" });
}

function similarItem(token, other) {
  const chip = make("i");
  chip.style.background = cssColour(packed(vectorColours, other));
  const km = distanceKm(places, token, other);
  const button = make("button", { type: "button" }, chip,
    make("strong", { textContent: places.names[other] }),
    make("small", { textContent: Number.isFinite(km) ? `${lengthText(km)} away` : "" }),
    make("span", { textContent: state.likeness[other].toFixed(2) }));
  button.addEventListener("click", () => {
    choose(other);
    element("name").focus({ preventScroll: true }); // this list's buttons are gone
  });
  for (const event of ["mouseenter", "focus"]) {
    button.addEventListener(event, () => pointAt(other));
  }
  for (const event of ["mouseleave", "blur"]) button.addEventListener(event, () => pointAt(-1));
  return make("li", {}, button);
}

/** Mark a place and name it beside the pointer, or beside the place itself. */
function pointAt(token, px, py) {
  const tip = element("tip");
  if (token !== state.pointed) {
    state.pointed = token;
    markLegend();
    drawMarks();
  }
  tip.hidden = token < 0;
  if (tip.hidden) return;
  if (px === undefined) {
    [px, py] = view.toScreen(places.middleX[token], places.middleY[token]);
    const onMap = px >= 0 && py >= 0 && px <= view.width && py <= view.height;
    if (!onMap) {
      tip.hidden = true;
      return;
    }
  }
  const layer = shownLayer();
  tip.replaceChildren(places.names[token]);
  if (layer) tip.append(make("span", { textContent: valueText(layer.values[token], layer.unit) }));
  const { width, height } = tip.getBoundingClientRect();
  const left = px + 14 + width > view.width ? px - 14 - width : px + 14;
  const top = py + 16 + height > view.height ? py - 12 - height : py + 16;
  tip.style.transform = `translate(${Math.round(Math.max(4, left))}px, ${Math.round(top)}px)`;
}
