// Times as people read them.
import { now } from "../state/now";

/** `3 min`, `2 h`, `5 days`. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1_000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  if (hours < 48) return `${hours} h`;
  return `${Math.round(hours / 24)} days`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
const CLOCK_SECONDS = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const FULL = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium",
  timeStyle: "medium",
  hourCycle: "h23",
});

/** `12:03`. */
export function clock(at: string): string {
  return CLOCK.format(new Date(at));
}

/** The day as this machine counts it. */
export function dayOf(at: string): string {
  return new Date(at).toDateString();
}

/** A clock time today, else the day too. */
export function short(at: string): string {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? CLOCK.format(date) : `${DAY.format(date)}, ${CLOCK.format(date)}`;
}

export function day(at: string): string {
  return DAY.format(new Date(at));
}

export function full(at: string): string {
  return FULL.format(new Date(at));
}

/** A time of day, to the second. */
export function Clock({ at }: { at: string }) {
  return (
    <time dateTime={at} title={full(at)}>
      {dayOf(at) === new Date().toDateString() ? CLOCK_SECONDS.format(new Date(at)) : short(at)}
    </time>
  );
}

/** How long ago, counting. */
export function Ago({ at }: { at: string }) {
  return (
    <time dateTime={at} title={full(at)}>
      {span(now.value - Date.parse(at))} ago
    </time>
  );
}

/** How long until then, counting down; `after` once it is past. */
export function Until({ at, after = "now" }: { at: string; after?: string }) {
  const left = Date.parse(at) - now.value;
  return (
    <time dateTime={at} title={full(at)}>
      {left > 0 ? `in ${span(left)}` : after}
    </time>
  );
}
