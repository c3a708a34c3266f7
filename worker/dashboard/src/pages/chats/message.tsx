// One message, with how far it has come.
import type { Message, MessageState } from "../../api/types";
import { plain } from "../../parts/words";
import { clock, full } from "../../parts/time";
import { TraceLink } from "../../parts/trace";
import { Attachment } from "./attachment";
import { senderName } from "./names";

const STATES: Record<MessageState, string> = {
  queued: "queued",
  sending: "being sent",
  sent: "sent",
  received: "received",
  delivered: "delivered",
  read: "read",
  played: "played",
  failed: "failed",
  expired: "expired",
  cancelled: "taken back",
};

/** Clock, tick, two ticks, two coloured ticks; always with the word. */
export function Ticks({ state }: { state: MessageState }) {
  const one = <path d="m2 6.5 3 3 6-7" />;
  const two = <path d="m7.5 8.5 1 1 6-7" />;
  const shapes = {
    queued: <path d="M8 1.5a4.5 4.5 0 1 0 .01 0M8 3.7V6l1.6 1" />,
    sending: <path d="M8 1.5a4.5 4.5 0 1 0 .01 0M8 3.7V6l1.6 1" />,
    sent: one,
    received: null,
    delivered: (
      <>
        {one}
        {two}
      </>
    ),
    read: (
      <>
        {one}
        {two}
      </>
    ),
    played: (
      <>
        {one}
        {two}
      </>
    ),
    failed: <path d="M8 1v6.5M8 10.5h.01" />,
    expired: <path d="m4 2 8 8M12 2l-8 8" />,
    cancelled: <path d="m4 2 8 8M12 2l-8 8" />,
  };
  return (
    <span class={`ticks state-${state}`} data-state={state} title={STATES[state]}>
      <svg width="16" height="12" viewBox="0 0 16 12" aria-hidden="true">
        {shapes[state]}
      </svg>
      <span class="hidden">{STATES[state]}</span>
    </span>
  );
}

export function Bubble({ message, showSender }: { message: Message; showSender: boolean }) {
  return (
    <article class="bubble">
      {showSender && <p class="sender">{senderName(message.sender, message.pushName)}</p>}
      {message.quote && <blockquote class="clip">{message.quote.text ?? "a message"}</blockquote>}
      <Content message={message} />
      {message.reactions.length > 0 && (
        <p class="reactions" aria-label="Reactions">
          {message.reactions.map(({ emoji }) => emoji).join(" ")}
        </p>
      )}
      <p class="meta">
        {message.forwarded && <span>forwarded</span>}
        {message.editedAt && <span>edited</span>}
        <time dateTime={message.timestamp} title={full(message.timestamp)}>
          {clock(message.timestamp)}
        </time>
        <TraceLink id={message.traceId} of={`the message of ${clock(message.timestamp)}`} />
        {message.direction === "out" && <Ticks state={message.state} />}
      </p>
      {message.error && <p class="error">{plain(message.error)}</p>}
    </article>
  );
}

function Content({ message }: { message: Message }) {
  if (message.revokedAt) return <p class="muted">This message was taken back.</p>;
  const { media, location, poll, contacts } = message;
  return (
    <>
      {media && <Attachment message={message} media={media} />}
      {location && (
        <p>
          {location.name ?? "A place"}{" "}
          <span class="muted">
            {location.latitude.toFixed(5)}, {location.longitude.toFixed(5)}
          </span>
        </p>
      )}
      {contacts?.map((card) => <p key={card.vcard}>Card of {card.name}</p>)}
      {poll && (
        <>
          <p>
            <b>{poll.question}</b>
          </p>
          <ul class="poll">
            {poll.options.map((option) => (
              <li key={option}>
                {option}{" "}
                <span class="muted">{message.votes.filter(({ options }) => options.includes(option)).length}</span>
              </li>
            ))}
          </ul>
        </>
      )}
      {!media && !poll && !location && (
        <p class="text">{message.text ?? <span class="muted">{plain(message.kind)}</span>}</p>
      )}
    </>
  );
}
