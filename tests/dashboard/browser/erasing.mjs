// An account whose erasing somebody began: what it is like is said, nothing
// else is offered, and whoever may goes on until nothing is left.
import assert from "node:assert/strict";
import { play } from "./stage.mjs";

await play(async ({ base, account }, open) => {
  const page = await open(`${base}/#/accounts/${account.id}`);
  await page.locator(".how").getByText("Connected").waitFor();
  const begun = await fetch(`${base}/v1/accounts/${account.id}?confirm=${account.id}`, { method: "DELETE" });
  assert.equal(begun.status, 202);
  assert.equal((await begun.json()).state, "waiting", "its owner stops first");

  await page.locator(".how").getByText("Being erased").waitFor();
  await page.locator(".how").getByText("What to do:").waitFor();
  for (const name of ["Start", "Stop", "Restart", "Hand off", "Log out", "Edit"]) {
    assert.equal(await page.getByRole("button", { name, exact: true }).count(), 0, name);
  }
  await page.getByRole("button", { name: "Go on erasing" }).click();
  await page.getByRole("heading", { name: "Accounts", exact: true }).waitFor();
  await page.getByText("There is no account yet").waitFor();
});
