// The stream of events (`GET /v1/events`): reads server-sent events, goes on
// where it was after an interruption, and says how it is.
//
// Not `EventSource`: that one gives up for good after a refusal, and says
// neither why nor when it tries again.
import { signal } from "@preact/signals";
import { Problem, ask } from "./client";
import type { Event } from "./types";

export type StreamState =
  | { kind: "connecting" }
  | { kind: "live" }
  | { kind: "lost"; retryAt: number; why: string };

/** How the stream is. */
export const streamState = signal<StreamState>({ kind: "connecting" });

const WAIT_MIN_MS = 1_000;
const WAIT_MAX_MS = 10_000;
/** A heartbeat comes more often than this. */
const SILENCE_MAX_MS = 60_000;

type Listener = (event: Event) => void;
const listeners = new Set<Listener>();
const gapListeners = new Set<() => void>();

/** Calls `listener` for each event until the function that it returns is called. */
export function onEvent(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Calls `listener` when events may have been missed: what is shown must be read anew. */
export function onGap(listener: () => void): () => void {
  gapListeners.add(listener);
  return () => gapListeners.delete(listener);
}

let running: AbortController | null = null;

/** Begins, unless it runs already. */
export function startStream(): void {
  if (running) return;
  running = new AbortController();
  void run(running.signal);
}

/** Ends the stream. */
export function stopStream(): void {
  running?.abort();
  running = null;
  streamState.value = { kind: "connecting" };
}

async function run(stop: AbortSignal): Promise<void> {
  let cursor = "";
  let wait = WAIT_MIN_MS;
  while (!stop.aborted) {
    let why = "the worker ended it";
    try {
      await follow(stop, cursor, {
        opened: () => {
          if (streamState.value.kind === "lost") gapListeners.forEach((tell) => tell());
          streamState.value = { kind: "live" };
          wait = WAIT_MIN_MS;
        },
        at: (id) => (cursor = id),
      });
    } catch (error) {
      if (stop.aborted) return;
      const problem = Problem.of(error);
      if (problem.status === 401) return stopStream();
      why = problem.status === 0 ? "the worker does not answer" : problem.message;
    }
    if (stop.aborted) return;
    streamState.value = { kind: "lost", retryAt: Date.now() + wait, why };
    await pause(wait, stop);
    wait = Math.min(wait * 2, WAIT_MAX_MS);
  }
}

interface Progress {
  opened(): void;
  at(id: string): void;
}

async function follow(stop: AbortSignal, cursor: string, progress: Progress): Promise<void> {
  const attempt = new AbortController();
  const abort = () => attempt.abort();
  stop.addEventListener("abort", abort);
  let watchdog = setTimeout(abort, SILENCE_MAX_MS);
  try {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (cursor) headers["last-event-id"] = cursor;
    const answer = await ask("/v1/events", { headers, signal: attempt.signal });
    progress.opened();
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(abort, SILENCE_MAX_MS);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      blocks.forEach((block) => take(block, progress));
    }
  } finally {
    clearTimeout(watchdog);
    stop.removeEventListener("abort", abort);
  }
}

function take(block: string, progress: Progress): void {
  let name = "message";
  let data = "";
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).trimStart();
    switch (line.slice(0, colon)) {
      case "id":
        progress.at(value);
        break;
      case "event":
        name = value;
        break;
      case "data":
        data += value;
        break;
    }
  }
  if (!data) return;
  if (name === "fell_behind") {
    gapListeners.forEach((tell) => tell());
  } else if (name !== "end") {
    const event = JSON.parse(data) as Event;
    listeners.forEach((tell) => tell(event));
  }
}

function pause(milliseconds: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stop.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
