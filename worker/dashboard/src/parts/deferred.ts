// A value that waits until typing pauses.
import { useEffect, useState } from "preact/hooks";

const PAUSE_MS = 80;

export function useDeferred<T>(value: T): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
