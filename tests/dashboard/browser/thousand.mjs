// A thousand accounts: the page has what is in sight, and little more.
import assert from "node:assert/strict";
import { play, until } from "./stage.mjs";

const ACCOUNTS = 1_000;
const ROWS_MAX = 60;
const ELEMENTS_MAX = 2_000;

await play(async ({ base }, open) => {
  const page = await open(`${base}/#/accounts`);
  await page.getByText(`${ACCOUNTS} accounts`).waitFor();
  const rows = () => page.getByRole("table").getByRole("row").count();
  const elements = () => page.evaluate(() => document.querySelectorAll("*").length);

  const scrolled = await page.evaluate(async () => {
    const view = document.querySelector(".rows-view");
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    const began = performance.now();
    let frames = 0;
    let slowest = 0;
    let most = 0;
    while (view.scrollTop + view.clientHeight < view.scrollHeight - 1) {
      const before = performance.now();
      view.scrollTop += 600;
      await frame();
      await frame();
      frames += 1;
      slowest = Math.max(slowest, performance.now() - before);
      most = Math.max(most, view.querySelectorAll('[role="row"]').length);
    }
    return { frames, most, slowest: Math.round(slowest), total: Math.round(performance.now() - began) };
  });
  console.error(
    `scrolled through ${ACCOUNTS} accounts in ${scrolled.total} ms: ${scrolled.frames} steps, ` +
      `the slowest ${scrolled.slowest} ms, ${scrolled.most} rows at most`,
  );
  assert.ok(scrolled.most < ROWS_MAX, `${scrolled.most} rows at once`);
  assert.ok((await rows()) < ROWS_MAX);
  await page.getByText("Account 0999").waitFor();

  const typed = Date.now();
  await page.getByLabel("Search accounts").fill("0742");
  await until("one is left", async () => (await rows()) === 2);
  console.error(`found one of them in ${Date.now() - typed} ms`);
  await page.getByText(`1 of ${ACCOUNTS}`).waitFor();
  await page.getByLabel("Search accounts").fill("nobody");
  await page.getByText("No account is like this").waitFor();

  await page.goto(`${base}/#/`);
  await page.locator(".worker").first().waitFor();
  assert.ok((await elements()) < ELEMENTS_MAX, "the cluster's page is bounded, too");
});
