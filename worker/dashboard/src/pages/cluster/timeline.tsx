// The latest changes of ownership, with their reasons.
import { Shape } from "../../parts/icons";
import { Empty } from "../../parts/notice";
import { Clock } from "../../parts/time";
import { TraceLink } from "../../parts/trace";
import { reasonOf, type Tone } from "../../parts/words";
import { accounts, moves, type Move } from "../../state/cluster";
import { to } from "../../state/route";

/** A death and a lease that ran out are worth a look. */
function toneOf(move: Move): Tone {
  if (move.reason === "owner_sealed" || move.reason === "expired") return "bad";
  return move.to ? "good" : "off";
}

export function Timeline() {
  return (
    <section aria-labelledby="timeline-title" class="timeline">
      <h2 id="timeline-title">Lately</h2>
      {moves.value.length === 0 ? (
        <Empty title="Nothing has moved yet">
          Claims and releases stand here, with their reasons.
        </Empty>
      ) : (
        <ol aria-live="polite" aria-relevant="additions">
          {moves.value.map((move) => (
            <li key={`${move.accountId} ${move.epoch} ${move.to}`}>
              <Shape tone={toneOf(move)} />
              <p class="timeline-line">
                <a class="clip" href={to("accounts", move.accountId)}>
                  {accounts.value.get(move.accountId)?.name ?? move.accountId}
                </a>
                <span class="timeline-when">
                  <TraceLink id={move.traceId} of={`epoch ${move.epoch}`} />
                  <Clock at={move.at} />
                </span>
              </p>
              <p>
                {move.from && move.from !== move.to && (
                  <>
                    <b>{move.from}</b>
                    <span aria-hidden="true"> → </span>
                    <span class="hidden"> to </span>
                  </>
                )}
                <b>{move.to ?? "nobody yet"}</b>
                <span class="muted">
                  , {reasonOf(move)}, epoch&nbsp;{move.epoch}
                </span>
              </p>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
