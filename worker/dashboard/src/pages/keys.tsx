// Who may do what, and who did.
import { useState } from "preact/hooks";
import { get, pages, send } from "../api/client";
import type { AuditEntry, Key, MadeKey, Scope } from "../api/types";
import { FormDialog, SecretDialog } from "../parts/dialog";
import { Field, textOf } from "../parts/field";
import { PlusIcon, Shape } from "../parts/icons";
import { Empty, Loading, Trouble, attempt } from "../parts/notice";
import { Page } from "../parts/page";
import { useReading } from "../parts/reading";
import { Ago, Clock } from "../parts/time";
import { beginWith, session } from "../state/session";

const KEYS_MAX = 2_000;
const SCOPES: [Scope, string][] = [
  ["read", "Look at accounts, conversations and states"],
  ["send", "Send, and mark as read"],
  ["control", "Create, link, start and stop accounts; webhooks"],
  ["admin", "Everything, keys included"],
];

export function KeysPage() {
  const keys = useReading(() => pages<"keys", Key>("/v1/keys", "keys", KEYS_MAX), []);
  const [isMaking, setMaking] = useState(false);
  const [made, setMade] = useState<MadeKey | null>(null);
  const [revoked, setRevoked] = useState<Key | null>(null);
  const all = keys.value?.toSorted(
    (one, other) =>
      Number(!!one.revokedAt) - Number(!!other.revokedAt) || other.createdAt.localeCompare(one.createdAt),
  );
  return (
    <Page
      title="Keys"
      actions={
        <button type="button" class="primary" onClick={() => setMaking(true)}>
          <PlusIcon /> Make a key
        </button>
      }
    >
      {keys.problem && <Trouble problem={keys.problem} retry={keys.again} />}
      {!all && !keys.problem && <Loading what="keys" />}
      {all?.length === 0 && (
        <Empty title="There is no key yet">
          The API serves this machine alone. With the first key, which must be an admin’s, every
          request needs one, and this page asks you to sign in with it.
        </Empty>
      )}
      {all && all.length > 0 && (
        <ul class="card list">
          {all.map((key) => (
            <li key={key.id}>
              <Shape tone={key.revokedAt ? "off" : "good"} />
              <div class="list-main">
                <p class="clip">
                  <b>{key.name}</b> <span class="muted mono">{key.id}</span>
                  {key.id === session.value?.keyId && " (yours)"}
                </p>
                <p class="muted">
                  {key.scopes.join(", ")}
                  {key.accounts && ` · ${key.accounts.length} accounts only`} ·{" "}
                  {key.revokedAt ? (
                    <>
                      revoked <Ago at={key.revokedAt} />
                    </>
                  ) : key.lastUsedAt ? (
                    <>
                      used <Ago at={key.lastUsedAt} />
                    </>
                  ) : (
                    "never used"
                  )}
                </p>
              </div>
              {!key.revokedAt && (
                <button type="button" class="danger" onClick={() => setRevoked(key)}>
                  Revoke<span class="hidden"> {key.name}</span>
                </button>
              )}
            </li>
          ))}
        </ul>
      )}
      <Audit />
      {isMaking && (
        <MakeDialog
          onClose={() => setMaking(false)}
          onMade={(key) => {
            setMaking(false);
            setMade(key);
            keys.again();
          }}
        />
      )}
      {made && (
        <SecretDialog
          title={`Key “${made.name}”`}
          about="Programs send it in the header “Authorization: Bearer …”; people sign in with it here."
          secret={made.key}
          onClose={() => setMade(null)}
        />
      )}
      {revoked && (
        <FormDialog
          title="Revoke this key?"
          action="Revoke"
          isDangerous
          onClose={() => setRevoked(null)}
          onSubmit={async () => {
            await send("DELETE", `/v1/keys/${revoked.id}`);
            setRevoked(null);
            keys.again();
            void attempt(async () => {}, "It is good for nothing any more.");
          }}
        >
          <p>
            <strong>{revoked.name}</strong> is refused by all workers within seconds, for good
            {revoked.id === session.value?.keyId && "; it is the key that you are signed in with"}.
          </p>
        </FormDialog>
      )}
    </Page>
  );
}

function MakeDialog({ onClose, onMade }: { onClose: () => void; onMade: (key: MadeKey) => void }) {
  const isFirst = session.value?.open === true;
  const submit = async (fields: FormData) => {
    const ids = textOf(fields, "accounts")?.split(/[\s,]+/);
    const body = {
      name: textOf(fields, "name") ?? "",
      scopes: fields.getAll("scope"),
      ...(ids ? { accounts: ids } : {}),
    };
    const make = () => send<MadeKey>("POST", "/v1/keys", body);
    onMade(await (isFirst ? beginWith(make) : make()));
  };
  return (
    <FormDialog title="Make a key" action="Make" onClose={onClose} onSubmit={submit}>
      {isFirst && <p class="notice wait">From the first key on, everybody needs one, you too: keep it well.</p>}
      <Field label="Name" name="name" required maxLength={100} autoFocus hint="Whose it is, or what for." />
      <fieldset>
        <legend>Rights</legend>
        {SCOPES.map(([scope, about]) => (
          <label key={scope} class="check">
            <input
              type="checkbox"
              name="scope"
              value={scope}
              defaultChecked={scope === (isFirst ? "admin" : "read")}
            />
            <span>
              <b>{scope}</b> <span class="muted">{about}</span>
            </span>
          </label>
        ))}
      </fieldset>
      <Field label="Only these accounts" name="accounts" hint="Their ids, with commas between them." />
    </FormDialog>
  );
}

function Audit() {
  const reading = useReading(() => get<{ entries: AuditEntry[] }>("/v1/audit?limit=25"), []);
  const entries = reading.value?.entries;
  return (
    <section class="card" aria-labelledby="audit-title">
      <div class="card-head">
        <h2 id="audit-title">Who changed what</h2>
        <button type="button" onClick={reading.again}>
          Read again
        </button>
      </div>
      {reading.problem && <Trouble problem={reading.problem} />}
      {!entries && !reading.problem && <Loading what="the log" />}
      {entries?.length === 0 && <Empty title="Nothing was changed yet" />}
      <ol class="history">
        {entries?.map((entry) => (
          <li key={entry.id}>
            <span class="entry">
              <Shape tone={entry.status < 400 ? "good" : "bad"} />
              <span class="wrap">
                <b>{entry.keyName}</b> {entry.method} {entry.route}{" "}
                <span class="muted">
                  {entry.subject ?? ""} {entry.status}
                </span>
              </span>
            </span>
            <span class="muted">
              <Clock at={entry.at} />
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}
