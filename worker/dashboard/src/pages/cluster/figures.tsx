// The numbers at the top.
import type { Account } from "../../api/types";
import { Shape } from "../../parts/icons";
import type { Tone } from "../../parts/words";
import { accounts, health, workers } from "../../state/cluster";
import { to } from "../../state/route";

/** Whether somebody should own it. */
export function isWanted(account: Account): boolean {
  return (
    account.desired === "running" &&
    account.status !== "logged_out" &&
    account.status !== "needs_import"
  );
}

/** Workers that can own accounts. */
function capacity(): number {
  const living = workers.value.filter(({ state }) => state === "active");
  return living.reduce((sum, worker) => sum + worker.capacity, 0);
}

export function Figures() {
  const all = [...accounts.value.values()];
  const wanted = all.filter(isWanted);
  const owned = wanted.filter(({ owner }) => owner);
  const connected = wanted.filter(({ status }) => status === "connected");
  const unowned = wanted.length - owned.length;
  const room = capacity();
  const store = health.value?.firestore;
  return (
    <dl class="figures">
      <Figure
        label="Owned"
        value={`${owned.length}`}
        of={`of ${wanted.length}`}
        tone={unowned === 0 ? "good" : "bad"}
        note={unowned === 0 ? "nothing is unowned" : `${unowned} without an owner`}
      />
      <Figure
        label="Connected"
        value={`${connected.length}`}
        of={`of ${wanted.length}`}
        tone={connected.length === wanted.length ? "good" : "wait"}
        note={
          connected.length === wanted.length
            ? "all that are to run"
            : `${wanted.length - connected.length} not connected`
        }
        href={to("accounts")}
      />
      <Figure
        label="Room"
        value={`${Math.max(0, room - owned.length)}`}
        of={`of ${room}`}
        tone={room > owned.length ? "good" : "bad"}
        note={`on ${workers.value.filter(({ state }) => state === "active").length} workers`}
      />
      <Figure
        label="Store"
        value={store?.latencyMs == null ? "–" : `${store.latencyMs} ms`}
        tone={store?.status === "connected" ? "good" : "bad"}
        note={store ? `${store.backend}, ${store.status}` : "unknown"}
      />
    </dl>
  );
}

function Figure(props: {
  label: string;
  value: string;
  of?: string;
  tone: Tone;
  note: string;
  href?: string;
}) {
  return (
    <div class="figure">
      <dt>{props.href ? <a href={props.href}>{props.label}</a> : props.label}</dt>
      <dd>
        <span class="figure-value">
          {props.value} {props.of && <small>{props.of}</small>}
        </span>
        <span class={`figure-note tone-${props.tone}`}>
          <Shape tone={props.tone} /> {props.note}
        </span>
      </dd>
    </div>
  );
}
