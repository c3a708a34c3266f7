// Builds `src/` into `dist/`, which is committed and becomes part of the worker.
// The same sources and the same lock file make the same bytes.
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist");

await build({
  entryPoints: { app: "src/main.tsx" },
  outdir: "dist",
  bundle: true,
  format: "esm",
  target: ["es2022", "chrome110", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: true,
  charset: "utf8",
  legalComments: "none",
});
await build({
  entryPoints: { app: "src/style/app.css" },
  outdir: "dist",
  bundle: true,
  minify: true,
  target: ["chrome110", "firefox115", "safari16.4"],
});
for (const file of ["index.html", "icon.svg"]) cpSync(`src/${file}`, `dist/${file}`);
