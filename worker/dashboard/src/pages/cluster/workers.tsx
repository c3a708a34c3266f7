// The workers, each with its accounts. An account that changes hands glides
// from one card to the other.
import type { Account, Worker } from "../../api/types";
import { TimeBar } from "../../parts/bar";
import { Shape } from "../../parts/icons";
import { useMoving } from "../../parts/moving";
import { Empty } from "../../parts/notice";
import { Badge } from "../../parts/status";
import { span } from "../../parts/time";
import { meaningOf, workerState } from "../../parts/words";
import { accountList, health, leaseTimes, workers, workersAt } from "../../state/cluster";
import { now } from "../../state/now";
import { to } from "../../state/route";

/** Accounts that a card shows; the rest is counted. */
const SHOWN_MAX = 24;

/** The state of a worker; the one that answers knows of itself what the store does not say yet. */
function stateOf(worker: Worker): string {
  const own = health.value?.lock.state;
  const isOwnWord = worker.self && (own === "suspended" || own === "frozen" || own === "draining");
  return isOwnWord ? own : worker.state;
}

export function Workers() {
  const container = useMoving<HTMLElement>();
  const byOwner = new Map<string, Account[]>();
  for (const account of accountList.value) {
    const session = account.owner?.sessionId;
    if (session) byOwner.set(session, [...(byOwner.get(session) ?? []), account]);
  }
  return (
    <section aria-labelledby="workers-title" ref={container}>
      <h2 id="workers-title">Workers</h2>
      {workers.value.length === 0 && (
        <Empty title="No worker has a session">Start one: its page shows it here.</Empty>
      )}
      <ul class="workers">
        {workers.value.map((worker) => (
          <WorkerCard
            key={worker.sessionId}
            worker={worker}
            accounts={byOwner.get(worker.sessionId) ?? []}
          />
        ))}
      </ul>
    </section>
  );
}

function WorkerCard({ worker, accounts }: { worker: Worker; accounts: readonly Account[] }) {
  const state = workerState(stateOf(worker));
  const age = worker.heartbeatAgeMs + (now.value - workersAt.value);
  const { leaseMs, sessionMs } = leaseTimes.value;
  return (
    <li class={`card worker tone-edge-${state.tone}`}>
      <header>
        <h3>
          {worker.name} {worker.self && <small>answers you</small>}
        </h3>
        <Badge tone={state.tone}>{state.label}</Badge>
      </header>
      {state.tone !== "good" && <p class="muted">{state.about}</p>}
      <TimeBar
        label={`Session of ${worker.name}`}
        until={now.value + sessionMs - age}
        whole={sessionMs}
      />
      <p class="facts muted">
        <span>
          <b>{accounts.length}</b> of {worker.capacity}
        </span>
        <span>heartbeat {span(Math.max(0, age))} ago</span>
        <span>{worker.version}</span>
      </p>
      {accounts.length === 0 ? (
        <p class="muted none">Owns no account.</p>
      ) : (
        <ul class="chips">
          {accounts.slice(0, SHOWN_MAX).map((account) => (
            <Chip key={account.id} account={account} leaseMs={leaseMs} />
          ))}
          {accounts.length > SHOWN_MAX && (
            <li class="more">
              <a href={to("accounts")}>and {accounts.length - SHOWN_MAX} more</a>
            </li>
          )}
        </ul>
      )}
    </li>
  );
}

function Chip({ account, leaseMs }: { account: Account; leaseMs: number }) {
  const { tone, label } = meaningOf(account);
  const owner = account.owner!;
  return (
    <li data-moves={account.id}>
      <a class={`chip tone-edge-${tone}`} href={to("accounts", account.id)}>
        <span class="chip-name">
          <Shape tone={tone} />
          <span class="clip">{account.name}</span>
          <span class="hidden">, {label}</span>
        </span>
        <span class="epoch" title="Epoch: grows with each claim">
          <span class="hidden">epoch </span>
          <span aria-hidden="true">e</span>
          {owner.epoch}
        </span>
        {owner.leaseUntil && (
          <TimeBar
            label={`Lease of ${account.name}`}
            until={Date.parse(owner.leaseUntil)}
            whole={leaseMs}
          />
        )}
      </a>
    </li>
  );
}
