// One account: how it is and what to do, how to link it, who owns it, what was.
import { useEffect, useState } from "preact/hooks";
import { get } from "../../api/client";
import { onEvent } from "../../api/stream";
import type { Account } from "../../api/types";
import { TimeBar } from "../../parts/bar";
import { BackIcon } from "../../parts/icons";
import { Loading, Trouble } from "../../parts/notice";
import { Page } from "../../parts/page";
import { useEvery, useReading } from "../../parts/reading";
import { StatusBadge } from "../../parts/status";
import { Ago, Clock, Until } from "../../parts/time";
import { meaningOf, plain, todo } from "../../parts/words";
import { accounts, leaseTimes, readAccount } from "../../state/cluster";
import { to } from "../../state/route";
import { can } from "../../state/session";
import { Actions } from "./actions";
import { History } from "./history";
import { Inside } from "./inside";
import { Linking, canBeLinked } from "./linking";

/** While it changes by itself, between two readings. */
const CHANGING_EVERY_MS = 2_000;
const QUIET_EVERY_MS = 10_000;

export function AccountPage({ id }: { id: string }) {
  const reading = useReading(() => readAccount(id), [id]);
  const [changes, setChanges] = useState(0);
  useEffect(
    () =>
      onEvent((event) => {
        if (event.accountId === id && event.type === "account.status") setChanges((n) => n + 1);
      }),
    [id],
  );
  const account = accounts.value.get(id);
  const isQuiet = !account || account.status === "connected" || account.status === "stopped";
  useEvery(isQuiet ? QUIET_EVERY_MS : CHANGING_EVERY_MS, reading.again);
  const back = (
    <a class="back" href={to("accounts")}>
      <BackIcon /> Accounts
    </a>
  );
  if (!account || reading.problem?.status === 404) {
    return (
      <>
        {back}
        <Page title="Account">
          {reading.problem ? (
            <Trouble problem={reading.problem} retry={reading.again} />
          ) : (
            <Loading what="the account" />
          )}
        </Page>
      </>
    );
  }
  return (
    <>
      {back}
      <Page title={account.name} actions={<Actions account={account} />}>
        <div class="account">
          <div class="stack">
            <How account={account} />
            {can("control") && canBeLinked(account) && <Linking account={account} />}
            <History id={id} changes={changes} epoch={account.owner?.epoch ?? 0} />
          </div>
          <div class="stack">
            <Owner account={account} />
            <Identity account={account} />
            {can("control") && <Inside id={id} read={() => get(`/debug/accounts/${id}`)} />}
          </div>
        </div>
      </Page>
    </>
  );
}

function How({ account }: { account: Account }) {
  const { about } = meaningOf(account);
  const act = todo(account);
  const error = account.status === "connected" ? null : account.lastError;
  const reason = account.lastDisconnectReason;
  return (
    <section class="card how" aria-labelledby="how-title">
      <h2 id="how-title" class="hidden">
        How it is
      </h2>
      <p class="how-status" aria-live="polite">
        <StatusBadge account={account} /> <span>{about}</span>
      </p>
      {account.statusAt && (
        <p class="muted">
          Since <Ago at={account.statusAt} />
          {account.attempt > 1 && `, attempt ${account.attempt}`}
          {account.retryAt && (
            <>
              , tries again <Until at={account.retryAt} />
            </>
          )}
        </p>
      )}
      {act && (
        <p class="todo">
          <strong>What to do:</strong> {act}
        </p>
      )}
      {error && (
        <p class="muted">
          Last trouble: {error.message}
          {error.stage && ` (${error.stage})`}, <Ago at={error.at} />
        </p>
      )}
      {!error && reason && account.status !== "connected" && (
        <p class="muted">
          Its connection last ended with {reason.code} {plain(reason.name)}, <Ago at={reason.at} />
        </p>
      )}
    </section>
  );
}

function Owner({ account }: { account: Account }) {
  const owner = account.owner;
  return (
    <section class="card" aria-labelledby="owner-title">
      <h2 id="owner-title">Owner</h2>
      {owner ? (
        <dl class="facts-list">
          <dt>Worker</dt>
          <dd>{owner.worker}</dd>
          <dt>Epoch</dt>
          <dd>{owner.epoch}</dd>
          {owner.claimedAt && (
            <>
              <dt>Claimed</dt>
              <dd>
                <Clock at={owner.claimedAt} />
              </dd>
            </>
          )}
          {owner.leaseUntil && (
            <>
              <dt>Lease</dt>
              <dd>
                <TimeBar
                  label="Lease"
                  until={Date.parse(owner.leaseUntil)}
                  whole={leaseTimes.value.leaseMs}
                />
                <Until at={owner.leaseUntil} after="ran out" />
              </dd>
            </>
          )}
        </dl>
      ) : (
        <p class="muted">
          Nobody owns it{account.desired === "running" ? "; a worker with room takes it." : "."}
        </p>
      )}
    </section>
  );
}

function Identity({ account }: { account: Account }) {
  const facts: [string, string | null | undefined][] = [
    ["Number", account.phone],
    ["Name on the phone", account.pushName],
    ["Address", account.jid],
    ["LID", account.lid],
    ["Proxy", account.proxy],
    ["Shown online", account.available == null ? null : account.available ? "yes" : "no"],
    ["Id", account.id],
  ];
  return (
    <section class="card" aria-labelledby="identity-title">
      <h2 id="identity-title">Identity</h2>
      <dl class="facts-list">
        {facts.map(
          ([name, value]) =>
            value && (
              <>
                <dt>{name}</dt>
                <dd class={name === "Id" || name === "Address" || name === "LID" ? "mono" : ""}>{value}</dd>
              </>
            ),
        )}
        {account.pairedAt && (
          <>
            <dt>Linked</dt>
            <dd>
              <Clock at={account.pairedAt} />
            </dd>
          </>
        )}
        <dt>Created</dt>
        <dd>
          <Clock at={account.createdAt} />
        </dd>
      </dl>
    </section>
  );
}
