// How something is: a word, a colour and a shape.
import type { Account } from "../api/types";
import { Shape } from "./icons";
import { meaningOf, type Tone } from "./words";

export function Badge({ tone, children }: { tone: Tone; children: string }) {
  return (
    <span class={`badge tone-${tone}`}>
      <Shape tone={tone} />
      {children}
    </span>
  );
}

export function StatusBadge({ account }: { account: Account }) {
  const { label, tone } = meaningOf(account);
  const stage = account.status === "connecting" && account.stage ? ` (${account.stage})` : "";
  return <Badge tone={tone}>{label + stage}</Badge>;
}
