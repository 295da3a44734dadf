// Drawing: a view of the plane, the coloured places, the grid behind, the marks above.

const DOT = 2; // smallest side of a place on the screen, CSS pixels
const MOST_SAMPLES = 8e6; // colour samples in one picture; bounds memory and time
const OUTLINE_SIZE = 12; // places larger than this, in CSS pixels, get an outline
const OUTLINE_CORNERS = 60000; // with more corners in view, outlines take too long
const PATH_PLACES = 50; // outlines in one path; browsers draw long paths far more slowly

/** A window on the projected plane: its middle, and CSS pixels per unit. */
class View {
  constructor() {
    Object.assign(this, { x: 0, y: 0, scale: 1, width: 1, height: 1 });
  }

  /** Where a point of the plane lies on the screen. */
  toScreen(x, y) {
    return [
      (x - this.x) * this.scale + this.width / 2,
      (y - this.y) * this.scale + this.height / 2,
    ];
  }

  /** Which point of the plane lies under a point of the screen. */
  toPlane(px, py) {
    return [
      (px - this.width / 2) / this.scale + this.x,
      (py - this.height / 2) / this.scale + this.y,
    ];
  }

  /** West, north, east, south of the window. */
  bounds() {
    return [...this.toPlane(0, 0), ...this.toPlane(this.width, this.height)];
  }

  /** The scale and middle that show a box with some room around it. */
  around([west, north, east, south], room = 28) {
    const across = Math.max(1, this.width - 2 * room) / (east - west || 1e-9);
    const down = Math.max(1, this.height - 2 * room) / (south - north || 1e-9);
    return { x: (west + east) / 2, y: (north + south) / 2, scale: Math.min(across, down) };
  }
}

/** Paints places into pixels, several samples per CSS pixel, without seams. */
class Painter {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d");
    this.crossings = new Float64Array(1024);
  }

  /** Paint all places in view and copy them to `target`, scaled down smoothly. */
  paint(target, places, view, colours, samples) {
    const most = Math.sqrt(MOST_SAMPLES / (view.width * view.height));
    this.samples = Math.min(samples, most);
    this.resize(Math.ceil(view.width * this.samples), Math.ceil(view.height * this.samples));
    this.pixels.fill(0);
    const [west, north, east, south] = view.bounds();
    for (let token = 0, box = 0; token < places.count; token++, box += 4) {
      const { boxes } = places;
      const outside = boxes[box] > east || boxes[box + 2] < west
        || boxes[box + 1] > south || boxes[box + 3] < north;
      if (!outside) this.fill(places, view, token, colours[token]);
    }
    this.context.putImageData(this.image, 0, 0);
    const [width, height] = [view.width * this.samples, view.height * this.samples];
    target.drawImage(this.canvas, 0, 0, width, height, 0, 0, view.width, view.height);
  }

  resize(width, height) {
    if (this.height === height && this.width === width) return;
    // One more column than is shown: a span may end just right of the picture.
    Object.assign(this, { width, height, stride: width + 1 });
    Object.assign(this.canvas, { width: this.stride, height });
    this.image = new ImageData(this.stride, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  /** Fill one place by the even-odd rule, or draw a dot where it is too small. */
  fill(places, view, token, colour) {
    const scale = view.scale * this.samples;
    const left = view.x - view.width / 2 / view.scale;
    const top = view.y - view.height / 2 / view.scale;
    const [west, north, east, south] = places.boxes.subarray(4 * token, 4 * token + 4);
    if (Math.max(east - west, south - north) * view.scale < DOT) {
      this.dot(((west + east) / 2 - left) * scale, ((north + south) / 2 - top) * scale, colour);
      return;
    }
    let found = 0;
    for (let ring = places.tokenStart[token]; ring < places.tokenStart[token + 1]; ring++) {
      const begin = places.ringStart[ring], end = places.ringStart[ring + 1];
      for (let i = begin, j = end - 1; i < end; j = i++) {
        found = this.cross(
          (places.x[j] - left) * scale, (places.y[j] - top) * scale,
          (places.x[i] - left) * scale, (places.y[i] - top) * scale, found);
      }
    }
    // Sorted, the crossings of a row come in pairs: into the place and out of it.
    const crossings = this.crossings.subarray(0, found).sort();
    for (let i = 0; i < found; i += 2) this.span(crossings[i], crossings[i + 1], colour);
  }

  /** Note the pixel at which an edge crosses the middle of each row. */
  cross(x0, y0, x1, y1, found) {
    if (y0 > y1) [x0, y0, x1, y1] = [x1, y1, x0, y0];
    const first = Math.max(0, Math.ceil(y0 - 0.5));
    const last = Math.min(this.height - 1, Math.ceil(y1 - 0.5) - 1);
    if (last < first) return found;
    this.reserve(found + last - first + 1);
    const slope = (x1 - x0) / (y1 - y0);
    for (let row = first; row <= last; row++) {
      const column = Math.ceil(x0 + (row + 0.5 - y0) * slope - 0.5);
      const kept = column < 0 ? 0 : column > this.width ? this.width : column;
      this.crossings[found++] = row * this.stride + kept;
    }
    return found;
  }

  reserve(size) {
    if (size <= this.crossings.length) return;
    const larger = new Float64Array(2 * size);
    larger.set(this.crossings);
    this.crossings = larger;
  }

  span(begin, end, colour) {
    for (let i = begin; i < end; i++) this.pixels[i] = colour;
  }

  dot(x, y, colour) {
    const side = Math.ceil(DOT * this.samples);
    const left = Math.max(0, Math.round(x - side / 2));
    const right = Math.min(this.width, left + side);
    const top = Math.max(0, Math.round(y - side / 2));
    for (let row = top; row < Math.min(this.height, top + side); row++) {
      this.span(row * this.stride + left, row * this.stride + right, colour);
    }
  }
}

/** Add a place's rings to a path. */
function trace(path, places, view, token) {
  for (let ring = places.tokenStart[token]; ring < places.tokenStart[token + 1]; ring++) {
    const begin = places.ringStart[ring], end = places.ringStart[ring + 1];
    for (let i = begin; i < end; i++) {
      const [px, py] = view.toScreen(places.x[i], places.y[i]);
      if (i === begin) path.moveTo(px, py);
      else path.lineTo(px, py);
    }
    path.closePath();
  }
}

/** Draw thin outlines where places are large enough to be told apart by them. */
function drawOutlines(context, places, view, colour) {
  const [west, north, east, south] = view.bounds();
  const seen = [];
  let corners = 0, size = 0;
  for (let token = 0; token < places.count; token++) {
    const [left, top, right, bottom] = places.boxes.subarray(4 * token, 4 * token + 4);
    if (left > east || right < west || top > south || bottom < north) continue;
    const [begin, end] = cornersOf(places, token);
    seen.push(token);
    corners += end - begin;
    size += Math.sqrt((right - left) * (bottom - top)) * view.scale;
  }
  if (corners > OUTLINE_CORNERS || size < OUTLINE_SIZE * seen.length) return;
  context.globalAlpha = Math.min(0.55, size / seen.length / 60);
  context.strokeStyle = colour;
  context.lineWidth = 0.8;
  for (let first = 0; first < seen.length; first += PATH_PLACES) {
    context.beginPath();
    for (const token of seen.slice(first, first + PATH_PLACES)) {
      trace(context, places, view, token);
    }
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** Draw the lines of round longitudes and latitudes, or of grid columns and rows. */
function drawGrid(context, places, view, colour) {
  const { projection } = places;
  const [west, north, east, south] = view.bounds();
  const every = Math.max(4, Math.min(9, view.width / 130));
  const meridians = roundSteps(projection.lon(west), projection.lon(east), every);
  const parallels = roundSteps(projection.lat(south), projection.lat(north), every);
  const lines = {
    across: meridians.map((lon) => [view.toScreen(projection.x(lon), 0)[0], lon]),
    down: parallels.map((lat) => [view.toScreen(0, projection.y(lat))[1], lat]),
  };
  context.strokeStyle = colour;
  context.globalAlpha = 0.28;
  context.lineWidth = 1;
  context.beginPath();
  for (const [x] of lines.across) {
    context.moveTo(Math.round(x) + 0.5, 0);
    context.lineTo(Math.round(x) + 0.5, view.height);
  }
  for (const [y] of lines.down) {
    context.moveTo(0, Math.round(y) + 0.5);
    context.lineTo(view.width, Math.round(y) + 0.5);
  }
  context.stroke();
  context.globalAlpha = 1;
  return lines;
}

/** Write the degrees at the left and lower edges, on top of the places. */
function drawGridLabels(context, places, view, lines, theme) {
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  for (const [x, lon] of lines.across) {
    if (x < 50 || x > view.width - 170) continue; // corners: latitudes, scale bar
    write(context, degrees(places, lon, "E", "W"), x, view.height - 12, theme);
  }
  context.textAlign = "left";
  for (const [y, lat] of lines.down) {
    if (y < 70 || y > view.height - 34) continue; // corners: search, longitudes
    write(context, degrees(places, lat, "N", "S"), 10, y, theme);
  }
}

/** Write a longitude or latitude; on a grid, a column or row. */
function degrees(places, value, positive, negative, digits = 6) {
  if (places.kind === "grid") return String(value);
  const turned = positive === "E" ? ((((value + 180) % 360) + 360) % 360) - 180 : value;
  const side = turned > 0 ? ` ${positive}` : turned < 0 ? ` ${negative}` : "";
  return `${Number(Math.abs(turned).toFixed(digits))}°${side}`;
}

/** Write text that stays readable on any colour. */
function write(context, text, x, y, theme) {
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 3;
  context.strokeStyle = theme.ground;
  context.globalAlpha = 0.85;
  context.strokeText(text, x, y);
  context.globalAlpha = 1;
  context.fillStyle = theme.muted;
  context.fillText(text, x, y);
}

/** Draw a bar of a round length in the lower right corner. */
function drawScaleBar(context, places, view, theme) {
  const latitude = places.projection.lat(view.y);
  const unitKm = places.kind === "grid"
    ? places.unitKm
    : 2 * Math.PI * EARTH_RADIUS_KM * Math.cos(latitude * RADIANS);
  const longestKm = (110 / view.scale) * unitKm;
  const lengthKm = roundPowers(longestKm / 10, longestKm, 9).at(-1);
  if (!(lengthKm > 0)) return;
  const right = view.width - 14, bottom = view.height - 12;
  const left = right - (lengthKm / unitKm) * view.scale;
  for (const [width, colour] of [[5, theme.ground], [2, theme.muted]]) {
    context.beginPath();
    context.moveTo(left, bottom - 6);
    context.lineTo(left, bottom);
    context.lineTo(right, bottom);
    context.lineTo(right, bottom - 6);
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }
  context.textAlign = "center";
  write(context, lengthText(lengthKm), (left + right) / 2, bottom - 11, theme);
}

/** Write a length in the unit people would use. */
function lengthText(km) {
  if (km < 1) return `${Math.round(km * 1000)} m`;
  return `${km < 10 ? Number(km.toFixed(1)) : Math.round(km).toLocaleString("en")} km`;
}

/** Outline a place; one too small to see gets a ring around it. */
function drawMark(context, places, view, token, { radius, width, colour, halo }) {
  const [west, north, east, south] = places.boxes.subarray(4 * token, 4 * token + 4);
  if (!Number.isFinite(west)) return;
  context.beginPath();
  if (Math.max(east - west, south - north) * view.scale < 2 * radius) {
    const [px, py] = view.toScreen((west + east) / 2, (north + south) / 2);
    context.arc(px, py, radius, 0, 2 * Math.PI);
  } else {
    trace(context, places, view, token);
  }
  context.lineJoin = "round";
  for (const [extra, stroke] of [[3, halo], [0, colour]]) {
    context.lineWidth = width + extra;
    context.strokeStyle = stroke;
    context.stroke();
  }
}
