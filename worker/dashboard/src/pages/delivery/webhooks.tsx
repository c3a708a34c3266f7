// Where events are sent to.
import { useState } from "preact/hooks";
import { get, send } from "../../api/client";
import type { Webhook } from "../../api/types";
import { FormDialog, SecretDialog } from "../../parts/dialog";
import { Field, textOf } from "../../parts/field";
import { PlusIcon } from "../../parts/icons";
import { Empty, Loading, Trouble } from "../../parts/notice";
import { useReading } from "../../parts/reading";
import { Badge } from "../../parts/status";
import { to } from "../../state/route";

interface WebhookPage {
  webhooks: Webhook[];
}

export function Webhooks() {
  const reading = useReading(() => get<WebhookPage>("/v1/webhooks?limit=200"), []);
  const [isAdding, setAdding] = useState(false);
  const [secret, setSecret] = useState("");
  const page = reading.value;
  return (
    <>
      <div class="filters">
        <button type="button" class="primary" onClick={() => setAdding(true)}>
          <PlusIcon /> Add webhook
        </button>
      </div>
      {reading.problem && <Trouble problem={reading.problem} retry={reading.again} />}
      {!page && !reading.problem && <Loading what="webhooks" />}
      {page?.webhooks.length === 0 && (
        <Empty title="Nothing is sent anywhere yet">
          A webhook gets what happens to accounts, signed, again and again until it takes it.
        </Empty>
      )}
      {page && page.webhooks.length > 0 && (
        <ul class="card list">
          {page.webhooks.map((webhook) => (
            <li key={webhook.id}>
              <div class="list-main">
                <p class="clip">
                  <a href={to("delivery", "webhooks", webhook.id)}>{webhook.name || webhook.url}</a>
                </p>
                <p class="muted clip">{webhook.url}</p>
                <p class="muted">
                  {webhook.accounts ? `${webhook.accounts.length} accounts` : "every account"} ·{" "}
                  {webhook.types ? webhook.types.join(", ") : "every event"}
                </p>
              </div>
              <Badge tone={webhook.enabled ? "good" : "off"}>{webhook.enabled ? "On" : "Off"}</Badge>
            </li>
          ))}
        </ul>
      )}
      {isAdding && (
        <FormDialog
          title="Add a webhook"
          action="Add"
          onClose={() => setAdding(false)}
          onSubmit={async (fields) => {
            const name = textOf(fields, "name");
            const body = { url: textOf(fields, "url") ?? "", ...(name ? { name } : {}) };
            const made = await send<Webhook>("POST", "/v1/webhooks", body);
            setAdding(false);
            setSecret(made.secret ?? "");
            reading.again();
          }}
        >
          <Field label="Address" name="url" inputMode="url" required autoFocus placeholder="https://…" />
          <Field label="Name" name="name" maxLength={100} />
        </FormDialog>
      )}
      {secret && (
        <SecretDialog
          title="Secret of the webhook"
          about="Deliveries are signed with it: give it to whoever receives them."
          secret={secret}
          onClose={() => setSecret("")}
        />
      )}
    </>
  );
}
