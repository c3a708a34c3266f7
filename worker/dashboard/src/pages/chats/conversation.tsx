// One conversation: the latest messages, their ticks as they turn, and a place to write.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Problem, get, pages, send } from "../../api/client";
import { onEvent, onGap } from "../../api/stream";
import type { Message, Thread } from "../../api/types";
import { BackIcon } from "../../parts/icons";
import { Empty, Loading, Trouble, attempt } from "../../parts/notice";
import { useReading } from "../../parts/reading";
import { day, dayOf } from "../../parts/time";
import { to } from "../../state/route";
import { can } from "../../state/session";
import { Composer } from "./composer";
import { Bubble } from "./message";
import { threadName } from "./names";

const PAGE = 50;
const GATHER_MS = 100;
/** Threads that are looked through for one that the list does not show. */
const THREADS_MAX = 2_000;

interface MessagePage {
  messages: Message[];
  next?: string | null;
}

export function Conversation({ account, threadId }: { account: string; threadId: string }) {
  const path = `/v1/threads/${threadId}/messages`;
  const thread = useReading(async () => {
    const all = await pages<"threads", Thread>(`/v1/accounts/${account}/threads`, "threads", THREADS_MAX);
    const found = all.find(({ id }) => id === threadId);
    if (!found) throw new Problem(404, "unknown_thread", "There is no such conversation", "Choose one from the list.");
    return found;
  }, [account, threadId]);
  const [messages, setMessages] = useState<readonly Message[] | null>(null);
  const [next, setNext] = useState<string | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const view = useRef<HTMLDivElement>(null);

  // The latest page, laid over what is there.
  const refresh = async () => {
    try {
      const page = await get<MessagePage>(`${path}?limit=${PAGE}`);
      setMessages((before) => {
        if (!before) setNext(page.next ?? null);
        const fresh = new Set(page.messages.map(({ id }) => id));
        return [...page.messages, ...(before ?? []).filter(({ id }) => !fresh.has(id))];
      });
      setProblem(null);
    } catch (error) {
      setProblem(Problem.of(error));
    }
  };
  useEffect(() => {
    void refresh();
    let timer: ReturnType<typeof setTimeout> | null = null;
    const soon = () => {
      timer ??= setTimeout(() => {
        timer = null;
        void refresh();
      }, GATHER_MS);
    };
    const stops = [
      onEvent((event) => {
        if (event.data.threadId === threadId && event.type.startsWith("message.")) soon();
      }),
      onGap(soon),
    ];
    return () => {
      stops.forEach((stop) => stop());
      if (timer) clearTimeout(timer);
    };
  }, [threadId]);

  const older = () =>
    void attempt(async () => {
      const page = await get<MessagePage>(`${path}?limit=${PAGE}&after=${encodeURIComponent(next!)}`);
      setMessages((before) => [...(before ?? []), ...page.messages]);
      setNext(page.next ?? null);
    });

  // What came last is in sight.
  const newest = messages?.[0]?.id;
  useLayoutEffect(() => {
    if (view.current) view.current.scrollTop = view.current.scrollHeight;
  }, [newest]);

  const unread = (messages ?? []).some(({ state }) => state === "received");
  const isGroup = thread.value?.kind === "group";
  return (
    <section class="card conversation" aria-label={thread.value ? `Conversation with ${threadName(thread.value)}` : "Conversation"}>
      <header>
        <a class="back plain" href={to("chats", account)} aria-label="Back to the conversations">
          <BackIcon />
        </a>
        <h2 class="clip">{thread.value ? threadName(thread.value) : "…"}</h2>
        {unread && can("send") && (
          <button
            type="button"
            onClick={() => void attempt(() => send("POST", `/v1/threads/${threadId}/read`), "Will be marked as read.")}
          >
            Mark as read
          </button>
        )}
      </header>
      <div class="messages" ref={view} tabIndex={0} role="log" aria-label="Messages">
        {next && (
          <button type="button" class="older" onClick={older}>
            Show older
          </button>
        )}
        {problem && <Trouble problem={problem} retry={() => void refresh()} />}
        {!messages && !problem && <Loading what="messages" />}
        {messages?.length === 0 && <Empty title="Nothing was said yet" />}
        <List messages={messages ?? []} isGroup={isGroup} />
      </div>
      {thread.problem && <Trouble problem={thread.problem} />}
      {thread.value && can("send") && <Composer account={account} thread={thread.value} onSent={() => void refresh()} />}
    </section>
  );
}

/** The oldest first, with a line for each day. */
function List({ messages, isGroup }: { messages: readonly Message[]; isGroup: boolean }) {
  const shown = messages.toReversed();
  return (
    <ol>
      {shown.map((message, index) => {
        const before = shown[index - 1];
        const isNewDay = !before || dayOf(before.timestamp) !== dayOf(message.timestamp);
        return (
          <li key={message.id} class={message.direction === "out" ? "out" : "in"}>
            {isNewDay && <p class="day">{day(message.timestamp)}</p>}
            <Bubble message={message} showSender={isGroup && !message.fromMe && before?.sender !== message.sender} />
          </li>
        );
      })}
    </ol>
  );
}
