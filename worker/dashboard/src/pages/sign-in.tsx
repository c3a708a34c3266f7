// The way in: an API key, once.
import { useState } from "preact/hooks";
import { Problem } from "../api/client";
import { Trouble } from "../parts/notice";
import { endedBecause, signIn } from "../state/session";

export function SignInPage() {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    setBusy(true);
    setProblem(null);
    try {
      await signIn(String(new FormData(form).get("key") ?? "").trim());
    } catch (error) {
      setProblem(Problem.of(error));
      form.querySelector("input")?.select();
    } finally {
      setBusy(false);
    }
  };
  return (
    <main class="alone">
      <img src="assets/icon.svg" alt="" width={44} height={44} />
      <h1>Sign in to Leasehold</h1>
      {endedBecause.value && (
        <p class="notice wait" role="status">
          {endedBecause.value}
        </p>
      )}
      <form class="card" onSubmit={(event) => void submit(event)}>
        <label for="key">API key</label>
        <input
          id="key"
          name="key"
          type="password"
          required
          autoFocus
          autoComplete="current-password"
          placeholder="lh_…"
          class="mono"
        />
        {problem && (
          <Trouble
            problem={
              problem.status === 401
                ? new Problem(401, problem.code, "This key is not good", problem.detail)
                : problem
            }
          />
        )}
        <button type="submit" class="primary" disabled={isBusy}>
          {isBusy ? "One moment …" : "Sign in"}
        </button>
      </form>
      <p class="muted">
        A key is made with <code>worker apikeys create</code>, or under Keys by whoever has an
        admin’s. Your browser keeps a sign-in that ends by itself, never the key.
      </p>
    </main>
  );
}
