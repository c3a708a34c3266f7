// Who is signed in, and what they may do.
import { computed, signal } from "@preact/signals";
import { get, onSignedOut, send } from "../api/client";
import { startStream, stopStream } from "../api/stream";
import type { MadeKey, Scope, SignIn } from "../api/types";

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

let isChangingHands = false;

/** Makes the first key, and goes on with it: from then on nobody is let in without one. */
export async function beginWith(make: () => Promise<MadeKey>): Promise<MadeKey> {
  isChangingHands = true;
  let made: MadeKey;
  try {
    made = await make();
  } catch (error) {
    isChangingHands = false;
    throw error;
  }
  // If this fails, the page stays as it is, so that the key can be read; a reload asks for it.
  await signIn(made.key).then(
    () => (isChangingHands = false),
    () => {},
  );
  return made;
}

onSignedOut(async () => {
  if (isChangingHands) return;
  const wasSignedIn = session.value?.signedIn;
  await readSession().catch(() => {});
  // What was refused may have been asked before somebody signed in.
  if (session.value?.signedIn) return startStream();
  if (wasSignedIn) {
    endedBecause.value = "Your sign-in has ended. Sign in again to go on where you were.";
  }
  stopStream();
});
