// What an account was asked to send: how old, how far, and why not.
import { useEffect, useState } from "preact/hooks";
import { get, send } from "../../api/client";
import { onEvent } from "../../api/stream";
import type { Outgoing } from "../../api/types";
import { Shape } from "../../parts/icons";
import { Empty, Loading, Trouble, attempt } from "../../parts/notice";
import { useEvery, useReading } from "../../parts/reading";
import { Ago, Until } from "../../parts/time";
import { plain, type Tone } from "../../parts/words";
import { accountList, isLoaded } from "../../state/cluster";
import { go, route, to } from "../../state/route";
import { can } from "../../state/session";

const EVERY_MS = 5_000;

interface OutgoingPage {
  messages: Outgoing[];
  next?: string | null;
}

function toneOf(message: Outgoing): Tone {
  switch (message.state) {
    case "failed":
    case "expired":
      return "bad";
    case "queued":
    case "sending":
      return message.attempts > 1 ? "bad" : "busy";
    case "cancelled":
      return "off";
    case "sent":
    case "received":
    case "delivered":
    case "read":
    case "played":
      return "good";
  }
}

export function Outbox() {
  const list = accountList.value;
  const chosen = route.value[1] === "outbox" ? route.value[2] : undefined;
  const account = chosen ?? (list.find(({ jid }) => jid) ?? list[0])?.id;
  if (!account) {
    return isLoaded.value ? (
      <Empty title="There is no account yet">Nothing can be sent without one.</Empty>
    ) : (
      <Loading what="accounts" />
    );
  }
  return (
    <>
      <div class="filters">
        <select
          aria-label="Account"
          value={account}
          onChange={(event) => go("delivery", "outbox", event.currentTarget.value)}
        >
          {list.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
        <span class="muted">The outbox is kept by account; the latest stand first.</span>
      </div>
      <Messages key={account} account={account} />
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
              , the oldest since <Ago at={oldest.acceptedAt} />
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

function Row({ message, again }: { message: Outgoing; again: () => void }) {
  const cancel = () =>
    void attempt(() => send("DELETE", `/v1/messages/${message.messageId}`), "It will not be sent.").then(again);
  return (
    <li>
      <Shape tone={toneOf(message)} />
      <div class="list-main">
        <p class="clip">
          <a href={to("chats", message.accountId, message.threadId)}>{message.to.split("@")[0]}</a>{" "}
          <span class="muted">{message.text || plain(message.kind)}</span>
        </p>
        <p class="muted">
          {plain(message.state)} · <Ago at={message.acceptedAt} />
          {message.attempts > 1 && ` · ${message.attempts} attempts`}
          {message.nextAttemptAt && (
            <>
              {" "}
              · tries again <Until at={message.nextAttemptAt} />
            </>
          )}
        </p>
        {message.error && (
          <p class="error">
            {message.error.message} ({message.error.code}
            {message.error.waCode ? `, WhatsApp ${message.error.waCode}` : ""})
          </p>
        )}
      </div>
      {message.state === "queued" && can("send") && (
        <button type="button" onClick={cancel}>
          Take back
        </button>
      )}
    </li>
  );
}
