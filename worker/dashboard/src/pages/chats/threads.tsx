// The threads of an account, the latest first, as they change.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, idempotencyKey, send } from "../../api/client";
import { onEvent } from "../../api/stream";
import type { Thread } from "../../api/types";
import { useDeferred } from "../../parts/deferred";
import { FormDialog } from "../../parts/dialog";
import { Field, textOf } from "../../parts/field";
import { PlusIcon } from "../../parts/icons";
import { Empty, Loading, Trouble, attempt } from "../../parts/notice";
import { useReading } from "../../parts/reading";
import { short } from "../../parts/time";
import { go, to } from "../../state/route";
import { can } from "../../state/session";
import { threadName } from "./names";

const GATHER_MS = 200;

interface ThreadPage {
  threads: Thread[];
  next?: string | null;
}

export function Threads({ account, current }: { account: string; current: string | undefined }) {
  const [search, setSearch] = useState("");
  const words = useDeferred(search.trim());
  const path = `/v1/accounts/${account}/threads?limit=50${words && `&search=${encodeURIComponent(words)}`}`;
  const reading = useReading(() => get<ThreadPage>(path), [path]);
  const [older, setOlder] = useState<ThreadPage | null>(null);
  const [isWriting, setWriting] = useState(false);
  useEffect(() => setOlder(null), [path]);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(
    () =>
      onEvent((event) => {
        if (event.accountId !== account || !event.data.threadId) return;
        timer.current ??= setTimeout(() => {
          timer.current = null;
          reading.again();
        }, GATHER_MS);
      }),
    [account, reading.again],
  );
  const page = reading.value;
  const known = new Set(page?.threads.map(({ id }) => id));
  const all = [...(page?.threads ?? []), ...(older?.threads ?? []).filter(({ id }) => !known.has(id))];
  const next = older ? older.next : page?.next;
  const more = () =>
    void attempt(async () => {
      const following = await get<ThreadPage>(`${path}&after=${encodeURIComponent(next!)}`);
      setOlder({ ...following, threads: [...(older?.threads ?? []), ...following.threads] });
    });
  return (
    <section class="card threads" aria-label="Conversations">
      <div class="threads-head">
        <input
          type="search"
          aria-label="Search conversations"
          placeholder="Name or number"
          maxLength={64}
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
        {can("send") && (
          <button type="button" aria-label="Write to somebody new" onClick={() => setWriting(true)}>
            <PlusIcon />
          </button>
        )}
      </div>
      {reading.problem && <Trouble problem={reading.problem} retry={reading.again} />}
      {!page && !reading.problem && <Loading what="conversations" />}
      {page && all.length === 0 && (
        <Empty title={words ? "Nobody is called so" : "Nothing was said yet"}>
          {words ? "The search looks at how names and numbers begin." : "What comes in appears here by itself."}
        </Empty>
      )}
      <ul>
        {all.map((thread) => (
          <li key={thread.id}>
            <a href={to("chats", account, thread.id)} aria-current={thread.id === current ? "true" : undefined}>
              <span class="avatar" aria-hidden="true">
                {threadName(thread).replace(/^\+/, "").slice(0, 1).toUpperCase()}
              </span>
              <span class="thread-name clip">{threadName(thread)}</span>
              <time class="muted" dateTime={thread.lastMessageAt}>
                {short(thread.lastMessageAt)}
              </time>
              <span class="thread-last clip muted">{thread.lastMessagePreview ?? ""}</span>
              {thread.unread > 0 && (
                <span class="unread">
                  {thread.unread}
                  <span class="hidden"> not read</span>
                </span>
              )}
            </a>
          </li>
        ))}
      </ul>
      {next && (
        <button type="button" onClick={more}>
          Show older
        </button>
      )}
      {isWriting && <NewDialog account={account} onClose={() => setWriting(false)} />}
    </section>
  );
}

function NewDialog({ account, onClose }: { account: string; onClose: () => void }) {
  const [key] = useState(idempotencyKey);
  const submit = async (fields: FormData) => {
    const body = { to: textOf(fields, "to") ?? "", text: textOf(fields, "text") ?? "" };
    const path = `/v1/accounts/${account}/messages`;
    const sent = await send<{ threadId: string }>("POST", path, body, { "idempotency-key": key });
    onClose();
    go("chats", account, sent.threadId);
  };
  return (
    <FormDialog title="Write to somebody" action="Send" onClose={onClose} onSubmit={submit}>
      <Field label="To" name="to" inputMode="tel" required autoFocus placeholder="+49 170 1234567" hint="Only to people who want it." />
      <div class="field">
        <label for="new-text">Text</label>
        <textarea id="new-text" name="text" required rows={3} />
      </div>
    </FormDialog>
  );
}
