// What axe complains of on a page.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import assert from "node:assert/strict";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** In few words each. */
export async function complaints(page) {
  // Colours are compared once nothing glides or fades.
  await page.evaluate(() => Promise.all(document.getAnimations().map((one) => one.finished)));
  // Like a tool of the browser's: the page's own policy does not let it in.
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: AXE });
  await session.detach();
  const { violations } = await page.evaluate(() => axe.run(document));
  return violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`,
  );
}

/** A check that cannot fail is none. */
export async function tryOut(page) {
  await page.evaluate(() => document.body.append(document.createElement("img")));
  assert.match((await complaints(page)).join(), /image-alt/);
  await page.evaluate(() => document.body.lastElementChild.remove());
}

/** Every size and colour that a page is looked at in. */
export const LOOKS = ["light", "dark"].flatMap((colorScheme) => [
  { name: `${colorScheme}-wide`, colorScheme, viewport: { width: 1360, height: 860 } },
  { name: `${colorScheme}-narrow`, colorScheme, viewport: { width: 390, height: 844 } },
]);

/** Shows the page so. */
export async function look(page, { colorScheme, viewport }) {
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  await page.setViewportSize(viewport);
}
