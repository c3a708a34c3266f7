// A file that came: opened, and saved as it was sent.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { PNG } from "pngjs";
import { ask, play } from "./stage.mjs";

/** A picture with an edge in it. */
function picture() {
  const png = new PNG({ width: 48, height: 32 });
  png.data.fill(230);
  png.data.fill(60, 0, png.data.length / 2);
  return PNG.sync.write(png);
}

await play(async ({ base, account, contact }, open) => {
  const sent = picture();
  await ask({ ask: "send_picture", from: contact, to: account.number, content: [...sent] });
  const page = await open(`${base}/#/chats/${account.id}`);
  await page.locator(".threads li a").first().click();
  const message = page.getByRole("log").locator("article").last();
  await message.getByRole("button", { name: /^Show image/ }).click();
  const shown = message.getByRole("img");
  await shown.waitFor();
  const size = await shown.evaluate(async (image) => {
    await image.decode();
    return [image.naturalWidth, image.naturalHeight];
  });
  assert.deepEqual(size, [48, 32], "it is the picture that was sent");

  const downloading = page.waitForEvent("download");
  await message.getByRole("link", { name: /^Save/ }).click();
  const download = await downloading;
  assert.deepEqual(readFileSync(await download.path()), sent, "it is saved as it was sent");
});
