// Every page, light and dark, wide and narrow: nothing for axe to complain of,
// everything within reach of a keyboard, and pictures for who wants to look.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { ask, play, until } from "./stage.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SIZES = { wide: { width: 1360, height: 860 }, narrow: { width: 390, height: 844 } };
const TALK = [
  ["in", "Hello, is the workshop on Saturday still on?"],
  ["out", "Good morning Anna, yes – it begins at 10."],
  ["in", "Great. Can I bring my sister?"],
  ["out", "Of course. There are four places left."],
];

/** What axe finds, in few words. */
async function complaints(page) {
  // Like a tool of the browser's: the page's own policy does not let it in.
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: AXE });
  await session.detach();
  const { violations } = await page.evaluate(() => axe.run(document));
  return violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`,
  );
}

await play(async (about, open) => {
  const { base, accounts, waiting, contact, webhook, screenshots } = about;
  const [first] = accounts;
  const post = async (path, body) => {
    const answer = await fetch(base + path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    assert.ok(answer.ok, `${path}: ${answer.status}`);
    return answer.json();
  };
  let thread;
  for (const [direction, text] of TALK) {
    if (direction === "out") {
      thread = (await post(`/v1/accounts/${first.id}/messages`, { to: contact, text })).threadId;
      continue;
    }
    await ask({ ask: "write", from: contact, to: first.number, text });
    await until("it is stored", async () => {
      const { threads } = await (await fetch(`${base}/v1/accounts/${first.id}/threads`)).json();
      return threads.some(({ lastMessagePreview }) => lastMessagePreview === text);
    });
  }
  await post(`/v1/webhooks/${webhook}/test`);

  const places = {
    cluster: ["#/", "Lately"],
    accounts: ["#/accounts", "Workshop"],
    account: [`#/accounts/${first.id}`, "Connected"],
    linking: [`#/accounts/${waiting}`, "No camera at hand?"],
    chats: [`#/chats/${first.id}/${thread}`, "four places left"],
    threads: [`#/chats/${first.id}`, "Anna"],
    outbox: ["#/delivery", "four places left"],
    webhooks: ["#/delivery/webhooks", "CRM"],
    webhook: [`#/delivery/webhooks/${webhook}`, "Deliveries"],
    keys: ["#/keys", "There is no key yet"],
    nowhere: ["#/nowhere", "There is no such page"],
  };
  if (screenshots) mkdirSync(screenshots, { recursive: true });
  const page = await open(base);
  // A check that cannot fail is none.
  await page.evaluate(() => document.body.append(document.createElement("img")));
  assert.match((await complaints(page)).join(), /image-alt/);
  await page.evaluate(() => document.body.lastElementChild.remove());
  const found = [];
  const check = async (name) => {
    // Colours are compared once nothing glides or fades.
    await page.evaluate(() => Promise.all(document.getAnimations().map((one) => one.finished)));
    if (!name.endsWith("narrow")) {
      found.push(...(await complaints(page)).map((text) => `${name}: ${text}`));
    }
    if (screenshots) await page.screenshot({ path: join(screenshots, `${name}.png`) });
  };
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const [size, viewport] of Object.entries(SIZES)) {
      // The same in other colours, for pictures alone.
      if (size === "narrow" && colorScheme === "dark" && !screenshots) continue;
      await page.setViewportSize(viewport);
      for (const [name, [address, text]] of Object.entries(places)) {
        await page.goto(`${base}/${address}`);
        await page.locator("main").getByText(text).filter({ visible: true }).first().waitFor();
        await check(`${name}-${colorScheme}-${size}`);
        const overflow = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        assert.equal(overflow, 0, `${name} is too wide where it is ${size}`);
      }
      await page.goto(`${base}/#/accounts`);
      await page.getByRole("button", { name: "Add account" }).click();
      await check(`add-${colorScheme}-${size}`);
      await page.keyboard.press("Escape");
    }
  }
  assert.deepEqual(found, []);

  // By keyboard alone.
  await page.setViewportSize(SIZES.wide);
  await page.goto(`${base}/#/accounts`);
  await page.reload();
  await page.getByRole("button", { name: "Add account" }).waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? "");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to content");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Add account");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Add an account" });
  await dialog.waitFor();
  assert.ok(
    await dialog.getByLabel("Name").evaluate((field) => field === document.activeElement),
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
  await dialog.waitFor({ state: "detached" });
  assert.equal(await focused(), "Add account", "the focus is back");

  // What cannot be undone asks first.
  await page.goto(`${base}/#/accounts/${first.id}`);
  await page.getByRole("button", { name: "Log out" }).click();
  const question = page.getByRole("dialog", { name: "Log this account out?" });
  await question.getByRole("button", { name: "Cancel" }).click();
  await question.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Hand off" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Hand off" }).click();
  await page.getByText("Its owner hands it off.").waitFor();
  await page.getByRole("button", { name: "Owners" }).click();
  await page.locator(".history").getByText("somebody asked for it").first().waitFor();
});
