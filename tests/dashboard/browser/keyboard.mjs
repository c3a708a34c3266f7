// By keyboard alone: in, to an account, to a conversation, and an answer sent.
import assert from "node:assert/strict";
import { ask, play, tabTo } from "./stage.mjs";

await play(async ({ base, key, account, contact }, open) => {
  await ask({ ask: "write", from: contact, to: account.number, text: "Is the shop open?" });
  const page = await open(base);
  await page.getByRole("heading", { name: "Sign in to Leasehold" }).waitFor();
  // The field has the focus from the beginning.
  await page.keyboard.type(key);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Cluster" }).waitFor();

  await tabTo(page, "Accounts");
  await page.keyboard.press("Enter");
  await page.getByRole("table", { name: "Accounts" }).getByText(account.name).waitFor();
  await tabTo(page, account.name);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: account.name }).waitFor();

  await tabTo(page, "Chats");
  await page.keyboard.press("Enter");
  await page.locator(".threads").getByText("Is the shop open?").waitFor();
  await tabTo(page, /Is the shop open\?/);
  await page.keyboard.press("Enter");
  await page.getByRole("log").getByText("Is the shop open?").waitFor();

  await page.getByLabel(/^Message to/).waitFor();
  await tabTo(page, /^Message to/);
  await page.keyboard.type("Until six.");
  await page.keyboard.press("Enter");
  const own = page.getByRole("log").locator("article", { hasText: "Until six." });
  await own.locator('[data-state="delivered"], [data-state="read"]').waitFor();
  assert.ok(
    await page.getByLabel(/^Message to/).evaluate((field) => field === document.activeElement),
    "one can go on writing",
  );
});
