// Reads something of the API for a page, again when asked to.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Problem } from "../api/client";

export interface Reading<T> {
  /** Null until it was read. */
  value: T | null;
  problem: Problem | null;
  again: () => void;
}

/** Reads at once and whenever `keys` change; an answer that is overtaken is dropped. */
export function useReading<T>(read: () => Promise<T>, keys: readonly unknown[]): Reading<T> {
  const [state, setState] = useState<{ value: T | null; problem: Problem | null }>({
    value: null,
    problem: null,
  });
  const turn = useRef(0);
  const again = useCallback(() => {
    const mine = ++turn.current;
    read().then(
      (value) => mine === turn.current && setState({ value, problem: null }),
      (error: unknown) =>
        mine === turn.current && setState((before) => ({ ...before, problem: Problem.of(error) })),
    );
  }, keys);
  useEffect(() => {
    setState({ value: null, problem: null });
    again();
    return () => void turn.current++;
  }, [again]);
  return { ...state, again };
}

/** Calls `act` every so often while the page is looked at. */
export function useEvery(milliseconds: number, act: () => void, isOn = true): void {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    if (!isOn) return;
    const timer = setInterval(() => {
      if (!document.hidden) latest.current();
    }, milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds, isOn]);
}
