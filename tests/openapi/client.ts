// Links nothing and sends nothing: creates an account through the client that
// was made from the description, reads it back, and meets an error. What the
// compiler lets through here is what the description promises.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Account = components["schemas"]["Account"];
type Status = components["schemas"]["Status"];

const [base, key] = process.argv.slice(2);
if (!base || !key) throw new Error("client.js BASE KEY");
const client = createClient<paths>({ baseUrl: base, headers: { "X-Api-Key": key } });

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

const made = await client.POST("/v1/accounts", { body: { name: "typed" } });
check(made.response.status === 201 && made.data !== undefined, "the account was not created");
const account: Account = made.data;

const read = await client.GET("/v1/accounts/{id}", { params: { path: { id: account.id } } });
check(read.data?.name === "typed", "it is not read back");

const seen: string[] = [];
let after: string | undefined;
do {
  const page = await client.GET("/v1/accounts", { params: { query: { limit: 1, after } } });
  check(page.data !== undefined, "no page");
  seen.push(...page.data.accounts.map((listed) => listed.id));
  after = page.data.next ?? undefined;
} while (after);
check(seen.includes(account.id), "it is not in the list");

const stopped = await client.POST("/v1/accounts/{id}/stop", { params: { path: { id: account.id } } });
const wanted: Status[] = ["stopped", "idle", "connecting", "qr_ready"];
check(stopped.data !== undefined && wanted.includes(stopped.data.status), "it was not stopped");
check(stopped.data.desired === "stopped", "that it was asked for is not shown");

const missing = await client.GET("/v1/accounts/{id}", { params: { path: { id: "account_none" } } });
check(missing.error?.code === "unknown_account", "the error has no code");

// What the description does not allow is no TypeScript.
// @ts-expect-error: the name is missing
await client.POST("/v1/accounts", { body: {} });
// @ts-expect-error: there is no such path
await client.GET("/v1/nothing");

console.log(`typed client: ${seen.length} accounts seen`);
