// A file that goes with a message. It is fetched when somebody wants to see it:
// WhatsApp's host is asked then, and what comes stays in this page's memory.
import { useEffect, useState } from "preact/hooks";
import { Problem, ask } from "../../api/client";
import type { Message } from "../../api/types";
import { Trouble } from "../../parts/notice";
import { bytes } from "./names";

type Media = NonNullable<Message["media"]>;

export function Attachment({ message, media }: { message: Message; media: Media }) {
  const [url, setUrl] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isBusy, setBusy] = useState(false);
  useEffect(() => () => URL.revokeObjectURL(url), [url]);
  const name = media.fileName ?? media.kind;
  const size = media.bytes ? `, ${bytes(media.bytes)}` : "";
  const show = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const answer = await ask(`/v1/threads/${message.threadId}/messages/${message.id}/media`);
      setUrl(URL.createObjectURL(await answer.blob()));
    } catch (error) {
      setProblem(Problem.of(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <div class="attachment">
      {url === "" ? (
        <button type="button" disabled={isBusy} onClick={() => void show()}>
          {isBusy ? "One moment …" : `Show ${name}${size}`}
        </button>
      ) : (
        <Shown url={url} media={media} name={name} />
      )}
      {problem && <Trouble problem={problem} />}
      {media.caption && <p class="text">{media.caption}</p>}
    </div>
  );
}

function Shown({ url, media, name }: { url: string; media: Media; name: string }) {
  switch (media.kind) {
    case "image":
    case "sticker":
      return (
        <>
          <img src={url} alt={media.caption ?? `A picture, ${name}`} />
          <Save url={url} name={name} />
        </>
      );
    case "video":
      return (
        <>
          <video src={url} controls />
          <Save url={url} name={name} />
        </>
      );
    case "audio":
    case "voice":
      return (
        <>
          <audio src={url} controls />
          <Save url={url} name={name} />
        </>
      );
    case "document":
      return <Save url={url} name={name} />;
  }
}

function Save({ url, name }: { url: string; name: string }) {
  return (
    <a class="save" href={url} download={name}>
      Save {name}
    </a>
  );
}
