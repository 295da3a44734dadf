// Bundles the page: one script, one style, one page, and nothing else. It goes where
// Python looks for it, and so into the wheel.

import { build } from "esbuild";
import { copyFile, mkdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const page = "../src/mora/explore/page";
await rm(here(page), { recursive: true, force: true });
await mkdir(here(page));
await build({
  entryPoints: [here("src/main.js")],
  outfile: here(`${page}/explorer.js`),
  bundle: true,
  minify: true,
  legalComments: "linked", // licences of the bundled libraries, beside the script
  format: "iife", // browsers refuse modules on pages opened from disk
  target: "es2022",
  define: { "process.env.NODE_ENV": '"production"' },
});
for (const file of ["index.html", "style.css"]) {
  await copyFile(here(`src/${file}`), here(`${page}/${file}`));
}
