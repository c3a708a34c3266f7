// All accounts: found by name, number or owner, and by how they are.
import { signal } from "@preact/signals";
import { useDeferred } from "../parts/deferred";
import type { Account, Status } from "../api/types";
import { TimeBar } from "../parts/bar";
import { PlusIcon } from "../parts/icons";
import { Empty, Loading } from "../parts/notice";
import { Page } from "../parts/page";
import { Rows } from "../parts/rows";
import { StatusBadge } from "../parts/status";
import { STATUSES, meaning } from "../parts/words";
import { accountList, isLoaded, leaseTimes } from "../state/cluster";
import { go, to } from "../state/route";
import { can, isForAll } from "../state/session";
import { AddDialog } from "./account/add";

const ROW_HEIGHT = 58;

// They outlive the page: whoever comes back from an account finds the list as it was.
const search = signal("");
const status = signal<Status | "">("");
const isAdding = signal(false);

function matches(account: Account, words: string, wanted: Status | ""): boolean {
  if (wanted && account.status !== wanted) return false;
  if (!words) return true;
  const text = [account.name, account.phone, account.id, account.owner?.worker, account.pushName];
  return text.join(" ").toLowerCase().includes(words);
}

export function AccountsPage() {
  const words = useDeferred(search.value.trim().toLowerCase());
  const all = accountList.value;
  const shown = all.filter((account) => matches(account, words, status.value));
  const counts = new Map<Status, number>();
  for (const account of all) counts.set(account.status, (counts.get(account.status) ?? 0) + 1);
  const mayAdd = can("control") && isForAll.value;
  return (
    <Page
      title="Accounts"
      actions={
        mayAdd && (
          <button type="button" class="primary" onClick={() => (isAdding.value = true)}>
            <PlusIcon /> Add account
          </button>
        )
      }
    >
      <search class="filters">
        <input
          type="search"
          aria-label="Search accounts"
          placeholder="Name, number, worker …"
          value={search.value}
          onInput={(event) => (search.value = event.currentTarget.value)}
        />
        <select
          aria-label="Status"
          value={status.value}
          onChange={(event) => (status.value = event.currentTarget.value as Status | "")}
        >
          <option value="">Every status ({all.length})</option>
          {STATUSES.filter((one) => counts.has(one) || one === status.value).map((one) => (
            <option key={one} value={one}>
              {meaning(one).label} ({counts.get(one) ?? 0})
            </option>
          ))}
        </select>
        <span class="muted count" role="status">
          {shown.length === all.length ? `${all.length} accounts` : `${shown.length} of ${all.length}`}
        </span>
      </search>
      {!isLoaded.value ? (
        <Loading what="accounts" />
      ) : all.length === 0 ? (
        <Empty title="There is no account yet">
          {mayAdd
            ? "Add one, and link it with the phone’s camera."
            : "Somebody whose key may control must add one."}
        </Empty>
      ) : shown.length === 0 ? (
        <Empty title="No account is like this">Search for less, or for another status.</Empty>
      ) : (
        <Rows
          label="Accounts"
          columns={["Account", "Status", "Owner"]}
          entries={shown}
          rowHeight={ROW_HEIGHT}
          keyOf={(account) => account.id}
          row={(account) => <Cells account={account} />}
        />
      )}
      {isAdding.value && (
        <AddDialog
          onClose={() => (isAdding.value = false)}
          onMade={(account) => {
            isAdding.value = false;
            go("accounts", account.id);
          }}
        />
      )}
    </Page>
  );
}

function Cells({ account }: { account: Account }) {
  const owner = account.owner;
  return (
    <>
      <div role="cell" class="cell-name">
        <a href={to("accounts", account.id)}>{account.name}</a>
        <span class="muted">{account.phone ?? "not linked"}</span>
      </div>
      <div role="cell">
        <StatusBadge account={account} />
      </div>
      <div role="cell" class="cell-owner">
        {owner ? (
          <>
            <span>
              {owner.worker} <span class="muted">epoch {owner.epoch}</span>
            </span>
            {owner.leaseUntil && (
              <TimeBar
                label={`Lease of ${account.name}`}
                until={Date.parse(owner.leaseUntil)}
                whole={leaseTimes.value.leaseMs}
              />
            )}
          </>
        ) : (
          <span class="muted">nobody</span>
        )}
      </div>
    </>
  );
}
