// A headless Chromium without a graphics card, and a server of one folder.

import { createServer } from "node:http";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { chromium } from "playwright-core";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json" };
const FLAGS = [
  "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
  "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export function launch() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: FLAGS });
}

/** Serve a folder; `answer(path, body)` may answer first, with plain values. */
export async function serve(folder, answer = () => undefined) {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    let body = "";
    for await (const part of request) body += part;
    const said = answer(path, body && JSON.parse(body));
    if (said !== undefined) {
      response.setHeader("content-type", "application/json");
      return response.end(JSON.stringify(said));
    }
    try {
      const file = join(folder, normalize(path === "/" ? "/index.html" : path));
      const content = await readFile(file);
      response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
      response.end(content);
    } catch {
      response.statusCode = 404;
      response.end();
    }
  });
  await new Promise((ready) => { server.listen(0, "127.0.0.1", ready); });
  return { address: `http://127.0.0.1:${server.address().port}/`, stop: () => server.close() };
}

/** Open the page, noting every request to elsewhere and every error. */
export async function openPage(browser, address, size = { width: 1400, height: 900 }) {
  const page = await browser.newPage({ viewport: size, hasTouch: size.width < 500 });
  const own = address.startsWith("file:") ? "file:" : new URL(address).origin;
  page.outside = [];
  page.errors = [];
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(own) && !/^(data|blob):/.test(url)) page.outside.push(url);
  });
  page.on("pageerror", (error) => page.errors.push(error.message));
  page.on("console", (said) => {
    if (said.type() === "error") page.errors.push(said.text());
  });
  const begun = Date.now();
  await page.goto(address);
  await page.waitForFunction(() => performance.getEntriesByName("first-picture").length > 0,
    null, { timeout: 60_000, polling: 100 });
  page.firstPictureMs = await page.evaluate(
    () => performance.getEntriesByName("first-picture")[0].startTime);
  page.picture = await page.screenshot(); // waits for the software that stands in for a card
  page.onScreenMs = Date.now() - begun;
  return page;
}

export async function temporary() {
  const folder = await mkdtemp(join(tmpdir(), "explorer-"));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}
