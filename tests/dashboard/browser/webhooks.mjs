// A receiver that is down at first: what did not get through is shown with the
// reason, gets through once it is up, and is sent again on demand.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { ask, play, until } from "./stage.mjs";

await play(async ({ base, account, contact }, open) => {
  const received = [];
  let isUp = false;
  const server = createServer(async (request, answer) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts).toString();
    if (isUp) received.push({ headers: request.headers, body });
    answer.writeHead(isUp ? 204 : 500).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const page = await open(`${base}/#/delivery/webhooks`);
    await page.getByText("Nothing is sent anywhere yet").waitFor();
    await page.getByRole("button", { name: "Add webhook" }).click();
    await page.getByLabel("Address").fill(`http://127.0.0.1:${server.address().port}/events`);
    await page.getByLabel("Name").fill("CRM");
    await page.getByRole("dialog").getByRole("button", { name: "Add", exact: true }).click();
    const dialog = page.getByRole("dialog", { name: "Secret of the webhook" });
    const secret = await dialog.getByRole("textbox").inputValue();
    await page.getByRole("button", { name: "I have kept it" }).click();
    await page.getByRole("link", { name: "CRM" }).click();

    await ask({ ask: "write", from: contact, to: account.number, text: "Is the shop open?" });
    await page.getByRole("heading", { name: "Does not get through" }).waitFor();
    const delivery = page
      .getByRole("region", { name: "Deliveries" })
      .getByRole("listitem")
      .filter({ hasText: "message.received" });
    await delivery.getByText("retrying").waitFor();
    await delivery.getByText("answer 500").waitFor();
    assert.equal(received.length, 0);

    isUp = true;
    await delivery.getByText("delivered").waitFor();
    await page.getByRole("heading", { name: "Does not get through" }).waitFor({ state: "detached" });
    const events = () => received.filter(({ body }) => JSON.parse(body).type === "message.received");
    const [first] = events();
    const header = first.headers["x-leasehold-signature"];
    const [time, tag] = header.split(",").map((part) => part.split("=")[1]);
    const good = createHmac("sha256", secret).update(`${time}.${first.body}`).digest("hex");
    assert.equal(tag, good, "it is signed with the secret that was shown");

    const before = events().length;
    const attempts = async () => Number(/(\d+) attempt/.exec(await delivery.innerText())[1]);
    const attemptsBefore = await attempts();
    await delivery.getByRole("button", { name: "Send again" }).click();
    await page.getByText("It is sent again.").waitFor();
    await until("it came once more", () => events().length > before);
    assert.equal(events().at(-1).body, first.body, "it is the same event");
    await until("the attempt is counted", async () => (await attempts()) === attemptsBefore + 1);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
