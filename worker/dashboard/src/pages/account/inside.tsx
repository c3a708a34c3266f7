// What its owner knows of an account and does not store: for who looks closely.
import { useState } from "preact/hooks";
import { Problem } from "../../api/client";
import { Trouble } from "../../parts/notice";

export function Inside({ id, read }: { id: string; read: () => Promise<unknown> }) {
  const [state, setState] = useState<{ value?: unknown; problem?: Problem } | null>(null);
  const look = () =>
    void read().then(
      (value) => setState({ value }),
      (error: unknown) => setState({ problem: Problem.of(error) }),
    );
  return (
    <section class="card" aria-labelledby="inside-title">
      <div class="card-head">
        <h2 id="inside-title">Inside</h2>
        <button type="button" onClick={look}>
          {state ? "Look again" : "Ask its owner"}
        </button>
      </div>
      {state?.problem && <Trouble problem={state.problem} />}
      {state?.value !== undefined && (
        <pre tabIndex={0} aria-label={`What the owner of ${id} says`}>
          {JSON.stringify(state.value, null, 2)}
        </pre>
      )}
      {!state && <p class="muted">Handlers, events seen, the trail of its states.</p>}
    </section>
  );
}
