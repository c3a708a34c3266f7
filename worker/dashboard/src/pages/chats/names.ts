// What people and files are called.
import type { MediaKind, Thread } from "../../api/types";

/** The number in an address such as `4915…@s.whatsapp.net`. */
function numberIn(address: string): string {
  const [user = "", server = ""] = address.split("@");
  return server === "s.whatsapp.net" ? `+${user.split(":")[0]}` : user;
}

export function threadName(thread: Thread): string {
  return thread.title || numberIn(thread.pn ?? thread.chat);
}

/** Who wrote a message into a group. */
export function senderName(sender: string, pushName: string | null | undefined): string {
  return pushName || numberIn(sender);
}

/** Where a message to this thread goes. */
export function addressOf(thread: Thread): string {
  return thread.pn ?? thread.chat;
}

export function bytes(count: number): string {
  if (count < 1_000) return `${count} bytes`;
  if (count < 1_000_000) return `${Math.round(count / 1_000)} kB`;
  return `${(count / 1_000_000).toFixed(1)} MB`;
}

/** How WhatsApp shows a file of this type. */
export function kindOf(mediaType: string): MediaKind {
  if (/^image\/(jpeg|png)$/.test(mediaType)) return "image";
  if (mediaType === "video/mp4") return "video";
  if (mediaType.startsWith("audio/")) return "audio";
  return "document";
}
