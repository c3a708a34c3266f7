// Where the worker knows where people look at traces, there are links to them.
import assert from "node:assert/strict";
import { ask, play } from "./stage.mjs";

const TRACE = /^https:\/\/traces\.example\/trace\/[0-9a-f]{32}$/;

await play(async ({ base, account, contact }, open) => {
  const check = async (links, what) => {
    await links.first().waitFor();
    for (const link of await links.all()) {
      assert.match(await link.getAttribute("href"), TRACE, what);
      assert.equal(await link.getAttribute("rel"), "noopener noreferrer");
      assert.equal(await link.getAttribute("target"), "_blank");
      assert.match(await link.textContent(), /Trace of .+, in a new window/);
    }
  };
  await ask({ ask: "write", from: contact, to: account.number, text: "Is the shop open?" });
  const page = await open(`${base}/#/accounts/${account.id}`);
  const traces = page.getByRole("link", { name: "Traces in a new window" });
  assert.equal(
    await traces.getAttribute("href"),
    `https://traces.example/search?tags=%7B%22account.id%22%3A%22${account.id}%22%7D`,
  );
  assert.equal(await traces.getAttribute("rel"), "noopener noreferrer");
  await page.getByRole("button", { name: "Owners" }).click();
  await page.locator(".history").getByText("Claimed").first().waitFor();
  await check(page.locator(".history a.trace"), "a change of the owner");

  await page.goto(`${base}/#/chats/${account.id}`);
  await page.locator(".threads li a").first().click();
  const log = page.getByRole("log");
  await check(log.locator("article", { hasText: "Is the shop open?" }).locator("a.trace"), "what came");
  await page.getByLabel(/^Message to/).fill("Until six.");
  await page.keyboard.press("Enter");
  const own = log.locator("article", { hasText: "Until six." });
  await check(own.locator("a.trace"), "what was sent");
  const shown = await own.locator("a.trace").getAttribute("href");

  await page.goto(`${base}/#/delivery/outbox/${account.id}`);
  const row = page.getByRole("listitem").filter({ hasText: "Until six." });
  await check(row.locator("a.trace"), "the outbox");
  assert.equal(await row.locator("a.trace").getAttribute("href"), shown, "it is one trace");

  await page.goto(`${base}/#/`);
  await check(page.locator(".timeline a.trace"), "the timeline");
});
