// Errors, empty places, and what has just been done.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { Problem } from "../api/client";

/** An error where it happened. */
export function Trouble({ problem, retry }: { problem: Problem; retry?: () => void }) {
  return (
    <div class="notice bad" role="alert">
      <div>
        <strong>{problem.title}</strong>
        {problem.detail && <p>{problem.detail}</p>}
      </div>
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** A list without entries: what would be here, and how it gets here. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <strong>{title}</strong>
      {children && <p>{children}</p>}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <p class="loading" role="status">
      Reading {what} …
    </p>
  );
}

interface Toast {
  id: number;
  text: string;
  isBad: boolean;
}
const toasts = signal<readonly Toast[]>([]);
let nextToast = 1;
const TOAST_MS = 5_000;

function show(text: string, isBad: boolean): void {
  const id = nextToast++;
  toasts.value = [...toasts.value.slice(-2), { id, text, isBad }];
  setTimeout(() => (toasts.value = toasts.value.filter((toast) => toast.id !== id)), TOAST_MS);
}

/** Says what has been done. */
export function say(text: string): void {
  show(text, false);
}

/** Does something; says what came of it. Returns whether it was done. */
export async function attempt(act: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await act();
    if (done) say(done);
    return true;
  } catch (error) {
    const problem = Problem.of(error);
    show(problem.detail ? `${problem.title}: ${problem.detail}` : problem.title, true);
    return false;
  }
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <div key={toast.id} class={toast.isBad ? "toast bad" : "toast"}>
          {toast.text}
        </div>
      ))}
    </div>
  );
}
