// Adds an account.
import { useState } from "preact/hooks";
import { send } from "../../api/client";
import type { MadeAccount, NewAccount } from "../../api/types";
import { FormDialog, SecretDialog } from "../../parts/dialog";
import { Field, textOf } from "../../parts/field";
import { put } from "../../state/cluster";

interface Props {
  onClose: () => void;
  onMade: (account: MadeAccount) => void;
}

export function AddDialog({ onClose, onMade }: Props) {
  const [made, setMade] = useState<MadeAccount | null>(null);
  if (made?.webhook) {
    return (
      <SecretDialog
        title="Secret of the webhook"
        about="Deliveries are signed with it: give it to whoever receives them."
        secret={made.webhook.secret}
        onClose={() => onMade(made)}
      />
    );
  }
  const submit = async (fields: FormData) => {
    const body: NewAccount = {
      name: textOf(fields, "name") ?? "",
      phone: textOf(fields, "phone") ?? null,
      proxy: textOf(fields, "proxy") ?? null,
      webhook: textOf(fields, "webhook") ?? null,
    };
    const account = await send<MadeAccount>("POST", "/v1/accounts", body);
    put(account);
    if (account.webhook) setMade(account);
    else onMade(account);
  };
  return (
    <FormDialog title="Add an account" action="Add and link" onClose={onClose} onSubmit={submit}>
      <Field label="Name" name="name" required maxLength={100} autoFocus hint="What people call it." />
      <Field
        label="Phone number"
        name="phone"
        inputMode="tel"
        placeholder="+49 170 1234567"
        hint="Only to link by a typed code; a scan shows it."
      />
      <Field
        label="Proxy"
        name="proxy"
        placeholder="socks5://name:password@host:1080"
        hint="Its connections go this way. The password is never shown again."
      />
      <Field
        label="Webhook"
        name="webhook"
        inputMode="url"
        placeholder="https://…"
        hint="Where what happens to it is sent."
      />
    </FormDialog>
  );
}
