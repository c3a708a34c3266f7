// Every dialog and the way in, light and dark, wide and narrow: nothing for axe
// to complain of. They keep the focus, and what cannot be undone asks first.
import assert from "node:assert/strict";
import { LOOKS, complaints, look, tryOut } from "./axe.mjs";
import { picture, play } from "./stage.mjs";

await play(async ({ base, account, webhook }, open) => {
  const page = await open(base);
  await tryOut(page);
  const found = [];
  const check = async (name, looks = LOOKS) => {
    for (const one of looks) {
      await look(page, one);
      found.push(...(await complaints(page)).map((text) => `${name}, ${one.name}: ${text}`));
      await picture(page, `${name}-${one.name}`);
      const overflow = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.equal(overflow, 0, `${name} is too wide in ${one.name}`);
    }
    await look(page, LOOKS[0]);
  };
  const button = (name) => page.getByRole("button", { name, exact: true });
  const dialog = page.getByRole("dialog");
  const close = async () => {
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
  };
  const press = async (name) => {
    await button(name).click();
    await dialog.waitFor();
  };
  const asked = async (name, opener) => {
    await press(opener);
    await check(name);
    await close();
  };

  await page.goto(`${base}/#/accounts`);
  await asked("add", "Add account");
  await page.goto(`${base}/#/accounts/${account}`);
  await asked("edit", "Edit");
  await asked("stop", "Stop");
  await asked("hand-off", "Hand off");
  await asked("log-out", "Log out");
  await button("Ask its owner").click();
  await page.locator("pre").waitFor();
  await check("inside");
  await page.goto(`${base}/#/chats/${account}`);
  await asked("write", "Write to somebody new");
  await page.goto(`${base}/#/delivery/webhooks/${webhook}`);
  await asked("delete-webhook", "Delete");
  await page.goto(`${base}/#/delivery/webhooks`);
  await press("Add webhook");
  await check("add-webhook");
  await dialog.getByLabel("Address").fill("nowhere");
  await dialog.getByRole("button", { name: "Add", exact: true }).click();
  await dialog.getByRole("alert").waitFor();
  await check("refused");
  await dialog.getByLabel("Address").fill("http://127.0.0.1:9/other");
  await dialog.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByRole("dialog", { name: "Secret of the webhook" }).waitFor();
  await check("secret");
  await button("I have kept it").click();
  await dialog.waitFor({ state: "detached" });

  // By keyboard alone.
  await page.goto(`${base}/#/accounts`);
  await page.reload();
  await button("Add account").waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? "");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to content");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Add account");
  await page.keyboard.press("Enter");
  const adding = page.getByRole("dialog", { name: "Add an account" });
  await adding.waitFor();
  assert.ok(
    await adding.getByLabel("Name").evaluate((field) => field === document.activeElement),
    "the first field has the focus",
  );
  for (let presses = 0; presses < 12; presses += 1) {
    await page.keyboard.press("Tab");
    const isInside = await page.evaluate(
      () => document.activeElement === document.body || !!document.activeElement.closest("dialog"),
    );
    assert.ok(isInside, "the focus stays in the dialog");
  }
  await page.keyboard.press("Escape");
  await adding.waitFor({ state: "detached" });
  assert.equal(await focused(), "Add account", "the focus is back");

  // What cannot be undone asks first.
  await page.goto(`${base}/#/accounts/${account}`);
  await button("Log out").click();
  const question = page.getByRole("dialog", { name: "Log this account out?" });
  await question.getByRole("button", { name: "Cancel" }).click();
  await question.waitFor({ state: "detached" });
  await button("Hand off").click();
  await dialog.getByRole("button", { name: "Hand off" }).click();
  await page.getByText("Its owner hands it off.").waitFor();
  await button("Owners").click();
  await page.locator(".history").getByText("somebody asked for it").first().waitFor();

  // The first key is shown once, and ends the time without one.
  await page.goto(`${base}/#/keys`);
  await press("Make a key");
  await check("make-key");
  await dialog.getByLabel("Name").fill("Operations");
  await dialog.getByRole("button", { name: "Make", exact: true }).click();
  const made = page.getByRole("dialog", { name: "Key “Operations”" });
  const key = await made.getByRole("textbox").inputValue();
  assert.match(key, /^lh_/);
  await check("key");
  await button("I have kept it").click();
  await page.getByText("Operations").first().waitFor();
  await check("keys-with-one");
  await page.getByRole("button", { name: "Revoke Operations" }).click();
  await dialog.waitFor();
  await check("revoke");
  await close();

  await button("Sign out").click();
  await page.getByRole("heading", { name: "Sign in to Leasehold" }).waitFor();
  await check("sign-in");
  await page.getByLabel("API key").fill("let me in");
  await button("Sign in").click();
  await page.getByRole("alert").waitFor();
  await check("sign-in-refused");
  assert.deepEqual(found, []);
});
