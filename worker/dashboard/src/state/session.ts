// Who is signed in, and what they may do.
import { computed, signal } from "@preact/signals";
import { get, onSignedOut, send } from "../api/client";
import { stopStream } from "../api/stream";
import type { Scope, SignIn } from "../api/types";

/** Null until it is known. */
export const session = signal<SignIn | null>(null);

/** Why the sign-in is asked for again, if it is. */
export const endedBecause = signal("");

/** Whether the key has a right. */
export function can(scope: Scope): boolean {
  const scopes = session.value?.scopes ?? [];
  return scopes.includes(scope) || scopes.includes("admin");
}

/** Whether the key is for the cluster as a whole, and not for some accounts. */
export const isForAll = computed(() => !session.value?.accounts);

/** Asks who is signed in. */
export async function readSession(): Promise<void> {
  session.value = await get<SignIn>("/v1/sign-in");
}

export async function signIn(key: string): Promise<void> {
  session.value = await send<SignIn>("POST", "/v1/sign-in", { key });
  endedBecause.value = "";
}

export async function signOut(): Promise<void> {
  await send("DELETE", "/v1/sign-in");
  stopStream();
  await readSession();
}

onSignedOut(() => {
  if (session.value?.signedIn) {
    endedBecause.value = "Your sign-in has ended. Sign in again to go on where you were.";
  }
  stopStream();
  void readSession().catch(() => {});
});
