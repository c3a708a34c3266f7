// Where in the page one is: the part of the address after `#`. So any page can
// be bookmarked, and the worker serves one file.
import { computed, signal } from "@preact/signals";

const hash = signal(location.hash);
addEventListener("hashchange", () => (hash.value = location.hash));

/** The parts of the address, decoded: `#/accounts/a1` is `["accounts", "a1"]`. */
export const route = computed(() =>
  hash.value
    .replace(/^#\/?/, "")
    .split("/")
    .filter((part) => part !== "")
    .map(decodeURIComponent),
);

/** The address of a page, for links. */
export function to(...parts: string[]): string {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

/** Goes there. */
export function go(...parts: string[]): void {
  location.hash = to(...parts);
}
