// The time, once a second, for what counts down. Nothing runs while nobody looks.
import { signal } from "@preact/signals";

/** Milliseconds since 1970, by this machine's clock. */
export const now = signal(Date.now());

setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1_000);
document.addEventListener("visibilitychange", () => (now.value = Date.now()));
