// The map: panes, camera, pointer and keys.

import { Deck } from "@deck.gl/core";
import { boxOf, fitBox, lookAt, makeViews } from "./camera.js";
import { markLayers, placeLayer } from "./layers.js";

const STEP = 80; // pixels that an arrow key moves the map
const ZOOM_STEP = 0.6;
const CLOSE = 40; // pixels across a chosen place when the map goes there
export const NO_MARKS = { chosen: -1, similar: [], partners: [], pointed: -1 };

export class PlacesMap {
  #panes; // of each: { run, places (layer), marks }
  #camera;

  /** `on` has choose(pane, place), point(pane, place, x, y) and letGo(). */
  constructor(stage, runs, on) {
    this.stage = stage;
    this.on = on;
    this.shown = 1;
    this.geographic = runs[0].meta.kind !== "grid";
    this.#panes = runs.map((run) => ({ run, places: null, marks: NO_MARKS }));
    this.narrow = matchMedia("(max-width: 720px)"); // as in style.css
    this.#camera = this.#fitted();
    this.deck = new Deck({
      parent: stage,
      views: this.#views(),
      viewState: this.#camera,
      layers: [],
      useDevicePixels: Math.min(devicePixelRatio, 2), // more costs much and shows little
      layerFilter: ({ layer, viewport }) => layer.id.startsWith(viewport.id),
      onLoad: () => this.#leaveFocusToStage(),
      onViewStateChange: ({ viewState }) => this.#look(viewState),
      onClick: (info) => this.#click(info),
      onHover: (info) => this.#hover(info),
      onAfterRender: () => this.#markFirstPicture(),
      getCursor: ({ isDragging }) => (isDragging ? "grabbing" : "grab"),
    });
    stage.addEventListener("keydown", (event) => this.#press(event));
    addEventListener("resize", () => this.deck.setProps({ views: this.#views() }));
  }

  colour(pane, colours) {
    const { run } = this.#panes[pane];
    this.#panes[pane].places = placeLayer(`pane${pane}-places`, run, colours);
    this.#draw();
  }

  mark(pane, marks) {
    this.#panes[pane].marks = { ...this.#panes[pane].marks, ...marks };
    this.#draw();
  }

  showPanes(count) {
    this.shown = count;
    this.#camera = this.#fitted();
    this.deck.setProps({ views: this.#views(), viewState: this.#camera });
    this.#draw();
  }

  fit() { this.#look(this.#fitted()); }

  /** Show places, the whole of them. */
  fitPlaces(pane, places) {
    const { run } = this.#panes[pane];
    this.#look(this.#fitted(boxOf(places.flatMap((place) => run.middle(place)))));
  }

  /** Go to a place, near enough to see it. */
  goTo(pane, place) {
    const { run } = this.#panes[pane];
    const box = boxOf(run.outlines.rings(place).flat(2));
    const { width, height } = this.#size();
    const near = this.#fitted(box).zoom - Math.log2(Math.min(width, height) / CLOSE);
    const zoom = Math.max(this.#camera.zoom, near);
    this.#look({ ...lookAt(this.#camera, run.middle(place)), zoom });
  }

  zoomBy(steps) {
    this.#look({ ...this.#camera, zoom: this.#camera.zoom + steps * ZOOM_STEP });
  }

  panBy(x, y) {
    const { width, height } = this.#size();
    const [viewport] = this.deck.getViewports();
    const middle = viewport.unproject([width / 2 + x, height / 2 + y]);
    this.#look(lookAt(this.#camera, middle));
  }

  /** The place in the middle of the first pane, or -1. */
  middlePlace() {
    const { width, height } = this.#size();
    const [viewport] = this.deck.getViewports();
    return this.#panes[0].run.locate(viewport.unproject([width / 2, height / 2]));
  }

  /** Where on the page the middle of a place is, for tests and tips. */
  pixelOf(pane, place) {
    const viewport = this.deck.getViewports()[pane];
    const [x, y] = viewport.project(this.#panes[pane].run.middle(place));
    return [x + viewport.x, y + viewport.y];
  }

  /** The canvas would be a second tab stop for the same map. */
  #leaveFocusToStage() {
    for (const canvas of this.stage.querySelectorAll("canvas")) canvas.tabIndex = -1;
  }

  #views() { return makeViews(this.shown, this.geographic, this.narrow.matches); }

  #size() {
    const { clientWidth, clientHeight } = this.stage;
    const [across, down] = this.narrow.matches ? [1, this.shown] : [this.shown, 1];
    return { width: clientWidth / across, height: clientHeight / down };
  }

  #fitted(box = boxOf(this.#panes[0].run.outlines.corners)) {
    return fitBox(box, this.#size(), this.geographic);
  }

  #look(camera) {
    this.#camera = camera;
    this.deck.setProps({ viewState: camera });
  }

  #draw() {
    const layers = this.#panes.slice(0, this.shown).flatMap(({ run, places, marks }, pane) =>
      [places, ...markLayers(`pane${pane}`, run, marks)]);
    this.deck.setProps({ layers });
  }

  #at({ coordinate, viewport }) {
    if (!coordinate || !viewport) return { pane: 0, place: -1 };
    const pane = Number(viewport.id.slice("pane".length));
    return { pane, place: this.#panes[pane].run.locate(coordinate) };
  }

  #click(info) {
    const { pane, place } = this.#at(info);
    if (place >= 0) this.on.choose(pane, place);
    else this.on.letGo();
  }

  #hover(info) {
    const { pane, place } = this.#at(info);
    this.on.point(pane, place, info.x, info.y);
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowLeft: () => this.panBy(-STEP, 0),
      ArrowRight: () => this.panBy(STEP, 0),
      ArrowUp: () => this.panBy(0, -STEP),
      ArrowDown: () => this.panBy(0, STEP),
      "+": () => this.zoomBy(1),
      "=": () => this.zoomBy(1),
      "-": () => this.zoomBy(-1),
      0: () => this.fit(),
      Enter: () => this.#chooseMiddle(),
      Escape: () => this.on.letGo(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #chooseMiddle() {
    const place = this.middlePlace();
    if (place >= 0) this.on.choose(0, place);
  }

  #markFirstPicture() {
    if (this.#panes[0].places?.isLoaded && !this.pictured) {
      this.pictured = true;
      performance.mark("first-picture");
    }
  }
}
