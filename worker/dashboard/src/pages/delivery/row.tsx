// One message that is to be sent: how old, how far, and why not.
import { send } from "../../api/client";
import type { Outgoing } from "../../api/types";
import { Shape } from "../../parts/icons";
import { attempt } from "../../parts/notice";
import { Ago, Until } from "../../parts/time";
import { TraceLink } from "../../parts/trace";
import { plain, type Tone } from "../../parts/words";
import { accounts } from "../../state/cluster";
import { to } from "../../state/route";
import { can } from "../../state/session";

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

interface Props {
  message: Outgoing;
  again: () => void;
  /** Says whose it is, where those of several stand together. */
  withAccount?: boolean;
}

export function Row({ message, again, withAccount = false }: Props) {
  const cancel = () =>
    void attempt(() => send("DELETE", `/v1/messages/${message.messageId}`), "It will not be sent.").then(again);
  const whom = message.to.split("@")[0];
  return (
    <li>
      <Shape tone={toneOf(message)} />
      <div class="list-main">
        <p class="clip">
          <a href={to("chats", message.accountId, message.threadId)}>{whom}</a>{" "}
          <span class="muted">{message.text || plain(message.kind)}</span>
        </p>
        <p class="muted">
          {withAccount && (
            <>
              {accounts.value.get(message.accountId)?.name ?? message.accountId} ·{" "}
            </>
          )}
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
      <TraceLink id={message.traceId} of={`the message to ${whom}`} />
      {message.state === "queued" && can("send") && (
        <button type="button" onClick={cancel}>
          Take back<span class="hidden"> the message to {whom}</span>
        </button>
      )}
    </li>
  );
}
