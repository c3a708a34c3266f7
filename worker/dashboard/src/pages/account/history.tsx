// What was: who owned the account, and how it was.
import { useState } from "preact/hooks";
import { get } from "../../api/client";
import type { OwnershipChange, StatusChange } from "../../api/types";
import { Empty, Loading, Trouble, attempt } from "../../parts/notice";
import { useReading } from "../../parts/reading";
import { Clock } from "../../parts/time";
import { TraceLink } from "../../parts/trace";
import { meaning, plain, reasonOf } from "../../parts/words";
import type { Status } from "../../api/types";
import { Shape } from "../../parts/icons";

type Of = "ownership" | "status";
interface HistoryPage {
  history: (OwnershipChange | StatusChange)[];
  next?: string | null;
}

const read = (id: string, of: Of, after = "") =>
  get<HistoryPage>(
    `/v1/accounts/${id}/history?of=${of}&limit=15${after && `&after=${encodeURIComponent(after)}`}`,
  );

interface Props {
  id: string;
  /** Grow with each change of the status and of the owner. */
  changes: number;
  epoch: number;
}

export function History({ id, changes, epoch }: Props) {
  const [of, setOf] = useState<Of>("status");
  return (
    <section class="card" aria-labelledby="history-title">
      <div class="card-head">
        <h2 id="history-title">History</h2>
        <div class="tabs" role="group" aria-label="Of what">
          {(["status", "ownership"] as const).map((one) => (
            <button key={one} type="button" aria-pressed={of === one} onClick={() => setOf(one)}>
              {one === "status" ? "Status" : "Owners"}
            </button>
          ))}
        </div>
      </div>
      <Entries key={of} id={id} of={of} turn={of === "status" ? changes : epoch} />
    </section>
  );
}

function Entries({ id, of, turn }: { id: string; of: Of; turn: number }) {
  const reading = useReading(() => read(id, of), [id, of, turn]);
  const [older, setOlder] = useState<HistoryPage | null>(null);
  const page = reading.value;
  if (reading.problem) return <Trouble problem={reading.problem} retry={reading.again} />;
  if (!page) return <Loading what="the history" />;
  if (page.history.length === 0) return <Empty title="Nothing has happened yet" />;
  const next = older ? older.next : page.next;
  const all = [...page.history, ...(older?.history ?? [])];
  const more = () =>
    void attempt(async () => {
      const following = await read(id, of, next!);
      setOlder({ ...following, history: [...(older?.history ?? []), ...following.history] });
    });
  return (
    <>
      <ol class="history">
        {all.map((entry) => (
          <li key={"seq" in entry ? entry.seq : `${entry.epoch} ${entry.kind}`}>
            {"seq" in entry ? <StatusEntry change={entry} /> : <OwnershipEntry change={entry} />}
            <span class="muted entry-when">
              <TraceLink id={entry.traceId} of={"seq" in entry ? "this change" : `epoch ${entry.epoch}`} />
              <Clock at={entry.at} />
            </span>
          </li>
        ))}
      </ol>
      {next && (
        <button type="button" onClick={more}>
          Show older
        </button>
      )}
    </>
  );
}

function StatusEntry({ change }: { change: StatusChange }) {
  const { label, tone } = meaning(change.to as Status);
  return (
    <span class="entry">
      <Shape tone={tone} />
      <span>
        {label} {change.reason !== change.to && <span class="muted">{plain(change.reason)}</span>}
      </span>
    </span>
  );
}

function OwnershipEntry({ change }: { change: OwnershipChange }) {
  const isClaim = change.kind === "claimed";
  return (
    <span class="entry">
      <Shape tone={isClaim ? "good" : "off"} />
      <span>
        {isClaim ? "Claimed" : "Given up"} by <b>{change.worker}</b>{" "}
        <span class="muted">
          epoch {change.epoch}, {reasonOf(change)}
          {change.from && change.from !== change.worker && `, from ${change.from}`}
        </span>
      </span>
    </span>
  );
}
