// An account whose erasing somebody began: what it is like is said, nothing
// else is offered, and whoever may goes on until nothing is left.
import assert from "node:assert/strict";
import { play } from "./stage.mjs";

await play(async ({ base, account }, open) => {
  const page = await open(`${base}/#/accounts`);
  await page.getByRole("link", { name: account.name }).waitFor();
  // One request erases an account as small as this one: that it is not done
  // yet is said in the worker's place, and the rest is real.
  await page.route(`**/v1/accounts/${account.id}`, async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    if (response.ok()) body.desired = "purging";
    await route.fulfill({ response, json: body });
  });
  await page.getByRole("link", { name: account.name }).click();
  await page.locator(".how").getByText("Being erased", { exact: true }).waitFor();
  await page.locator(".how").getByText("What to do:").waitFor();
  for (const name of ["Start", "Stop", "Restart", "Hand off", "Log out", "Edit"]) {
    assert.equal(await page.getByRole("button", { name, exact: true }).count(), 0, name);
  }

  await page.getByRole("button", { name: "Go on erasing" }).click();
  await page.getByRole("heading", { name: "Accounts", exact: true }).waitFor();
  await page.getByText("There is no account yet").waitFor();
  const gone = await fetch(`${base}/v1/accounts/${account.id}`);
  assert.equal(gone.status, 404);
});
