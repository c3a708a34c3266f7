// The frame around all pages: who may come in, where one can go, how things are.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { startStream, streamState } from "./api/stream";
import {
  AccountsIcon,
  ChatsIcon,
  ClusterIcon,
  DeliveryIcon,
  KeysIcon,
  Shape,
  SignOutIcon,
} from "./parts/icons";
import { Loading, Toasts, Trouble, attempt } from "./parts/notice";
import { Page } from "./parts/page";
import { useReading } from "./parts/reading";
import { Until } from "./parts/time";
import { AccountPage } from "./pages/account/page";
import { AccountsPage } from "./pages/accounts";
import { ChatsPage } from "./pages/chats/page";
import { ClusterPage } from "./pages/cluster/page";
import { DeliveryPage } from "./pages/delivery/page";
import { KeysPage } from "./pages/keys";
import { SignInPage } from "./pages/sign-in";
import { accounts, follow, health, trouble } from "./state/cluster";
import { route, to } from "./state/route";
import { can, readSession, session, signOut } from "./state/session";

export function App() {
  const reading = useReading(readSession, []);
  if (session.value === null) {
    return reading.problem ? (
      <main class="alone">
        <h1>Leasehold</h1>
        <Trouble problem={reading.problem} retry={reading.again} />
      </main>
    ) : (
      <Loading what="who you are" />
    );
  }
  return session.value.signedIn ? <Inside /> : <SignInPage />;
}

interface Place {
  name: string;
  label: string;
  icon: () => JSX.Element;
  page: () => JSX.Element;
  isOpen: () => boolean;
}

const PLACES: readonly Place[] = [
  { name: "", label: "Cluster", icon: ClusterIcon, page: ClusterPage, isOpen: () => can("read") },
  {
    name: "accounts",
    label: "Accounts",
    icon: AccountsIcon,
    page: () =>
      route.value[1] ? <AccountPage key={route.value[1]} id={route.value[1]} /> : <AccountsPage />,
    isOpen: () => can("read"),
  },
  { name: "chats", label: "Chats", icon: ChatsIcon, page: ChatsPage, isOpen: () => can("read") },
  { name: "delivery", label: "Delivery", icon: DeliveryIcon, page: DeliveryPage, isOpen: () => can("read") },
  { name: "keys", label: "Keys", icon: KeysIcon, page: KeysPage, isOpen: () => can("admin") },
];

/** What the browser's tab says. */
function titleOf(place: Place | undefined): string {
  const id = place?.name === "accounts" || place?.name === "chats" ? route.value[1] : undefined;
  const account = id ? accounts.value.get(id)?.name : undefined;
  return [account, place?.label ?? "Not found", "Leasehold"].filter(Boolean).join(" · ");
}

function Inside() {
  useEffect(() => {
    startStream();
    return follow();
  }, []);
  const main = useRef<HTMLElement>(null);
  const path = route.value.join("/");
  const isFirst = useRef(true);
  const place = PLACES.find(({ name }) => name === (route.value[0] ?? ""));
  useEffect(() => {
    // Whoever followed a link by keyboard or reader goes on where the new page begins.
    if (!isFirst.current) main.current?.focus({ preventScroll: true });
    isFirst.current = false;
    scrollTo(0, 0);
  }, [route.value[0], place?.name === "accounts" ? path : ""]);
  const title = titleOf(place);
  useEffect(() => void (document.title = title), [title]);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to content
      </a>
      <div class="frame">
        <SideBar current={place} />
        <main id="main" ref={main} tabIndex={-1} class={place ? `page-${place.name || "cluster"}` : ""}>
          <Interrupted />
          {place ? <place.page /> : <NotFound />}
        </main>
      </div>
      <Toasts />
    </>
  );
}

function SideBar({ current }: { current: Place | undefined }) {
  const who = session.value!;
  return (
    <header class="side">
      <a class="brand" href={to()}>
        <img src="assets/icon.svg" alt="" width={26} height={26} />
        <span>Leasehold</span>
      </a>
      <nav aria-label="Pages">
        {PLACES.filter((place) => place.isOpen()).map((place) => (
          <a
            key={place.name}
            href={place.name ? to(place.name) : to()}
            aria-current={place === current ? "page" : undefined}
          >
            <place.icon />
            <span>{place.label}</span>
          </a>
        ))}
      </nav>
      <div class="side-foot">
        <StreamState />
        <p class="muted who">
          <span>
            {health.value?.workerId ? `by ${health.value.workerId}` : ""}
            {health.value?.simulation ? ", simulated WhatsApp" : ""}
          </span>
          <span>{who.open ? "no key: this machine only" : `key: ${who.keyName}`}</span>
        </p>
        <p class="links">
          <a href="/docs">API</a>
          {!who.open && (
            <button type="button" class="plain" onClick={() => void attempt(signOut)}>
              <SignOutIcon /> Sign out
            </button>
          )}
        </p>
      </div>
    </header>
  );
}

function StreamState() {
  const state = streamState.value;
  const shown = {
    connecting: { tone: "busy", text: "Connecting" },
    live: { tone: "good", text: "Live" },
    lost: { tone: "bad", text: "Not live" },
  } as const;
  const { tone, text } = shown[state.kind];
  return (
    <span class={`stream tone-${tone}`} role="status">
      <Shape tone={tone} /> {text}
    </span>
  );
}

/** Says that what is shown may be old. */
function Interrupted() {
  const state = streamState.value;
  if (trouble.value && trouble.value.status !== 401) return <Trouble problem={trouble.value} />;
  if (state.kind !== "lost") return null;
  return (
    <div class="notice wait" role="status">
      <div>
        <strong>Not live: {state.why}</strong>
        <p>
          What is shown may be old. The page tries again{" "}
          <Until at={new Date(state.retryAt).toISOString()} />.
        </p>
      </div>
    </div>
  );
}

function NotFound() {
  return (
    <Page title="There is no such page">
      <p>
        The address may be mistyped. <a href={to()}>Go to the cluster.</a>
      </p>
    </Page>
  );
}
