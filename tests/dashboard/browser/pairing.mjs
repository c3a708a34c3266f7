// Links an account without a camera: the code on the screen is typed on the phone.
import { ask, play } from "./stage.mjs";

await play(async ({ base, number }, open) => {
  const page = await open(`${base}/#/accounts`);
  await page.getByRole("button", { name: "Add account" }).click();
  await page.getByLabel("Name").fill("Front desk");
  await page.getByLabel("Phone number").fill(`+${number}`);
  await page.getByRole("button", { name: "Add and link" }).click();
  await page.getByRole("heading", { name: "Front desk" }).waitFor();
  // There is something to link once its worker has reached WhatsApp.
  await page.getByAltText("QR code that links Front desk").waitFor();
  // The number that was given with the account stands there already.
  await page.getByRole("button", { name: "Get a code to type" }).click();
  const code = (await page.locator(".pairing-code").innerText()).trim();
  await ask({ ask: "enter_code", number, code });
  await page.locator(".how").getByText("Connected").waitFor();
  await page.getByText("No camera at hand?").waitFor({ state: "detached" });
});
