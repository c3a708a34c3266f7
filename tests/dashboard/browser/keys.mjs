// The first key: shown once, to whoever makes it, who stays inside; then it is
// the way in.
import assert from "node:assert/strict";
import { play } from "./stage.mjs";

await play(async ({ base }, open) => {
  const page = await open(`${base}/#/keys`);
  await page.getByText("There is no key yet").waitFor();
  await page.getByRole("button", { name: "Make a key" }).click();
  await page.getByRole("dialog").getByLabel("Name").fill("Operations");
  await page.getByRole("button", { name: "Make", exact: true }).click();
  const dialog = page.getByRole("dialog", { name: "Key “Operations”" });
  const key = await dialog.getByRole("textbox").inputValue();
  assert.match(key, /^lh_[A-Za-z0-9]+_[A-Za-z0-9_-]+$/);

  // From now on every request needs one; what goes on behind the dialog does
  // not take it away before somebody has read it.
  const refused = await fetch(`${base}/v1/accounts`);
  assert.equal(refused.status, 401);
  await page.waitForResponse(
    (answer) => answer.url().endsWith("/v1/workers") && answer.status() === 200,
  );
  assert.equal(await dialog.getByRole("textbox").inputValue(), key);
  await page.getByRole("button", { name: "I have kept it" }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByText("key: Operations").waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByText("(yours)").waitFor();
  const isShown = () => page.evaluate((secret) => document.documentElement.outerHTML.includes(secret), key);
  assert.ok(!(await isShown()), "it is not shown again");
  await page.reload();
  await page.getByText("(yours)").waitFor();
  assert.ok(!(await isShown()), "nor later");

  // Another browser gets in with it, and makes one for a program that only reads.
  const other = await open(`${base}/#/keys`);
  await other.getByLabel("API key").fill(key);
  await other.getByRole("button", { name: "Sign in" }).click();
  await other.getByRole("button", { name: "Make a key" }).click();
  await other.getByRole("dialog").getByLabel("Name").fill("Reports");
  await other.getByRole("button", { name: "Make", exact: true }).click();
  const second = other.getByRole("dialog", { name: "Key “Reports”" });
  const reader = await second.getByRole("textbox").inputValue();
  await other.getByRole("button", { name: "I have kept it" }).click();
  const status = async (path) =>
    (await fetch(base + path, { headers: { "x-api-key": reader } })).status;
  assert.equal(await status("/v1/accounts"), 200);
  assert.equal(await status("/v1/keys"), 403, "it may read, and nothing else");
});
