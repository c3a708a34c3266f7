// Conversations: an account's threads, and what was said in one of them.
import { useEffect } from "preact/hooks";
import { Empty, Loading } from "../../parts/notice";
import { Page } from "../../parts/page";
import { accountList, isLoaded } from "../../state/cluster";
import { go, route } from "../../state/route";
import { Conversation } from "./conversation";
import { Threads } from "./threads";

export function ChatsPage() {
  const [, account, thread] = route.value;
  const list = accountList.value;
  const linked = list.filter(({ jid }) => jid);
  useEffect(() => {
    // Somebody has to be chosen first.
    const first = linked[0] ?? list[0];
    if (!account && first) location.replace(`#/chats/${first.id}`);
  }, [account, list.length > 0]);
  if (!account) {
    return (
      <Page title="Chats">
        {isLoaded.value ? (
          <Empty title="There is no account yet">Conversations belong to accounts.</Empty>
        ) : (
          <Loading what="accounts" />
        )}
      </Page>
    );
  }
  return (
    <Page
      title="Chats"
      actions={
        <select
          aria-label="Account"
          value={account}
          onChange={(event) => go("chats", event.currentTarget.value)}
        >
          {list.map((one) => (
            <option key={one.id} value={one.id}>
              {one.name}
              {one.phone ? `, ${one.phone}` : ", not linked"}
            </option>
          ))}
        </select>
      }
    >
      <div class={`chats ${thread ? "has-thread" : ""}`}>
        <Threads key={account} account={account} current={thread} />
        {thread ? (
          <Conversation key={thread} account={account} threadId={thread} />
        ) : (
          <div class="card conversation nothing">
            <Empty title="No conversation is open">Choose one, or write to somebody new.</Empty>
          </div>
        )}
      </div>
    </Page>
  );
}
