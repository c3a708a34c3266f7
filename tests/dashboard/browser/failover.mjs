// Two pages are open when a worker is killed: one that it served, and one that
// the other worker serves.
import assert from "node:assert/strict";
import { ask, play, until } from "./stage.mjs";

const namesIn = (page, worker) =>
  page
    .locator(".worker", { has: page.getByRole("heading", { name: worker, exact: false }) })
    .locator("[data-moves]")
    .count();

await play(async ({ alice, bob, accounts }, open) => {
  const watched = await open(alice);
  const orphaned = await open(bob);
  const all = accounts.length;
  await until("both workers own accounts", async () => {
    const [hers, his] = [await namesIn(watched, "alice"), await namesIn(watched, "bob")];
    return hers > 0 && his > 0 && hers + his === all;
  });
  await orphaned.getByText("Live", { exact: true }).waitFor();

  await ask({ ask: "kill", worker: "bob" });
  const killedAt = Date.now();
  await until("alice is seen to own all", async () => (await namesIn(watched, "alice")) === all);
  console.error(`seen to own all ${Date.now() - killedAt} ms after the kill`);
  await watched.getByText("nothing is unowned").waitFor();
  const moves = watched.locator(".timeline li", { hasText: "owner found dead" });
  // How many were his in that moment is not known: they were being shared out.
  await moves.first().waitFor();
  await watched
    .locator(".figure", { hasText: "Connected" })
    .getByText("all that are to run")
    .waitFor();

  // Who was looking at the dead worker's page is told.
  await orphaned.getByText("Not live", { exact: true }).waitFor();
  assert.equal(await orphaned.getByRole("heading", { name: "Cluster" }).count(), 1);
});
