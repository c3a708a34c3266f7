// The outbox of all accounts: what waits and for how long, what could not be
// sent, and why.
import { useEffect, useRef, useState } from "preact/hooks";
import { some } from "../../api/client";
import { onEvent } from "../../api/stream";
import type { MessageState, Outgoing } from "../../api/types";
import { Shape } from "../../parts/icons";
import { Empty, Loading, Trouble } from "../../parts/notice";
import { useEvery, useReading } from "../../parts/reading";
import { StatusBadge } from "../../parts/status";
import { Ago } from "../../parts/time";
import { accounts } from "../../state/cluster";
import { to } from "../../state/route";
import { Row } from "./row";

const EVERY_MS = 15_000;
/** Events within this time are answered by one reading. */
const GATHER_MS = 2_000;
/** Messages that are read of each state: more are not counted one by one. */
const WAITING_MAX = 1_000;
const FAILED_MAX = 200;
/** Entries of a list until somebody wants more. */
const STEP = 25;

interface Queue {
  /** The oldest first. */
  waiting: Outgoing[];
  /** The latest first. */
  failed: Outgoing[];
  /** Whether there are more than were read. */
  isMoreWaiting: boolean;
  isMoreFailed: boolean;
}

async function readQueue(): Promise<Queue> {
  const read = (state: MessageState, most: number) =>
    some<"messages", Outgoing>(`/v1/messages?state=${state}`, "messages", most);
  const [queued, sending, failed, expired] = await Promise.all([
    read("queued", WAITING_MAX),
    read("sending", WAITING_MAX),
    read("failed", FAILED_MAX),
    read("expired", FAILED_MAX),
  ]);
  const byAge = (one: Outgoing, other: Outgoing) => one.acceptedAt.localeCompare(other.acceptedAt);
  return {
    waiting: [...queued.entries, ...sending.entries].sort(byAge),
    failed: [...failed.entries, ...expired.entries].sort(byAge).reverse(),
    isMoreWaiting: !queued.isAll || !sending.isAll,
    isMoreFailed: !failed.isAll || !expired.isAll,
  };
}

interface Line {
  accountId: string;
  waiting: number;
  oldest: string | null;
  failed: number;
}

/** One line an account that something is to be said of, the longest waiting first. */
function linesOf({ waiting, failed }: Queue): Line[] {
  const lines = new Map<string, Line>();
  const lineOf = ({ accountId }: Outgoing) => {
    const line = lines.get(accountId) ?? { accountId, waiting: 0, oldest: null, failed: 0 };
    lines.set(accountId, line);
    return line;
  };
  for (const message of waiting) {
    const line = lineOf(message);
    line.waiting += 1;
    line.oldest ??= message.acceptedAt;
  }
  for (const message of failed) lineOf(message).failed += 1;
  return [...lines.values()].sort(
    (one, other) =>
      (one.oldest ?? "~").localeCompare(other.oldest ?? "~") || other.failed - one.failed,
  );
}

export function Overview() {
  const reading = useReading(readQueue, []);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => {
    const stop = onEvent(({ type }) => {
      if (type !== "message.updated") return;
      timer.current ??= setTimeout(() => {
        timer.current = null;
        reading.again();
      }, GATHER_MS);
    });
    return () => {
      stop();
      if (timer.current) clearTimeout(timer.current);
      timer.current = null;
    };
  }, [reading.again]);
  useEvery(EVERY_MS, reading.again);
  const queue = reading.value;
  if (!queue) {
    return reading.problem ? (
      <Trouble problem={reading.problem} retry={reading.again} />
    ) : (
      <Loading what="the outbox" />
    );
  }
  const { waiting, failed, isMoreWaiting, isMoreFailed } = queue;
  const oldest = waiting[0];
  return (
    <>
      {reading.problem && <Trouble problem={reading.problem} retry={reading.again} />}
      <p class="summary" role="status">
        <span>
          <Shape tone={waiting.length ? "busy" : "good"} /> {waiting.length}
          {isMoreWaiting && " or more"} waiting
          {oldest && (
            <>
              , the oldest from <Ago at={oldest.acceptedAt} />
            </>
          )}
        </span>
        <span>
          <Shape tone={failed.length ? "bad" : "good"} /> {failed.length} failed
          {isMoreFailed && ", older ones are not counted"}
        </span>
      </p>
      <Lines lines={linesOf(queue)} />
      <List
        title="Could not be sent"
        empty="Nothing has failed."
        messages={failed}
        again={reading.again}
      />
      <List
        title="Waits"
        empty="Nothing waits: all that was accepted has been sent."
        messages={waiting}
        again={reading.again}
      />
    </>
  );
}

function Lines({ lines }: { lines: readonly Line[] }) {
  const [shown, setShown] = useState(STEP);
  if (lines.length === 0) return null;
  return (
    <section class="card" aria-labelledby="lines-title">
      <h2 id="lines-title">By account</h2>
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Account</th>
            <th scope="col" class="number">
              Waiting
            </th>
            <th scope="col" class="number">
              Oldest
            </th>
            <th scope="col" class="number">
              Failed
            </th>
          </tr>
        </thead>
        <tbody>
          {lines.slice(0, shown).map((line) => (
            <AccountLine key={line.accountId} line={line} />
          ))}
        </tbody>
      </table>
      {lines.length > shown && (
        <button type="button" onClick={() => setShown(shown + STEP)}>
          Show more
        </button>
      )}
    </section>
  );
}

function AccountLine({ line }: { line: Line }) {
  const account = accounts.value.get(line.accountId);
  return (
    <tr>
      <th scope="row">
        <a class="wrap" href={to("delivery", "outbox", line.accountId)}>
          {account?.name ?? line.accountId}
        </a>{" "}
        {account && account.status !== "connected" && <StatusBadge account={account} />}
      </th>
      <td class="number">{line.waiting || "–"}</td>
      <td class="number">{line.oldest ? <Ago at={line.oldest} /> : "–"}</td>
      <td class="number">{line.failed || "–"}</td>
    </tr>
  );
}

interface ListProps {
  title: string;
  empty: string;
  messages: readonly Outgoing[];
  again: () => void;
}

function List({ title, empty, messages, again }: ListProps) {
  const [shown, setShown] = useState(STEP);
  const id = title.toLowerCase().replaceAll(" ", "-");
  return (
    <section class="card" aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {messages.length === 0 && <Empty title={empty} />}
      <ul class="list">
        {messages.slice(0, shown).map((message) => (
          <Row key={message.messageId} message={message} again={again} withAccount />
        ))}
      </ul>
      {messages.length > shown && (
        <button type="button" onClick={() => setShown(shown + STEP)}>
          Show more
        </button>
      )}
    </section>
  );
}
