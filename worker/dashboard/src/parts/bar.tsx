// A bar that shrinks as time runs out.
import { now } from "../state/now";
import { span } from "./time";

interface Props {
  label: string;
  /** When it is empty, in milliseconds since 1970. */
  until: number;
  /** What a full one lasts. */
  whole: number;
}

export function TimeBar({ label, until, whole }: Props) {
  const left = Math.max(0, Math.min(whole, until - now.value));
  const share = whole > 0 ? left / whole : 0;
  const level = share > 1 / 3 ? "ample" : share > 0.1 ? "short" : "out";
  return (
    <span
      class={`time-bar ${level}`}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={Math.round(whole / 1_000)}
      aria-valuenow={Math.round(left / 1_000)}
      aria-valuetext={`${span(left)} left`}
      title={`${label}: ${span(left)} left`}
    >
      <span style={{ transform: `scaleX(${share.toFixed(3)})` }} />
    </span>
  );
}
