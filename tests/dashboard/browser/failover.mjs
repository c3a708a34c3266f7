// Two pages are open when a worker is killed: one that it served, and one that
// another worker serves.
import assert from "node:assert/strict";
import { ask, picture, play, until } from "./stage.mjs";

const namesIn = (page, worker) =>
  page
    .locator(".worker", { has: page.getByRole("heading", { name: worker, exact: false }) })
    .locator("[data-moves]")
    .count();

await play(async ({ workers, accounts }, open) => {
  const watched = await open(workers.alice);
  const orphaned = await open(workers.bob);
  const all = accounts.length;
  const counts = () => Promise.all(Object.keys(workers).map((name) => namesIn(watched, name)));
  await until("all workers own accounts", async () => {
    const owned = await counts();
    return owned.every((count) => count > 0) && owned.reduce((sum, count) => sum + count) === all;
  });
  await orphaned.getByText("Live", { exact: true }).waitFor();

  await ask({ ask: "kill", worker: "bob" });
  const killedAt = Date.now();
  await until("the others are seen to own all", async () => {
    const [hers, , theirs] = await counts();
    return hers + theirs === all;
  });
  console.error(`seen to own all ${Date.now() - killedAt} ms after the kill`);
  await watched.getByText("nothing is unowned").waitFor();
  const moves = watched.locator(".timeline li", { hasText: "owner found dead" });
  // How many were his in that moment is not known: they were being shared out.
  await moves.first().waitFor();
  await watched
    .locator(".figure", { hasText: "Connected" })
    .getByText("all that are to run")
    .waitFor();
  await picture(watched, "cluster");

  // Who was looking at the dead worker's page is told.
  await orphaned.getByText("Not live", { exact: true }).waitFor();
  assert.equal(await orphaned.getByRole("heading", { name: "Cluster" }).count(), 1);
});
