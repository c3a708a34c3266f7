// An account that is being erased: nothing else can be wanted of it.
import { useState } from "preact/hooks";
import { send } from "../../api/client";
import type { Purge } from "../../api/types";
import { attempt } from "../../parts/notice";
import { readAccounts } from "../../state/cluster";
import { go } from "../../state/route";
import { can } from "../../state/session";

/** Between two requests while its owner is still to stop. */
const PAUSE_MS = 1_000;

/** Asks until nothing is left: each request erases for some seconds. */
async function erase(id: string): Promise<void> {
  for (;;) {
    const path = `/v1/accounts/${id}?confirm=${encodeURIComponent(id)}`;
    const { state } = await send<Purge>("DELETE", path);
    if (state === "purged") return;
    if (state === "waiting") await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

export function Erasing({ id }: { id: string }) {
  const [isBusy, setBusy] = useState(false);
  if (!can("admin")) return null;
  const press = async () => {
    setBusy(true);
    const isDone = await attempt(() => erase(id), "Nothing is left of it.");
    setBusy(false);
    if (!isDone) return;
    go("accounts");
    void attempt(readAccounts);
  };
  return (
    <button type="button" class="danger" disabled={isBusy} onClick={() => void press()}>
      {isBusy ? "Erasing …" : "Go on erasing"}
    </button>
  );
}
