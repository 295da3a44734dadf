// Where the map looks: one camera for both runs, so that their views are linked.

import { MapView, OrthographicView, WebMercatorViewport } from "@deck.gl/core";

const MARGIN = 24; // pixels around the places
const ABOVE = 64; // pixels that the search box takes

/** One view for each run shown, side by side or, where it is narrow, below each other. */
export function makeViews(panes, geographic, stacked) {
  const View = geographic ? MapView : OrthographicView;
  const share = `${100 / panes}%`;
  return Array.from({ length: panes }, (_, pane) => new View({
    id: `pane${pane}`,
    controller: { keyboard: false, dragRotate: false, touchRotate: false },
    repeat: false,
    ...(geographic ? {} : { flipY: false }),
    ...(stacked
      ? { y: `${(100 / panes) * pane}%`, height: share }
      : { x: `${(100 / panes) * pane}%`, width: share }),
  }));
}

/** Look at a box [west, south, east, north]. */
export function fitBox([west, south, east, north], { width, height }, geographic) {
  if (geographic) {
    const lat = (y) => Math.max(-85, Math.min(85, y)); // Web Mercator ends there
    const around = Math.min(MARGIN, width / 4, height / 4);
    const padding = { left: around, right: around, bottom: around, top: Math.min(ABOVE, height / 3) };
    const fitted = new WebMercatorViewport({ width, height }).fitBounds(
      [[west, lat(south)], [east, lat(north)]], { padding, maxZoom: 14 });
    const { longitude, latitude, zoom } = fitted;
    return { longitude, latitude, zoom, pitch: 0, bearing: 0, minZoom: 0, maxZoom: 18 };
  }
  const across = (width - 2 * MARGIN) / Math.max(east - west, 1e-6);
  const up = (height - 2 * ABOVE) / Math.max(north - south, 1e-6);
  const zoom = Math.log2(Math.min(across, up));
  return { target: [(west + east) / 2, (south + north) / 2, 0], zoom };
}

export function boxOf(corners) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < corners.length; i += 2) {
    box[0] = Math.min(box[0], corners[i]);
    box[1] = Math.min(box[1], corners[i + 1]);
    box[2] = Math.max(box[2], corners[i]);
    box[3] = Math.max(box[3], corners[i + 1]);
  }
  return box;
}

/** Move the camera so that the point under pixel (x, y) of a pane comes to its middle. */
export function lookAt(camera, [x, y]) {
  return "target" in camera
    ? { ...camera, target: [x, y, 0] }
    : { ...camera, longitude: x, latitude: y };
}
