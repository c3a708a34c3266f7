// Who has no good key stays outside; a sign-in ends, and a revoked key's too.
import assert from "node:assert/strict";
import { play } from "./stage.mjs";

await play(async ({ base, admin, reader }, open) => {
  const page = await open(base);
  const heading = page.getByRole("heading", { name: "Sign in to Leasehold" });
  const key = page.getByLabel("API key");
  const enter = async (text) => {
    await key.fill(text);
    await page.getByRole("button", { name: "Sign in" }).click();
  };

  await heading.waitFor();
  await enter(`${reader.key.slice(0, -4)}0000`);
  await page.getByRole("alert").getByText("This key is not good").waitFor();
  await enter("let me in");
  await page.getByRole("alert").getByText("This key is not good").waitFor();

  // A reader sees, and is offered nothing else.
  await enter(reader.key);
  await page.getByRole("heading", { name: "Cluster" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "Keys" }).count(), 0);
  const cookies = await page.context().cookies();
  assert.deepEqual(
    cookies.map(({ httpOnly, sameSite }) => ({ httpOnly, sameSite })),
    [{ httpOnly: true, sameSite: "Strict" }],
  );
  assert.ok(!JSON.stringify(cookies).includes(reader.key.split("_")[2]), "the key is not kept");
  assert.equal(await page.evaluate(() => document.cookie), "", "no script reads it");

  // Its time ends while nobody does anything.
  await heading.waitFor();
  await page.getByText("Your sign-in has ended").waitFor();

  await enter(reader.key);
  await page.getByRole("heading", { name: "Cluster" }).waitFor();
  const revoked = await fetch(`${base}/v1/keys/${reader.id}`, {
    method: "DELETE",
    headers: { "x-api-key": admin.key },
  });
  assert.equal(revoked.status, 204);
  await heading.waitFor();
  await enter(reader.key);
  await page.getByText("the key was revoked").waitFor();

  await enter(admin.key);
  await page.getByRole("button", { name: "Sign out" }).click();
  await heading.waitFor();
});
