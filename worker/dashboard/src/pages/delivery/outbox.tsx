// What accounts were asked to send: all of them at a glance, or one in detail.
import { useEffect, useState } from "preact/hooks";
import { get } from "../../api/client";
import { onEvent } from "../../api/stream";
import type { Outgoing } from "../../api/types";
import { Shape } from "../../parts/icons";
import { Empty, Loading, Trouble, attempt } from "../../parts/notice";
import { useEvery, useReading } from "../../parts/reading";
import { Ago } from "../../parts/time";
import { accountList, isLoaded } from "../../state/cluster";
import { go, route } from "../../state/route";
import { Overview } from "./overview";
import { Row } from "./row";

const EVERY_MS = 5_000;

interface OutgoingPage {
  messages: Outgoing[];
  next?: string | null;
}

export function Outbox() {
  const list = accountList.value;
  const account = route.value[1] === "outbox" ? route.value[2] : undefined;
  if (list.length === 0) {
    return isLoaded.value ? (
      <Empty title="There is no account yet">Nothing can be sent without one.</Empty>
    ) : (
      <Loading what="accounts" />
    );
  }
  const choose = (id: string) => (id ? go("delivery", "outbox", id) : go("delivery"));
  return (
    <>
      <div class="filters">
        <select
          aria-label="Account"
          value={account ?? ""}
          onChange={(event) => choose(event.currentTarget.value)}
        >
          <option value="">All accounts</option>
          {list.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
        <span class="muted">
          {account ? "The latest stand first." : "What waits, and what could not be sent."}
        </span>
      </div>
      {account ? <Messages key={account} account={account} /> : <Overview />}
    </>
  );
}

function Messages({ account }: { account: string }) {
  const path = `/v1/accounts/${account}/messages?limit=50`;
  const reading = useReading(() => get<OutgoingPage>(path), [path]);
  const [older, setOlder] = useState<OutgoingPage | null>(null);
  useEffect(
    () =>
      onEvent((event) => {
        if (event.accountId === account && event.type === "message.updated") reading.again();
      }),
    [account, reading.again],
  );
  useEvery(EVERY_MS, reading.again);
  const page = reading.value;
  if (reading.problem) return <Trouble problem={reading.problem} retry={reading.again} />;
  if (!page) return <Loading what="the outbox" />;
  if (page.messages.length === 0) {
    return <Empty title="Nothing was sent from here yet">What the API or this page sends stands here.</Empty>;
  }
  const known = new Set(page.messages.map(({ messageId }) => messageId));
  const all = [
    ...page.messages,
    ...(older?.messages ?? []).filter(({ messageId }) => !known.has(messageId)),
  ];
  const next = older ? older.next : page.next;
  const waiting = all.filter(({ state }) => state === "queued" || state === "sending");
  const failed = all.filter(({ state }) => state === "failed" || state === "expired");
  const oldest = waiting.at(-1);
  const more = () =>
    void attempt(async () => {
      const following = await get<OutgoingPage>(`${path}&after=${encodeURIComponent(next!)}`);
      setOlder({ ...following, messages: [...(older?.messages ?? []), ...following.messages] });
    });
  return (
    <>
      <p class="summary" role="status">
        <span>
          <Shape tone={waiting.length ? "busy" : "good"} /> {waiting.length} waiting
          {oldest && (
            <>
              , the oldest from <Ago at={oldest.acceptedAt} />
            </>
          )}
        </span>
        <span>
          <Shape tone={failed.length ? "bad" : "good"} /> {failed.length} failed
        </span>
        <span class="muted">of the {all.length} shown</span>
      </p>
      <ul class="card list">
        {all.map((message) => (
          <Row key={message.messageId} message={message} again={reading.again} />
        ))}
      </ul>
      {next && (
        <button type="button" onClick={more}>
          Show older
        </button>
      )}
    </>
  );
}
