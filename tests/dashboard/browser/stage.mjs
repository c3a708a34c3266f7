// What scripts have in common: the browser, what every test checks, and the
// stage on the other side of standard input and output.
import { createInterface } from "node:readline";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

/** For everything that is waited for, on a busy machine. */
export const LIMIT_MS = 45_000;

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-extensions",
  // Whatever would go elsewhere does not get there.
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const line = async () => JSON.parse((await lines.next()).value);

/** Asks the stage for something, and waits until it is done. */
export async function ask(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
  const { answer, error } = await line();
  if (error) throw new Error(`the stage could not ${what.ask}: ${error}`);
  return answer;
}

/** Looks again and again until `look` gives something. */
export async function until(what, look) {
  const end = Date.now() + LIMIT_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Keeps a picture of what is on the screen, where pictures are wanted. */
export async function picture(page, name) {
  const folder = process.env.DASHBOARD_SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.evaluate(() => Promise.allSettled(document.getAnimations().map((one) => one.finished)));
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

/** Presses Tab until what is called `name` has the focus. */
export async function tabTo(page, name, pressesMax = 60) {
  const passed = [];
  for (let presses = 0; presses < pressesMax; presses += 1) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => {
      const element = document.activeElement;
      const text = element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;
      return (text ?? "").replace(/\s+/g, " ").trim();
    });
    if (typeof name === "string" ? focused === name : name.test(focused)) return;
    passed.push(focused.slice(0, 40));
  }
  throw new Error(`Tab does not lead to ${name}, but to ${passed.join(" | ")}`);
}

/**
 * Plays a test: with what the stage says, and a function that opens a page.
 * Nothing of any page may have left its origin, nor broken its policy, nor
 * thrown.
 */
export async function play(test) {
  const about = await line();
  const folder = mkdtempSync(join(tmpdir(), "dashboard-"));
  const faults = [];
  let requests = 0;
  let last;
  const open = async (url, options = {}) => {
    const context = await chromium.launchPersistentContext(mkdtempSync(join(folder, "user-")), {
      executablePath: process.env.CHROMIUM,
      args: FLAGS,
      viewport: { width: 1280, height: 820 },
      ...options,
    });
    contexts.push(context);
    const dist = process.env.DASHBOARD_DIST;
    if (dist) {
      await context.route("**/assets/*", (route) =>
        route.fulfill({ path: join(dist, basename(route.request().url())) }),
      );
    }
    const page = context.pages()[0] ?? (await context.newPage());
    const origin = new URL(url).origin;
    page.setDefaultTimeout(LIMIT_MS);
    page.on("request", (request) => {
      requests += 1;
      const address = request.url();
      if (!address.startsWith(`${origin}/`) && !/^(blob|data):/.test(address)) {
        faults.push(`a request left the origin: ${address}`);
      }
    });
    page.on("pageerror", (error) => faults.push(`the page threw: ${error.stack}`));
    page.on("console", (message) => {
      if (/Content Security Policy|Refused to/.test(message.text())) faults.push(message.text());
    });
    await page.goto(url);
    last = page;
    return page;
  };
  const contexts = [];
  try {
    await test(about, open);
    assert.deepEqual(faults, []);
    assert.ok(requests > 0, "no request was seen: look at this check");
    console.error(`${requests} requests, none left its origin`);
  } catch (error) {
    console.error(error);
    console.error(faults);
    console.error(await last?.locator("body").innerText().catch(() => ""));
    process.exitCode = 1;
  } finally {
    await Promise.all(contexts.map((context) => context.close().catch(() => {})));
    rmSync(folder, { recursive: true, force: true });
    process.stdin.destroy();
  }
}
