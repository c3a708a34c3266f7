// Every page, light and dark, wide and narrow: nothing for axe to complain of,
// nothing that is too wide, and pictures for who wants to look.
import assert from "node:assert/strict";
import { LOOKS, complaints, look, tryOut } from "./axe.mjs";
import { ask, picture, play, until } from "./stage.mjs";

const TALK = [
  ["in", "Hello, is the workshop on Saturday still on?"],
  ["out", "Good morning Anna, yes – it begins at 10."],
  ["in", "Great. Can I bring my sister?"],
  ["out", "Of course. There are four places left."],
];

await play(async (about, open) => {
  const { base, accounts, waiting, contact, webhook } = about;
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
  const isNow = (state, id) =>
    until(`a message is ${state}`, async () => {
      const message = await (await fetch(`${base}/v1/messages/${id}`)).json();
      return message.state === state;
    });
  let thread;
  for (const [direction, text] of TALK) {
    if (direction === "out") {
      const sent = await post(`/v1/accounts/${first.id}/messages`, { to: contact, text });
      await isNow("delivered", sent.messageId);
      // The first one is read, and the last is not yet.
      if (!thread) {
        await ask({ ask: "read", number: contact });
        await isNow("read", sent.messageId);
      }
      thread = sent.threadId;
      continue;
    }
    await ask({ ask: "write", from: contact, to: first.number, text });
    await until("it is stored", async () => {
      const { threads } = await (await fetch(`${base}/v1/accounts/${first.id}/threads`)).json();
      return threads.some(({ lastMessagePreview }) => lastMessagePreview === text);
    });
  }
  await post(`/v1/webhooks/${webhook}/test`);
  // It waits for a phone, and so does what is written there.
  await until("something waits", async () => {
    const answer = await fetch(`${base}/v1/accounts/${waiting}/messages`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ to: contact, text: "It waits." }),
    });
    return answer.ok;
  });

  const places = {
    cluster: ["#/", "Lately"],
    accounts: ["#/accounts", "Workshop"],
    account: [`#/accounts/${first.id}`, "Connected"],
    linking: [`#/accounts/${waiting}`, "No camera at hand?"],
    chats: [`#/chats/${first.id}/${thread}`, "four places left"],
    threads: [`#/chats/${first.id}`, "Anna"],
    delivery: ["#/delivery", "It waits."],
    outbox: [`#/delivery/outbox/${first.id}`, "four places left"],
    webhooks: ["#/delivery/webhooks", "CRM"],
    webhook: [`#/delivery/webhooks/${webhook}`, "Deliveries"],
    keys: ["#/keys", "There is no key yet"],
    nowhere: ["#/nowhere", "There is no such page"],
  };
  const page = await open(base);
  await tryOut(page);
  const found = [];
  for (const one of LOOKS) {
    await look(page, one);
    for (const [name, [address, text]] of Object.entries(places)) {
      await page.goto(`${base}/${address}`);
      await page.locator("main").getByText(text).filter({ visible: true }).first().waitFor();
      found.push(...(await complaints(page)).map((text) => `${name}, ${one.name}: ${text}`));
      await picture(page, `${name}-${one.name}`);
      const overflow = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.equal(overflow, 0, `${name} is too wide in ${one.name}`);
    }
  }
  assert.deepEqual(found, []);

  // As on a phone, with its finer dots.
  const phone = await open(`${base}/#/chats/${first.id}/${thread}`, {
    viewport: { width: 390, height: 760 },
    deviceScaleFactor: 1.5,
    colorScheme: "dark",
  });
  await phone.getByText("four places left").filter({ visible: true }).first().waitFor();
  await phone.locator('article [data-state="read"]').last().waitFor();
  await picture(phone, "chat");
});
