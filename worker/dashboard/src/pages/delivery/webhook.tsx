// One webhook: where it stands, what was delivered and what was not.
import { useState } from "preact/hooks";
import { get, send } from "../../api/client";
import type { Delivery, Webhook } from "../../api/types";
import { FormDialog } from "../../parts/dialog";
import { BackIcon, Shape } from "../../parts/icons";
import { Empty, Loading, Trouble, attempt, say } from "../../parts/notice";
import { Page } from "../../parts/page";
import { useEvery, useReading } from "../../parts/reading";
import { Ago, Until } from "../../parts/time";
import type { Tone } from "../../parts/words";
import { accounts } from "../../state/cluster";
import { go, to } from "../../state/route";

const EVERY_MS = 5_000;
const STATES = ["", "retrying", "dead", "delivered"] as const;
const TONES: Record<Delivery["state"], Tone> = { delivered: "good", retrying: "busy", dead: "bad" };

function times(attempts: number): string {
  return attempts === 1 ? "1 attempt" : `${attempts} attempts`;
}

interface TestResult {
  delivered: boolean;
  status?: number | null;
  error?: string | null;
  durationMs: number;
}

export function WebhookPage({ id }: { id: string }) {
  const path = `/v1/webhooks/${id}`;
  const reading = useReading(() => get<Webhook>(path), [path]);
  const [isDeleting, setDeleting] = useState(false);
  useEvery(EVERY_MS, reading.again);
  const webhook = reading.value;
  const back = (
    <a class="back" href={to("delivery", "webhooks")}>
      <BackIcon /> Webhooks
    </a>
  );
  if (!webhook) {
    return (
      <>
        {back}
        <Page title="Webhook">
          {reading.problem ? (
            <Trouble problem={reading.problem} retry={reading.again} />
          ) : (
            <Loading what="the webhook" />
          )}
        </Page>
      </>
    );
  }
  const test = () =>
    void attempt(async () => {
      const result = await send<TestResult>("POST", `${path}/test`);
      const answer = result.status ? `answer ${result.status}` : (result.error ?? "no answer");
      say(result.delivered ? `Delivered in ${result.durationMs} ms.` : `Not delivered: ${answer}.`);
    });
  const toggle = () =>
    void attempt(
      () => send("PATCH", path, { enabled: !webhook.enabled }),
      webhook.enabled ? "It is off: events wait for it." : "It is on.",
    ).then(reading.again);
  const failing = (webhook.lanes ?? []).filter(({ failingSince }) => failingSince);
  return (
    <>
      {back}
      <Page
        title={webhook.name || "Webhook"}
        actions={
          <>
            <button type="button" onClick={test}>
              Send a test
            </button>
            <button type="button" onClick={toggle}>
              {webhook.enabled ? "Switch off" : "Switch on"}
            </button>
            <button type="button" class="danger" onClick={() => setDeleting(true)}>
              Delete
            </button>
          </>
        }
      >
        <p class="mono wrap">{webhook.url}</p>
        {!webhook.enabled && <p class="notice wait">It is off: nothing is sent to it.</p>}
        {failing.length > 0 && (
          <section class="card" aria-labelledby="failing-title">
            <h2 id="failing-title">Does not get through</h2>
            <ul class="list">
              {failing.map((lane) => (
                <li key={lane.accountId}>
                  <Shape tone="bad" />
                  <div class="list-main">
                    <p>
                      Events of {accounts.value.get(lane.accountId)?.name ?? lane.accountId}: since{" "}
                      <Ago at={lane.failingSince!} />, {times(lane.attempts)}
                      {lane.nextAttemptAt && (
                        <>
                          , again <Until at={lane.nextAttemptAt} after="at any moment" />
                        </>
                      )}
                    </p>
                    {lane.lastError && <p class="error">{lane.lastError}</p>}
                  </div>
                </li>
              ))}
            </ul>
          </section>
        )}
        <Deliveries path={path} />
        {isDeleting && (
          <FormDialog
            title="Delete this webhook?"
            action="Delete"
            isDangerous
            onClose={() => setDeleting(false)}
            onSubmit={async () => {
              await send("DELETE", path);
              go("delivery", "webhooks");
            }}
          >
            <p>Nothing is sent to it any more, and what waits for it is dropped.</p>
          </FormDialog>
        )}
      </Page>
    </>
  );
}

function Deliveries({ path }: { path: string }) {
  const [state, setState] = useState<(typeof STATES)[number]>("");
  const reading = useReading(
    () => get<{ deliveries: Delivery[] }>(`${path}/deliveries?limit=100${state && `&state=${state}`}`),
    [path, state],
  );
  useEvery(EVERY_MS, reading.again);
  const page = reading.value;
  return (
    <section class="card" aria-labelledby="deliveries-title">
      <div class="card-head">
        <h2 id="deliveries-title">Deliveries</h2>
        <select
          aria-label="State"
          value={state}
          onChange={(event) => setState(event.currentTarget.value as typeof state)}
        >
          {STATES.map((one) => (
            <option key={one} value={one}>
              {one || "all"}
            </option>
          ))}
        </select>
      </div>
      {reading.problem && <Trouble problem={reading.problem} retry={reading.again} />}
      {!page && !reading.problem && <Loading what="deliveries" />}
      {page?.deliveries.length === 0 && <Empty title="Nothing was delivered yet" />}
      <ul class="list">
        {page?.deliveries.map((delivery) => (
          <li key={delivery.id}>
            <Shape tone={TONES[delivery.state]} />
            <div class="list-main">
              <p class="clip">
                {delivery.type}{" "}
                <span class="muted">{accounts.value.get(delivery.accountId)?.name ?? delivery.accountId}</span>
              </p>
              <p class="muted">
                {delivery.state} · <Ago at={delivery.at} /> · {times(delivery.attempts)}
                {delivery.status ? ` · answer ${delivery.status}` : ""} · {delivery.durationMs} ms
                {delivery.replay && " · waits to be sent again"}
              </p>
              {delivery.error && <p class="error">{delivery.error}</p>}
            </div>
            <button
              type="button"
              onClick={() =>
                void attempt(() => send("POST", `${path}/deliveries/${delivery.id}/replay`), "It is sent again.").then(
                  reading.again,
                )
              }
            >
              Send again
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
