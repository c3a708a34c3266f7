// Adds an account, scans the code that is on the screen, and writes.
import assert from "node:assert/strict";
import jsqr from "jsqr";
import { PNG } from "pngjs";
import { ask, picture, play, until } from "./stage.mjs";

/** Reads the code that a camera in front of the screen would see. */
function codeIn(screenshot) {
  const { data, width, height } = PNG.sync.read(screenshot);
  return jsqr(new Uint8ClampedArray(data), width, height)?.data;
}

/** A picture of one colour. */
function photograph() {
  const png = new PNG({ width: 64, height: 64 });
  png.data.fill(140);
  return PNG.sync.write(png);
}

await play(async ({ base, number, contact }, open) => {
  const page = await open(base);
  // No key: the worker serves this machine, and nobody has to sign in.
  await page.getByRole("link", { name: "Accounts" }).click();
  await page.getByText("There is no account yet").waitFor();
  await page.getByRole("button", { name: "Add account" }).click();
  await page.getByLabel("Name").fill("Front desk");
  await page.getByRole("button", { name: "Add and link" }).click();
  await page.getByRole("heading", { name: "Front desk" }).waitFor();

  await page.getByAltText("QR code that links Front desk").waitFor();
  await picture(page, "linking");
  const code = await until("the code on the screen is read", async () => codeIn(await page.screenshot()));
  await ask({ ask: "scan", number, code });
  await page.locator(".how").getByText("Connected").waitFor();
  assert.equal(await page.getByAltText("QR code that links").count(), 0, "the code is gone");

  await ask({ ask: "write", from: contact, to: number, text: "Is the shop open?" });
  await page.getByRole("link", { name: "Chats", exact: true }).first().click();
  await page.locator(".threads").getByText("Is the shop open?").click();
  const log = page.getByRole("log");
  await log.getByText("Is the shop open?").waitFor();

  await page.getByLabel(/^Message to/).fill("Until six.");
  await page.keyboard.press("Enter");
  const own = log.locator("article", { hasText: "Until six." });
  await own.locator('[data-state="delivered"]').waitFor();
  await ask({ ask: "read", number: contact });
  await own.locator('[data-state="read"]').waitFor();
  assert.equal(await page.locator("a.trace").count(), 0, "nobody said where traces are shown");

  // A file goes out, and is fetched back when somebody wants to see it.
  await page.setInputFiles('input[type="file"]', {
    name: "shop.png",
    mimeType: "image/png",
    buffer: photograph(),
  });
  await page.getByLabel(/^Message to/).fill("The shop");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  const sent = log.locator("article", { hasText: "The shop" });
  await sent.locator('[data-state="delivered"]').waitFor();

  await page.getByRole("link", { name: "Delivery" }).click();
  await page.getByText("0 waiting").waitFor();
  await page.getByLabel("Account", { exact: true }).selectOption({ label: "Front desk" });
  await page.getByRole("listitem").getByText("Until six.").waitFor();
});
