// Icons: drawn with the text's colour, and never the only bearer of a meaning.
import type { ComponentChildren } from "preact";
import type { Tone } from "./words";

function Icon({ children, size = 20 }: { children: ComponentChildren; size?: number }) {
  return (
    <svg
      class="icon"
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.8"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const ClusterIcon = () => (
  <Icon>
    <rect x="3" y="4" width="18" height="6.5" rx="2" />
    <rect x="3" y="13.5" width="18" height="6.5" rx="2" />
    <path d="M7 7.25h.01M7 16.75h.01M11 7.25h6M11 16.75h6" />
  </Icon>
);
export const AccountsIcon = () => (
  <Icon>
    <rect x="6.5" y="2.5" width="11" height="19" rx="2.5" />
    <path d="M10.5 18.5h3" />
  </Icon>
);
export const ChatsIcon = () => (
  <Icon>
    <path d="M4 5.5h16v11H10l-4.5 3.5v-3.5H4z" />
    <path d="M8 9.5h8M8 12.5h5" />
  </Icon>
);
export const DeliveryIcon = () => (
  <Icon>
    <path d="M21 3.5 10.5 14M21 3.5 14.5 21l-4-7-7-4z" />
  </Icon>
);
export const KeysIcon = () => (
  <Icon>
    <circle cx="8" cy="15.5" r="4.5" />
    <path d="m11.5 12 8-8M16.5 7l3 3" />
  </Icon>
);
export const SignOutIcon = () => (
  <Icon size={18}>
    <path d="M14 4h5v16h-5M10 8l-4 4 4 4M6.5 12H15" />
  </Icon>
);
export const TraceIcon = () => (
  <Icon size={18}>
    <path d="M3.5 6.5h9M7.5 12h9M11.5 17.5h9" />
  </Icon>
);
export const PlusIcon = () => (
  <Icon size={18}>
    <path d="M12 5v14M5 12h14" />
  </Icon>
);
export const BackIcon = () => (
  <Icon size={18}>
    <path d="m14 6-6 6 6 6" />
  </Icon>
);
export const CloseIcon = () => (
  <Icon size={18}>
    <path d="m6 6 12 12M18 6 6 18" />
  </Icon>
);
export const AttachIcon = () => (
  <Icon>
    <path d="m19.5 11.5-7.8 7.8a5 5 0 0 1-7-7l8.3-8.4a3.4 3.4 0 0 1 4.8 4.8l-8.3 8.3a1.7 1.7 0 0 1-2.4-2.4l7.3-7.3" />
  </Icon>
);
export const SendIcon = () => (
  <Icon>
    <path d="M4 12 20.5 4 16 20l-4.5-6.5z" />
  </Icon>
);

const SHAPES: Record<Tone, ComponentChildren> = {
  good: <circle cx="6" cy="6" r="5" fill="currentColor" />,
  busy: (
    <>
      <circle cx="6" cy="6" r="4.2" fill="none" stroke="currentColor" stroke-width="1.6" />
      <path d="M6 1.8a4.2 4.2 0 0 1 0 8.4z" fill="currentColor" />
    </>
  ),
  wait: <rect x="1.4" y="1.4" width="9.2" height="9.2" rx="1.8" fill="currentColor" />,
  bad: <path d="M6 .8 11.6 11H.4z" fill="currentColor" />,
  off: <circle cx="6" cy="6" r="4.2" fill="none" stroke="currentColor" stroke-width="1.6" />,
};

/** The shape that goes with a tone: disc, half disc, square, triangle, ring. */
export function Shape({ tone }: { tone: Tone }) {
  return (
    <svg class={`shape tone-${tone}`} width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
      {SHAPES[tone]}
    </svg>
  );
}
