// Accounts that somebody should own and nobody does.
import type { Account } from "../../api/types";
import { to } from "../../state/route";
import { isWanted } from "./figures";

/** Named here; the rest is counted. */
const NAMED_MAX = 6;

export function Unowned({ accounts }: { accounts: ReadonlyMap<string, Account> }) {
  const unowned = [...accounts.values()].filter((account) => isWanted(account) && !account.owner);
  if (unowned.length === 0) return null;
  const more = unowned.length - NAMED_MAX;
  return (
    <div class="notice bad" role="status">
      <div>
        <strong>
          {unowned.length === 1 ? "One account has" : `${unowned.length} accounts have`} no owner
        </strong>
        <p>
          {unowned.slice(0, NAMED_MAX).map((account, index) => (
            <span key={account.id}>
              {index > 0 && ", "}
              <a href={to("accounts", account.id)}>{account.name}</a>
            </span>
          ))}
          {more > 0 && ` and ${more} more`}. A worker with room takes them within seconds; if they
          stay, start another worker.
        </p>
      </div>
    </div>
  );
}
