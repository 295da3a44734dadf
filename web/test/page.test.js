// The page in a browser: it draws, and answers what the data folder says.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { launch, openPage, serve, temporary } from "./browser.js";
import { copyPage, makeRun, rampColour, writeRun, writeZones } from "./fixture.js";

const run = makeRun();
const other = makeRun({ rings: 5, resolution: 6, seed: 2, name: "coarser" });
const space = await temporary();
let browser;

/** Make a folder with page and data, and give its address. */
async function folderOf(name, write) {
  const folder = join(space.folder, name);
  await copyPage(folder);
  await write(join(folder, "data"));
  return folder;
}

async function withPage(folder, work, { answer, size } = {}) {
  const server = await serve(folder, answer);
  const page = await openPage(browser, server.address, size);
  try {
    await work(page);
    assert.deepEqual(page.outside, []);
    assert.deepEqual(page.errors, []);
  } finally {
    await page.close();
    server.stop();
  }
}

let one;
let two;
let zones;
before(async () => {
  browser = await launch();
  one = await folderOf("one", (data) => writeRun(data, run));
  zones = await folderOf("zones", (data) => writeZones(data));
  two = await folderOf("two", async (data) => {
    await writeRun(data, run, { second: "second" });
    await writeRun(join(data, "second"), other);
  });
});
after(async () => {
  await browser.close();
  await space.remove();
});

/** The ten places most like one, by the definition. */
function mostSimilar({ vectors, dim, cells }, place) {
  const vector = (p) => Array.from(vectors.subarray(dim * p, dim * (p + 1)));
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const length = (a) => Math.sqrt(dot(a, a));
  const own = vector(place);
  return Array.from(cells, (_, p) => [p, dot(own, vector(p)) / (length(own) * length(vector(p)))])
    .filter(([p]) => p !== place)
    .sort((a, b) => b[1] - a[1] || a[0] - b[0])
    .slice(0, 10);
}

const pixelOf = (page, pane, place) => page.evaluate(
  ([p, q]) => {
    const { left, top } = document.getElementById("stage").getBoundingClientRect();
    const [x, y] = globalThis.explorer.map.pixelOf(p, q);
    return [left + x, top + y];
  }, [pane, place]);

async function click(page, pane, place) {
  await page.mouse.click(...await pixelOf(page, pane, place));
  await page.waitForSelector("#chosen:not([hidden])");
}

/** Read pixels of a screenshot at points of the page: [[red, green, blue], ...]. */
async function pixels(page, points) {
  const picture = (await page.screenshot()).toString("base64");
  return page.evaluate(async ([data, at]) => {
    const image = new Image();
    image.src = `data:image/png;base64,${data}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: image.width, height: image.height });
    const paper = canvas.getContext("2d");
    paper.drawImage(image, 0, 0);
    return at.map(([x, y]) => [...paper.getImageData(Math.round(x), Math.round(y), 1, 1).data].slice(0, 3));
  }, [picture, points]);
}

const chosen = (page) => page.evaluate(() => globalThis.explorer.chosen);
const listed = (page) => page.$$eval("#similar button", (buttons) =>
  buttons.map((button) => [Number(button.dataset.place), button.querySelector("span").textContent]));

const near = (got, expected) => got.every((value, i) => Math.abs(value - expected[i]) <= 2);

test("every place is drawn in the colour of its vector", () => withPage(one, async (page) => {
  const places = [0, 50, 200, 468];
  const points = [];
  for (const place of places) points.push(await pixelOf(page, 0, place));
  const found = await pixels(page, points);
  places.forEach((place, i) => {
    const expected = run.colours.subarray(3 * place, 3 * place + 3);
    assert.ok(near(found[i], expected), `place ${place}: ${found[i]}, not ${expected}`);
  });
}));

test("a column has its colours, and a legend for people", () => withPage(one, async (page) => {
  await page.selectOption("#shown", "Income");
  await page.waitForSelector("#legend .title");
  await page.waitForTimeout(300);
  const [got, missing] = await pixels(
    page, [await pixelOf(page, 0, 234), await pixelOf(page, 0, 5)]);
  assert.ok(near(got, rampColour(0.5)), `${got}`);
  assert.ok(near(missing, [176, 184, 194]), `${missing}`);
  const legend = await page.textContent("#legend");
  assert.match(legend, /Income \(US\$\)/);
  assert.match(legend, /Half of the places lie between 117.US\$ and 351.US\$/);
  assert.match(legend, /no value: 1 of 469 places/);
  await page.selectOption("#shown", "groups");
  await page.waitForSelector("#legend .groups");
  assert.match(await page.textContent("#legend"), /Group 1: high Income/);
}));

test("a click lists the most similar places and what is there", () => withPage(one, async (page) => {
  await click(page, 0, 7);
  const expected = mostSimilar(run, 7).map(([place, cosine]) => [place, cosine.toFixed(2)]);
  assert.deepEqual(await listed(page), expected);
  assert.deepEqual(await page.$$eval("#inside li", (items) => items.map((i) => i.textContent)),
    ["Café Müller", "Old port"]);
  assert.deepEqual(await page.$$eval("#partners button", (b) => b.map((i) => i.dataset.place)), ["8", "9"]);
  assert.match(await page.textContent("#partners-note"), /fewer than 5 people are left out/);
  assert.match(await page.textContent("#values"), /Income7.US\$/);
  await page.click("#similar button");
  await page.waitForFunction((place) => globalThis.explorer.chosen?.place === place, expected[0][0]);
  await page.selectOption("#shown", "similarity");
  await page.waitForSelector("#legend .title");
  await page.click("#clear");
  assert.equal(await page.inputValue("#shown"), "components");
}));

test("search goes by name and by what is there", () => withPage(one, async (page) => {
  await page.fill("#query", "mitte");
  await page.waitForSelector("#found li");
  const titles = await page.$$eval("#found strong", (items) => items.map((i) => i.textContent));
  assert.deepEqual(titles, ["Mitte", "Mitte-Süd"]);
  assert.match(await page.textContent("#found-note"), /by name and by the names of what is there/);
  await page.press("#query", "ArrowDown");
  await page.press("#query", "ArrowDown");
  await page.press("#query", "Enter");
  await page.waitForFunction(() => globalThis.explorer.chosen?.place === 2);
  await page.fill("#query", "cafe");
  await page.press("#query", "Enter");
  await page.waitForFunction(() => globalThis.explorer.chosen?.place === 7);
  await page.fill("#query", "nowhere");
  await page.waitForFunction(() => /Nothing/.test(document.getElementById("found-note").textContent));
}));

test("keys alone are enough", () => withPage(one, async (page) => {
  const order = [];
  for (let i = 0; i < 7; i++) {
    await page.keyboard.press("Tab");
    order.push(await page.evaluate(() => document.activeElement.id));
  }
  assert.deepEqual(order, ["skip", "query", "stage", "zoom-in", "zoom-out", "fit", "shown"]);
  await page.focus("#stage");
  const outlined = await page.$eval("#stage", (stage) => getComputedStyle(stage).outlineStyle);
  assert.notEqual(outlined, "none");
  const before = await pixelOf(page, 0, 0);
  await page.keyboard.press("ArrowRight");
  const moved = await pixelOf(page, 0, 0);
  assert.ok(Math.abs(moved[0] - (before[0] - 80)) < 2);
  await page.keyboard.press("0");
  await page.keyboard.press("+");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#chosen:not([hidden])");
  assert.equal((await chosen(page)).place, await page.evaluate(() => globalThis.explorer.map.middlePlace()));
  await page.keyboard.press("Escape");
  assert.equal(await chosen(page), null);
}));

test("controls have names", () => withPage(one, async (page) => {
  const nameless = await page.$$eval("button, input, select, [tabindex='0']", (nodes) => nodes
    .filter((n) => n.offsetParent && !(n.textContent.trim() || n.ariaLabel || n.labels?.length))
    .map((n) => n.outerHTML));
  assert.deepEqual(nameless, []);
}));

test("the service is asked where there is one", async () => {
  const folder = await folderOf("served", (data) => writeRun(data, run, { service: "." }));
  const asked = [];
  const answer = (path, body) => {
    if (path !== "/similar" && path !== "/search") return undefined;
    asked.push([path, body]);
    return { places: [{ token: "x", row: 11, score: 0.75 }, { token: "y", row: 3, score: 0.5 }] };
  };
  await withPage(folder, async (page) => {
    await click(page, 0, 7);
    assert.deepEqual(await listed(page), [[11, "0.75"], [3, "0.50"]]);
    await page.fill("#query", "harbour");
    await page.waitForSelector("#found li");
    assert.match(await page.textContent("#found"), /Wedding.*by meaning/);
    assert.match(await page.textContent("#found-note"), /by name and by meaning/);
  }, { answer });
  assert.deepEqual(asked[0], ["/similar", { plus: [run.cells[7].toString(16)], k: 10 }]);
  assert.deepEqual(asked[1], ["/search", { text: "harbour", k: 12 }]);
});

test("two runs side by side look at the same spot", () => withPage(two, async (page) => {
  await page.click("#compare");
  const middle = await page.evaluate(() => {
    const [first, second] = globalThis.explorer.map.deck.getViewports();
    return [first, second].map((v) => [v.longitude, v.latitude, v.zoom]);
  });
  assert.deepEqual(middle[0], middle[1]);
  await page.waitForTimeout(300);
  await click(page, 1, 20);
  assert.deepEqual(await chosen(page), { pane: 1, place: 20 });
  assert.deepEqual((await listed(page))[0][0], mostSimilar(other, 20)[0][0]);
  assert.equal(await page.textContent("#run"), "coarser");
  await page.click("#compare");
  assert.equal(await page.isVisible("#second-legend"), false);
}));

test("zones have holes and parts", () => withPage(zones, async (page) => {
  await click(page, 0, 0);
  assert.equal(await page.textContent("#name"), "first");
  assert.deepEqual(await listed(page), [[1, "1.00"], [2, "0.00"]]);
  const [x, y] = await pixelOf(page, 0, 0);
  const [right] = await pixelOf(page, 0, 1);
  await page.mouse.click(x + (right - x) * (0.3 / 1.3), y); // in the hole
  await page.waitForSelector("#chosen", { state: "hidden" });
}));

test("it works from disk", async () => {
  const page = await openPage(browser, pathToFileURL(join(one, "index.html")).href);
  await click(page, 0, 7);
  assert.equal((await listed(page)).length, 10);
  assert.deepEqual(page.outside, []);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("on a phone nothing is cut off", () => withPage(two, async (page) => {
  const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(await wide(), 390);
  await click(page, 0, 7);
  assert.equal(await wide(), 390);
  assert.ok(await page.isVisible("#similar button"));
  const small = await page.$$eval("button, select, input", (nodes) => nodes
    .filter((node) => node.offsetParent && node.offsetHeight < 28).map((node) => node.id));
  assert.deepEqual(small, []);
}, { size: { width: 390, height: 844 } }));

test("texts never become markup", () => withPage(one, async (page) => {
  assert.equal(await page.textContent("#notes"), "A note <b>for readers</b>.");
}));

test("a folder of another format is refused in words", async () => {
  const folder = await folderOf("strange", (data) => writeRun(data, run, { format: 99 }));
  const server = await serve(folder);
  const page = await browser.newPage();
  await page.goto(server.address);
  await page.waitForSelector("#trouble:not([hidden])");
  assert.match(await page.textContent("#trouble"), /format 99; this page reads 1/);
  await page.close();
  server.stop();
});
