// The outbox of all accounts: what waits and since when, what failed and why.
import assert from "node:assert/strict";
import { play, until } from "./stage.mjs";

await play(async ({ base, accounts, contact, unwilling }, open) => {
  const [failing, waiting, idle] = accounts;
  const call = async (method, path, body) => {
    const answer = await fetch(base + path, {
      method,
      headers: { "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
    return answer.status === 204 ? null : answer.json();
  };
  const page = await open(`${base}/#/delivery`);
  await page.getByText("Nothing waits").waitFor();
  await page.getByText("Nothing has failed.").waitFor();

  for (const { id } of [failing, waiting]) {
    await call("POST", `/v1/accounts/${id}/stop`);
    await until("it is stopped and let go", async () => {
      const { status, owner } = await call("GET", `/v1/accounts/${id}`);
      return status === "stopped" && !owner;
    });
  }
  await call("POST", `/v1/accounts/${failing.id}/messages`, { to: unwilling, text: "An offer" });
  await call("POST", `/v1/accounts/${waiting.id}/messages`, { to: contact, text: "The first" });
  await call("POST", `/v1/accounts/${waiting.id}/messages`, { to: contact, text: "The second" });
  // In the meantime somebody wants nothing more from here.
  await call("PUT", `/v1/do-not-contact/${unwilling}`, {});
  await call("POST", `/v1/accounts/${failing.id}/start`);

  const line = (name) => page.getByRole("row").filter({ hasText: name });
  const numbers = async (name) => (await line(name).getByRole("cell").allInnerTexts()).map((text) => text.trim());
  await until("one failed and two wait", async () => {
    const failed = (await line(failing.name).count()) && (await numbers(failing.name));
    const waits = (await line(waiting.name).count()) && (await numbers(waiting.name));
    return failed && waits && failed[0] === "–" && failed[2] === "1" && waits[0] === "2" && waits[2] === "–";
  });
  assert.match((await numbers(waiting.name))[1], / ago$/);
  await line(waiting.name).getByText("Stopped").waitFor();
  assert.equal(await line(idle.name).count(), 0, "of an account without trouble nothing is said");
  await page.getByText("2 waiting, the oldest from").waitFor();
  const failed = page.getByRole("region", { name: "Could not be sent" }).getByRole("listitem");
  await failed.getByText("An offer").waitFor();
  await failed.locator(".error").getByText("do_not_contact").waitFor();
  const texts = page.getByRole("region", { name: "Waits" }).getByRole("listitem");
  assert.match(await texts.first().innerText(), /The first/, "the oldest stands first");

  await texts.filter({ hasText: "The second" }).getByRole("button", { name: /^Take back/ }).click();
  await page.getByText("1 waiting, the oldest from").waitFor();
  await page.getByRole("link", { name: waiting.name }).click();
  await page.getByText("taken back").or(page.getByText("cancelled")).first().waitFor();
});
