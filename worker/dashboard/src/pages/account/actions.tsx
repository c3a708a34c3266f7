// What can be done to an account; what cannot be undone asks first.
import { useState } from "preact/hooks";
import { send } from "../../api/client";
import type { Account } from "../../api/types";
import { FormDialog } from "../../parts/dialog";
import { Field, textOf } from "../../parts/field";
import { attempt } from "../../parts/notice";
import { AccountTraces } from "../../parts/trace";
import { put } from "../../state/cluster";
import { to } from "../../state/route";
import { can } from "../../state/session";
import { Erasing } from "./erasing";

type Verb = "start" | "stop" | "restart" | "release" | "logout";

const DONE: Record<Verb, string> = {
  start: "It is to run: its owner begins.",
  stop: "It is to stop: its owner ends its connection.",
  restart: "Its owner begins anew.",
  release: "Its owner hands it off.",
  logout: "It is being logged out.",
};

/** Those that ask first: what they do, in words. */
const QUESTIONS: Partial<Record<Verb, { title: string; action: string; text: string }>> = {
  stop: {
    title: "Stop this account?",
    action: "Stop",
    text: "It disconnects and stays linked. What is queued waits; what is written to it waits at WhatsApp until somebody starts it.",
  },
  release: {
    title: "Hand this account off?",
    action: "Hand off",
    text: "Its owner gives it up in an orderly way, and another worker takes it. It is away for less than a second.",
  },
  logout: {
    title: "Log this account out?",
    action: "Log out",
    text: "The link to the phone is removed for good, and its session is thrown away. To use it again it must be scanned again. Its conversations stay.",
  },
};

export function Actions({ account }: { account: Account }) {
  const [asked, setAsked] = useState<Verb | null>(null);
  const [isEditing, setEditing] = useState(false);
  const act = async (verb: Verb) => put(await send<Account>("POST", `/v1/accounts/${account.id}/${verb}`));
  const press = (verb: Verb) => () => {
    if (QUESTIONS[verb]) setAsked(verb);
    else void attempt(() => act(verb), DONE[verb]);
  };
  const chats = (
    <>
      <AccountTraces id={account.id} />
      <a class="button" href={to("chats", account.id)}>
        Chats
      </a>
    </>
  );
  if (account.desired === "purging" || account.desired === "purged") {
    return (
      <>
        <AccountTraces id={account.id} />
        <Erasing id={account.id} />
      </>
    );
  }
  if (!can("control")) return chats;
  const runs = account.desired === "running";
  const question = asked && QUESTIONS[asked];
  return (
    <>
      {chats}
      <button type="button" onClick={() => setEditing(true)}>
        Edit
      </button>
      {!runs && (
        <button type="button" class="primary" onClick={press("start")}>
          Start
        </button>
      )}
      {runs && (
        <>
          <button type="button" onClick={press("restart")}>
            Restart
          </button>
          <button type="button" onClick={press("release")} disabled={!account.owner}>
            Hand off
          </button>
          <button type="button" onClick={press("stop")}>
            Stop
          </button>
        </>
      )}
      {account.desired !== "logged_out" && (
        <button type="button" class="danger" onClick={press("logout")}>
          Log out
        </button>
      )}
      {question && (
        <FormDialog
          title={question.title}
          action={question.action}
          isDangerous={asked === "logout"}
          onClose={() => setAsked(null)}
          onSubmit={async () => {
            await act(asked);
            setAsked(null);
            void attempt(async () => {}, DONE[asked]);
          }}
        >
          <p>
            <strong>{account.name}</strong>
          </p>
          <p>{question.text}</p>
        </FormDialog>
      )}
      {isEditing && <EditDialog account={account} onClose={() => setEditing(false)} />}
    </>
  );
}

function EditDialog({ account, onClose }: { account: Account; onClose: () => void }) {
  const submit = async (fields: FormData) => {
    const change: Record<string, unknown> = { name: textOf(fields, "name") ?? "" };
    const proxy = textOf(fields, "proxy");
    if (fields.get("no-proxy")) change.proxy = null;
    else if (proxy) change.proxy = proxy;
    const available = textOf(fields, "available");
    if (available) change.available = available === "yes";
    put(await send<Account>("PATCH", `/v1/accounts/${account.id}`, change));
    onClose();
    void attempt(async () => {}, "It is changed.");
  };
  return (
    <FormDialog title="Edit the account" action="Save" onClose={onClose} onSubmit={submit}>
      <Field label="Name" name="name" required maxLength={100} value={account.name} autoFocus />
      <Field
        label="Another proxy"
        name="proxy"
        placeholder="socks5://name:password@host:1080"
        hint={
          account.proxy
            ? `Now: ${account.proxy}. In force from the next connection.`
            : "Now none. In force from the next connection."
        }
      />
      {account.proxy && (
        <label class="check">
          <input type="checkbox" name="no-proxy" /> Use no proxy
        </label>
      )}
      <div class="field">
        <label for="available">Shown as online while connected</label>
        <select id="available" name="available" defaultValue={account.available == null ? "" : account.available ? "yes" : "no"}>
          <option value="">As WhatsApp does</option>
          <option value="yes">Yes</option>
          <option value="no">No</option>
        </select>
      </div>
    </FormDialog>
  );
}
