// Search, pointer and keyboard; then the start of it all.

const MOVED = 5; // pointer travel, CSS pixels, from which a press is a drag
const REACH = { mouse: 6, pen: 10, touch: 16 }; // how near a click must be to a middle
const SHOWN_MATCHES = 8;
const WHEEL_ZOOM = 1 / 500; // powers of e per pixel of wheel travel
const KEY_PAN = 80; // CSS pixels per press of an arrow key

/* Search */

const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
let plainNames = null;

function matching(query) {
  plainNames ??= places.names.map((name, token) => [plain(name), plain(places.ids[token])]);
  const wanted = plain(query.trim());
  if (!wanted) return [];
  const first = [], later = [];
  for (let token = 0; token < places.count && first.length < SHOWN_MATCHES; token++) {
    const texts = plainNames[token];
    if (texts.some((text) => text.startsWith(wanted))) first.push(token);
    else if (texts.some((text) => text.includes(wanted))) later.push(token);
  }
  return [...first, ...later].slice(0, SHOWN_MATCHES);
}

function listMatches() {
  const query = element("query");
  const found = matching(query.value);
  const items = found.map((token, i) => {
    const item = make("li", { id: `found-${i}` }, places.names[token]);
    item.setAttribute("role", "option");
    item.dataset.token = token;
    if (places.names[token] !== places.ids[token]) {
      item.append(make("small", { textContent: places.ids[token] }));
    }
    item.addEventListener("pointerdown", (event) => event.preventDefault()); // keep focus
    item.addEventListener("click", () => takeMatch(item));
    return item;
  });
  if (!items.length && query.value.trim()) items.push(make("li", {}, "No place of that name"));
  element("found").replaceChildren(...items);
  showMatches(items.length > 0);
  if (found.length) markMatch(0);
}

function showMatches(open) {
  element("found").hidden = !open;
  element("query").setAttribute("aria-expanded", String(open));
  if (!open) element("query").removeAttribute("aria-activedescendant");
}

function markMatch(index) {
  const items = [...element("found").querySelectorAll("[role=option]")];
  if (!items.length) return;
  const marked = (index + items.length) % items.length;
  items.forEach((item, i) => item.setAttribute("aria-selected", String(i === marked)));
  element("query").setAttribute("aria-activedescendant", items[marked].id);
  items[marked].scrollIntoView({ block: "nearest" });
}

function takeMatch(item) {
  const token = Number(item.dataset.token);
  element("query").value = places.names[token];
  showMatches(false);
  choose(token);
  const near = view.around(extent(places, [token])).scale / 12; // a dozen places across
  if (Number.isFinite(places.middleX[token])) {
    flyTo({ x: places.middleX[token], y: places.middleY[token], scale: Math.max(view.scale, near) });
  }
}

function searchKey(event) {
  const items = [...element("found").querySelectorAll("[role=option]")];
  const marked = items.findIndex((item) => item.getAttribute("aria-selected") === "true");
  const open = !element("found").hidden;
  if (event.key === "ArrowDown") markMatch(marked + 1);
  else if (event.key === "ArrowUp") markMatch(marked - 1);
  else if (event.key === "Enter" && open && marked >= 0) takeMatch(items[marked]);
  else if (event.key === "Escape" && (open || event.target.value)) {
    event.target.value = "";
    showMatches(false);
    event.stopPropagation();
  } else return;
  event.preventDefault();
}

/* Pointer and keyboard */

const pointers = new Map();
let travelled = 0;

function position(event) {
  const box = element("marks").getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function placeUnder(event) {
  const [x, y] = view.toPlane(...position(event));
  return placeAt(places, x, y, (REACH[event.pointerType] ?? 6) / view.scale);
}

function pointerDown(event) {
  if (event.button !== 0) return;
  cancelAnimationFrame(flight);
  if (pointers.size === 0) travelled = 0;
  else travelled = Infinity; // a second finger: not a click any more
  pointers.set(event.pointerId, position(event));
  event.target.setPointerCapture(event.pointerId);
}

function pointerMove(event) {
  const before = pointers.get(event.pointerId);
  const [x, y] = position(event);
  if (!before) {
    if (event.pointerType === "touch") return;
    const token = placeUnder(event);
    element("marks").classList.toggle("over", token >= 0);
    pointAt(token, x, y);
    return;
  }
  const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
  travelled += Math.hypot(x - before[0], y - before[1]);
  if (travelled < MOVED) return;
  pointers.set(event.pointerId, [x, y]);
  if (others.length === 0) panBy(x - before[0], y - before[1]);
  else if (others.length === 1) pinch(others[0], before, [x, y]);
}

/** Keep the points under two fingers under them while one of the fingers moves. */
function pinch(still, before, after) {
  const apart = (point) => Math.hypot(point[0] - still[0], point[1] - still[1]) || 1;
  const centre = (point) => [(point[0] + still[0]) / 2, (point[1] + still[1]) / 2];
  const [from, to] = [centre(before), centre(after)];
  panBy(to[0] - from[0], to[1] - from[1]);
  zoomAt(...to, apart(after) / apart(before));
}

function pointerUp(event) {
  const pressed = pointers.delete(event.pointerId);
  if (!pressed || event.type === "pointercancel" || travelled >= MOVED) return;
  const token = placeUnder(event);
  if (token >= 0) choose(token);
  else clearChoice();
}

function wheel(event) {
  event.preventDefault();
  cancelAnimationFrame(flight);
  const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
  const pinched = event.ctrlKey ? 5 : 1; // a trackpad pinch sends small steps
  zoomAt(...position(event), Math.exp(-event.deltaY * lines * pinched * WHEEL_ZOOM));
}

function mapKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const [x, y] = [view.width / 2, view.height / 2];
  const actions = {
    ArrowLeft: () => panBy(KEY_PAN, 0),
    ArrowRight: () => panBy(-KEY_PAN, 0),
    ArrowUp: () => panBy(0, KEY_PAN),
    ArrowDown: () => panBy(0, -KEY_PAN),
    "+": () => zoomAt(x, y, 1.5),
    "=": () => zoomAt(x, y, 1.5),
    "-": () => zoomAt(x, y, 1 / 1.5),
    0: () => flyTo(home()),
    Enter: () => {
      const token = placeAt(places, view.x, view.y, REACH.touch / view.scale);
      if (token >= 0) choose(token);
    },
  };
  if (!actions[event.key]) return;
  actions[event.key]();
  event.preventDefault();
}

/** Follow the address: a link to a place, or the browser's way back. */
function followAddress() {
  const id = decodeURIComponent(location.hash.slice(1));
  const token = places.ids.indexOf(id);
  if (token >= 0 && token !== state.chosen) choose(token);
  else if (token < 0) clearChoice();
}

/* Start */

function fillShown() {
  const options = [["vectors", "Vectors"], ...layers.map((layer, i) => [String(i), layer.name])];
  const select = element("shown");
  for (const [value, textContent] of options) select.append(make("option", { value, textContent }));
  select.append(make("option", {
    value: "similarity", textContent: "Similarity to the chosen place", disabled: true,
  }));
  select.value = "vectors"; // browsers remember the last choice, the page does not
  select.addEventListener("change", () => show(select.value));
}

function listen() {
  const surface = element("marks");
  surface.addEventListener("pointerdown", pointerDown);
  surface.addEventListener("pointermove", pointerMove);
  surface.addEventListener("pointerup", pointerUp);
  surface.addEventListener("pointercancel", pointerUp);
  surface.addEventListener("pointerleave", () => pointAt(-1));
  surface.addEventListener("wheel", wheel, { passive: false });
  surface.addEventListener("keydown", mapKey);
  for (const event of ["focus", "blur"]) surface.addEventListener(event, drawMarks);
  element("zoom-in").addEventListener("click", () => zoomAt(view.width / 2, view.height / 2, 1.6));
  element("zoom-out").addEventListener("click", () =>
    zoomAt(view.width / 2, view.height / 2, 1 / 1.6));
  element("fit").addEventListener("click", () => flyTo(home()));
  element("clear").addEventListener("click", clearChoice);
  element("fit-alike").addEventListener("click", () =>
    flyTo(view.around(extent(places, [state.chosen, ...state.similar]), 60)));
  element("query").addEventListener("input", listMatches);
  element("query").addEventListener("focus", () => element("query").select());
  element("query").addEventListener("keydown", searchKey);
  element("query").addEventListener("blur", () => showMatches(false));
  document.addEventListener("keydown", (event) => event.key === "Escape" && clearChoice());
  dark.addEventListener("change", () => show(String(state.shown)));
  window.addEventListener("hashchange", followAddress);
  new ResizeObserver(resize).observe(element("map"));
}

const counted = places.count.toLocaleString("en");
element("size").textContent = `${counted} places · vectors of ${places.dim} numbers`;
fillShown();
recolour();
resize();
drawLegend();
listen();
if (location.hash) followAddress();
