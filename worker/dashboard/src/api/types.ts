// The API's types, as its description names them.
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Account = Schemas["Account"];
export type MadeAccount = Schemas["MadeAccount"];
export type NewAccount = Schemas["NewAccount"];
export type Status = Schemas["Status"];
export type Worker = Schemas["WorkerSession"];
export type WorkerList = Schemas["WorkerList"];
export type OwnershipChange = Schemas["OwnershipChange"];
export type StatusChange = Schemas["StatusChange"];
export type Thread = Schemas["Thread"];
export type Message = Schemas["Message"];
export type MessageState = Schemas["MessageState"];
export type MediaKind = Schemas["MediaKind"];
export type Outgoing = Schemas["OutgoingMessage"];
export type Webhook = Schemas["Webhook"];
export type Purge = Schemas["Purge"];
export type Delivery = Schemas["Delivery"];
export type Key = Schemas["Key"];
export type MadeKey = Schemas["MadeKey"];
export type Scope = Schemas["Scope"];
export type AuditEntry = Schemas["AuditEntry"];
export type Event = Schemas["Event"];
export type SignIn = Schemas["SignIn"];

/** What `/health` says that is shown here; the description tells it in words only. */
export interface Health {
  status: "healthy" | "degraded" | "unhealthy";
  version: string;
  workerId: string;
  simulation?: boolean;
  cluster: {
    accounts: number | null;
    owned: number | null;
    unowned: number | null;
    loggedOut: number | null;
    workers: number;
    capacity: number;
  };
  firestore: { status: string; backend: string; latencyMs: number | null; error: string | null };
  lock: { state: string; note?: string };
}
