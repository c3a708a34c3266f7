// Accounts, workers and the cluster's counts, kept up to date: by the stream of
// events, and by asking again now and then for what has no events (heartbeats,
// leases).
import { computed, signal } from "@preact/signals";
import { Problem, get, pages } from "../api/client";
import { onEvent, onGap } from "../api/stream";
import type { Account, Health, OwnershipChange, Worker, WorkerList } from "../api/types";

/** More than one cluster has here. */
const ACCOUNTS_MAX = 20_000;
const WORKERS_EVERY_MS = 2_000;
const ACCOUNTS_EVERY_MS = 10_000;
/** Beyond this many, all accounts are read less often: events tell what changes. */
const MANY_ACCOUNTS = 400;
const MANY_EVERY_MS = 60_000;
/** Events within this time are answered by one reading. */
const GATHER_MS = 150;
/** More accounts than this at once: all are read, and not each. */
const SINGLE_READS_MAX = 8;
/** Accounts whose history the timeline is made of. */
const TIMELINE_ACCOUNTS = 8;
const TIMELINE_ENTRIES = 20;

export const accounts = signal<ReadonlyMap<string, Account>>(new Map());
/** Whether they were read at all. */
export const isLoaded = signal(false);
export const workers = signal<readonly Worker[]>([]);
/** When `workers` was read: their heartbeats' ages are of that time. */
export const workersAt = signal(0);
/** How long a lease and a worker session last without renewal. */
export const leaseTimes = signal({ leaseMs: 300_000, sessionMs: 10_000 });
/** Where traces are shown, with `{trace}` and `{account}` in the places of ids; null if nowhere. */
export const traceUrls = signal<{ trace: string | null; account: string | null }>({
  trace: null,
  account: null,
});
export const health = signal<Health | null>(null);
/** What went wrong with the last reading. */
export const trouble = signal<Problem | null>(null);

/** By name, for lists. */
export const accountList = computed(() =>
  [...accounts.value.values()].sort(
    (one, other) => one.name.localeCompare(other.name) || one.id.localeCompare(other.id),
  ),
);

/** A claim with the release that led to it, or one of them alone. */
export interface Move {
  accountId: string;
  epoch: number;
  /** Null: it was given up, and nobody has it yet. */
  to: string | null;
  from: string | null;
  /** The reason of the release where there was one: it says more. */
  reason: string;
  at: string;
  traceId: string | null;
}
/** The latest changes of ownership, the latest first. */
export const moves = signal<readonly Move[]>([]);

async function attempt(read: () => Promise<void>): Promise<void> {
  try {
    await read();
    trouble.value = null;
  } catch (error) {
    trouble.value = Problem.of(error);
  }
}

export async function readAccounts(): Promise<void> {
  const all = await pages<"accounts", Account>("/v1/accounts", "accounts", ACCOUNTS_MAX);
  accounts.value = new Map(all.map((account) => [account.id, account]));
  isLoaded.value = true;
}

/** Reads one account anew. */
export async function readAccount(id: string): Promise<Account> {
  const account = await get<Account>(`/v1/accounts/${id}`);
  put(account);
  return account;
}

/** Shows an account as an answer has just said it is. */
export function put(account: Account): void {
  accounts.value = new Map(accounts.value).set(account.id, account);
}

async function readWorkers(): Promise<void> {
  const list = await get<WorkerList>("/v1/workers");
  workers.value = list.workers.toSorted(
    (one, other) =>
      one.name.localeCompare(other.name) || one.sessionId.localeCompare(other.sessionId),
  );
  workersAt.value = Date.now();
  leaseTimes.value = { leaseMs: list.leaseMs, sessionMs: list.sessionMs };
  const [trace, account] = [list.traceUrl ?? null, list.accountTracesUrl ?? null];
  const before = traceUrls.value;
  if (before.trace !== trace || before.account !== account) traceUrls.value = { trace, account };
}

/** It answers 503 with the same document where the worker cannot do its job. */
async function readHealth(): Promise<void> {
  const answer = await fetch("/health", { cache: "no-store" }).catch(() => null);
  if (answer?.headers.get("content-type")?.startsWith("application/json")) {
    health.value = await answer.json();
  }
}

/** Of an account's history, the latest first. */
export function movesOf(accountId: string, history: readonly OwnershipChange[]): Move[] {
  const found: Move[] = [];
  for (const { kind, epoch, worker, from, reason, at, traceId = null } of history) {
    if (kind === "claimed") {
      found.push({ accountId, epoch, to: worker, from: from ?? null, reason, at, traceId });
      continue;
    }
    const next = found.at(-1);
    if (next?.epoch === epoch + 1) {
      next.from = worker;
      next.reason = reason;
    } else {
      found.push({ accountId, epoch, to: null, from: worker, reason, at, traceId });
    }
  }
  return found;
}

/** The API keeps the history of each account: that of the accounts that moved last is read. */
async function readMoves(): Promise<void> {
  const lately = [...accounts.value.values()]
    .filter((account) => account.owner?.claimedAt)
    .sort((one, other) => other.owner!.claimedAt!.localeCompare(one.owner!.claimedAt!))
    .slice(0, TIMELINE_ACCOUNTS);
  const histories = await Promise.all(
    lately.map(async ({ id }) => {
      const page = await get<{ history: OwnershipChange[] }>(`/v1/accounts/${id}/history?limit=6`);
      return movesOf(id, page.history);
    }),
  );
  moves.value = histories
    .flat()
    .sort((one, other) => other.at.localeCompare(one.at))
    .slice(0, TIMELINE_ENTRIES);
}

/** Which ownership the timeline shows: it is read anew once this is another. */
const ownership = computed(() =>
  [...accounts.value.values()]
    .map((account) => `${account.id}${account.owner?.epoch ?? ""}`)
    .join(),
);
let shownOwnership = "";

async function readMovesIfChanged(): Promise<void> {
  if (ownership.value === shownOwnership) return;
  shownOwnership = ownership.value;
  await readMoves();
}

const changed = new Set<string>();
let gathering: ReturnType<typeof setTimeout> | null = null;

function noteChange(id: string): void {
  changed.add(id);
  gathering ??= setTimeout(() => {
    gathering = null;
    const ids = [...changed];
    changed.clear();
    void attempt(async () => {
      if (ids.length > SINGLE_READS_MAX) await readAccounts();
      else await Promise.all(ids.map(readAccount));
      await readMovesIfChanged();
    });
  }, GATHER_MS);
}

/** Reads everything, and keeps it up to date until the function that it returns is called. */
export function follow(): () => void {
  const readAll = () =>
    attempt(async () => {
      await Promise.all([readAccounts(), readWorkers(), readHealth()]);
      await readMovesIfChanged();
    });
  void readAll();
  let accountsAt = Date.now();
  const timer = setInterval(() => {
    if (document.hidden) return;
    void attempt(async () => {
      await Promise.all([readWorkers(), readHealth()]);
      const every = accounts.value.size > MANY_ACCOUNTS ? MANY_EVERY_MS : ACCOUNTS_EVERY_MS;
      if (Date.now() - accountsAt >= every || !isLoaded.value) {
        accountsAt = Date.now();
        await readAccounts();
        await readMovesIfChanged();
      }
    });
  }, WORKERS_EVERY_MS);
  const stops = [
    onEvent((event) => {
      if (event.type === "account.status") noteChange(event.accountId);
    }),
    onGap(() => void readAll()),
  ];
  return () => {
    clearInterval(timer);
    stops.forEach((stop) => stop());
  };
}
