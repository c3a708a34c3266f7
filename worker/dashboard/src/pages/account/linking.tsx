// Linking: the QR code, which rotates by itself; a code to type; and WhatsApp's
// passkey step, where it asks for one.
import { useState } from "preact/hooks";
import { get, send } from "../../api/client";
import type { Account } from "../../api/types";
import { Field, textOf } from "../../parts/field";
import { Trouble, attempt } from "../../parts/notice";
import { Problem } from "../../api/client";
import { useReading } from "../../parts/reading";
import { Until } from "../../parts/time";
import { put } from "../../state/cluster";

/** Whether the account waits for a phone, or could. */
export function canBeLinked(account: Account): boolean {
  return ["qr_ready", "needs_qr", "pairing"].includes(account.status);
}

export function Linking({ account }: { account: Account }) {
  return (
    <section class="card linking" aria-labelledby="linking-title">
      <h2 id="linking-title">Link it to a phone</h2>
      <div class="linking-ways">
        <QrCode account={account} />
        <div class="stack">
          {account.status === "qr_ready" && <Steps />}
          <PairingCode account={account} />
          <Passkey account={account} />
        </div>
      </div>
    </section>
  );
}

function QrCode({ account }: { account: Account }) {
  if (account.status === "pairing") {
    return (
      <div class="qr-place" role="status">
        The phone has scanned. One moment …
      </div>
    );
  }
  if (account.status !== "qr_ready" || !account.qr) {
    return (
      <div class="qr-place">
        <p>The last codes were not scanned in time.</p>
        <button
          type="button"
          class="primary"
          onClick={() =>
            void attempt(async () =>
              put(await send<Account>("POST", `/v1/accounts/${account.id}/start`)),
            )
          }
        >
          Ask for a new code
        </button>
      </div>
    );
  }
  return (
    <figure class="qr">
      <img
        src={`/v1/accounts/${account.id}/qr?format=svg&seq=${account.qr.seq}`}
        alt={`QR code that links ${account.name}`}
        width={264}
        height={264}
      />
      <figcaption class="muted">
        Code {account.qr.seq}, the next one comes <Until at={account.qr.expiresAt} />
      </figcaption>
    </figure>
  );
}

function Steps() {
  return (
    <ol class="steps">
      <li>Open WhatsApp on the phone</li>
      <li>Settings, Linked devices, Link a device</li>
      <li>Point the camera at the code</li>
    </ol>
  );
}

function PairingCode({ account }: { account: Account }) {
  const [code, setCode] = useState<{ code: string; expiresAt: string } | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isBusy, setBusy] = useState(false);
  const ask = async (event: SubmitEvent) => {
    event.preventDefault();
    const phone = textOf(new FormData(event.currentTarget as HTMLFormElement), "phone");
    setBusy(true);
    setProblem(null);
    try {
      setCode(await send("POST", `/v1/accounts/${account.id}/pairing-code`, phone ? { phone } : {}));
    } catch (error) {
      setProblem(Problem.of(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <div>
      <h3>No camera at hand?</h3>
      {code && (
        <p role="status">
          Type this on the phone, under “Link with phone number instead”:
          <output class="pairing-code">{code.code}</output>
          <span class="muted">
            It ends <Until at={code.expiresAt} after="now: ask for another" />.
          </span>
        </p>
      )}
      <form class="inline" onSubmit={(event) => void ask(event)}>
        <Field
          label="Phone number"
          name="phone"
          inputMode="tel"
          required={!account.phone}
          value={account.phone ?? ""}
          placeholder="+49 170 1234567"
        />
        <button type="submit" disabled={isBusy || account.status !== "qr_ready"}>
          {isBusy ? "One moment …" : code ? "Another code" : "Get a code to type"}
        </button>
        {account.status === "needs_qr" && <p class="hint">Ask for a new QR code first.</p>}
      </form>
      {problem && <Trouble problem={problem} />}
    </div>
  );
}

/** WhatsApp seldom wants a passkey. */
function Passkey({ account }: { account: Account }) {
  const step = useReading(
    async () =>
      account.passkeyAsked ? get<Record<string, unknown>>(`/v1/accounts/${account.id}/passkey`) : null,
    [account.id, account.passkeyAsked],
  );
  const [answer, setAnswer] = useState("");
  if (!step.value) return null;
  const path = `/v1/accounts/${account.id}/passkey`;
  return (
    <div role="status">
      <h3>WhatsApp asks for a passkey</h3>
      <p class="muted">
        A passkey of WhatsApp opens on WhatsApp’s own pages only. Let a program that holds it answer
        these options, and put its answer here.
      </p>
      <pre tabIndex={0}>{JSON.stringify(step.value, null, 2)}</pre>
      <label for="assertion">Answer, as JSON</label>
      <textarea
        id="assertion"
        rows={3}
        class="mono"
        value={answer}
        onInput={(event) => setAnswer(event.currentTarget.value)}
      />
      <div class="actions">
        <button
          type="button"
          disabled={!answer.trim()}
          onClick={() =>
            void attempt(() => send("POST", path, { assertion: JSON.parse(answer) }), "Sent to WhatsApp.")
          }
        >
          Send the answer
        </button>
        <button
          type="button"
          onClick={() => void attempt(() => send("POST", path, { confirm: true }), "Confirmed.")}
        >
          The codes are equal
        </button>
      </div>
    </div>
  );
}
