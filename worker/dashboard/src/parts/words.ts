// What the API's words mean, in words for people.
import type { Account, Status } from "../api/types";

export type Tone = "good" | "busy" | "wait" | "bad" | "off";

interface Meaning {
  label: string;
  tone: Tone;
  /** What it means. */
  about: string;
  /** What to do, if anything. */
  todo?: string;
}

const MEANINGS: Record<Status, Meaning> = {
  connected: { label: "Connected", tone: "good", about: "Sends and receives." },
  connecting: { label: "Connecting", tone: "busy", about: "On its way to WhatsApp." },
  pairing: { label: "Pairing", tone: "busy", about: "The phone has scanned; the two are being linked." },
  qr_ready: {
    label: "Waits for scan",
    tone: "wait",
    about: "There is a QR code to scan.",
    todo: "Scan it with the phone: Settings, Linked devices, Link a device.",
  },
  needs_qr: {
    label: "Needs a code",
    tone: "wait",
    about: "It is not linked, and the last codes were not scanned.",
    todo: "Ask for a new code once the phone is at hand.",
  },
  idle: { label: "Idle", tone: "off", about: "Nothing has been tried yet: no worker has taken it up." },
  disconnected: {
    label: "Disconnected",
    tone: "bad",
    about: "The connection ended. Its worker tries again by itself.",
  },
  degraded: {
    label: "Degraded",
    tone: "bad",
    about: "It works in part: its worker could not do something that it must do.",
    todo: "Look at the last trouble below; a restart often helps.",
  },
  conflict: {
    label: "Conflict",
    tone: "bad",
    about: "Another program uses the same link and pushes this one out.",
    todo: "Stop the other program. This one tries again by itself.",
  },
  banned: {
    label: "Banned",
    tone: "bad",
    about: "WhatsApp has banned the number.",
    todo: "Open WhatsApp on the phone: it says why, and for how long.",
  },
  locked: {
    label: "Locked",
    tone: "bad",
    about: "WhatsApp has locked the number for a while.",
    todo: "Wait, and send less. It goes on by itself afterwards.",
  },
  failed: {
    label: "Failed",
    tone: "bad",
    about: "Its worker cannot go on by itself.",
    todo: "Do what stands below, then start it.",
  },
  logged_out: {
    label: "Logged out",
    tone: "off",
    about: "The link was removed, here or on the phone.",
    todo: "Start it to link it again.",
  },
  stopped: { label: "Stopped", tone: "off", about: "Somebody stopped it. It stays linked.", todo: "Start it to go on." },
  needs_import: {
    label: "Needs import",
    tone: "wait",
    about: "Its session moved out, or has not moved in yet.",
    todo: "Import its session from the command line: worker import-baileys.",
  },
};

export const STATUSES = Object.keys(MEANINGS) as Status[];

/** What an account that is being erased is like, whatever its status says. */
const ERASING: Meaning = {
  label: "Being erased",
  tone: "off",
  about: "Its session, its conversations and its files are being erased for good.",
  todo: "Whoever has an admin’s key goes on with it until nothing is left; nothing else can be wanted of it.",
};
const ERASED: Meaning = {
  label: "Erased",
  tone: "off",
  about: "Nothing is left of it but its id.",
  todo: "Add an account to use its number again.",
};

/** What an account is like. */
export function meaningOf(account: Account): Meaning {
  switch (account.desired) {
    case "purging":
      return ERASING;
    case "purged":
      return ERASED;
    case "running":
    case "stopped":
    case "logged_out":
      return meaning(account.status);
  }
}

export function meaning(status: Status): Meaning {
  return (
    MEANINGS[status] ?? { label: status, tone: "off", about: "This page does not know this status." }
  );
}

/** What a person should do about an account; empty where nothing is to be done. */
export function todo(account: Account): string {
  const isKept = account.desired !== "purging" && account.desired !== "purged";
  const text = (isKept && account.actionRequired) || meaningOf(account).todo || "";
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const REASONS: Record<string, string> = {
  new: "first claim",
  released: "given back before",
  handed_off: "handed over",
  owner_closed: "owner had ended",
  owner_sealed: "owner found dead",
  expired: "lease had run out",
  own: "it was its own already",
  not_wanted: "it is not to run",
  drain: "the worker was ending",
  rebalance: "more room there",
  asked: "somebody asked for it",
  failed: "it could not go on",
};

/** Why an account changed hands. */
export function reasonOf({ reason }: { reason: string }): string {
  return REASONS[reason] ?? reason.replaceAll("_", " ");
}

/** `restartRequired` and `qr_expired` as words. */
export function plain(text: string): string {
  return text
    .replaceAll("_", " ")
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .toLowerCase();
}

const WORKER_STATES: Record<string, { label: string; tone: Tone; about: string }> = {
  active: { label: "Active", tone: "good", about: "Owns accounts and takes more." },
  draining: { label: "Draining", tone: "busy", about: "Hands its accounts over and ends." },
  sealed: { label: "Frozen", tone: "bad", about: "Others have closed its session: it may not act any more." },
  dead: { label: "Silent", tone: "bad", about: "No heartbeat: its accounts will be taken over." },
  closed: { label: "Closed", tone: "off", about: "It has ended in an orderly way." },
  suspended: { label: "Suspended", tone: "bad", about: "It waits: the store has not confirmed its session." },
  frozen: { label: "Frozen", tone: "bad", about: "Its session was closed by others; it begins a new one." },
  starting: { label: "Starting", tone: "busy", about: "Not ready yet." },
};

export function workerState(state: string): { label: string; tone: Tone; about: string } {
  return WORKER_STATES[state] ?? { label: plain(state), tone: "off", about: "" };
}
