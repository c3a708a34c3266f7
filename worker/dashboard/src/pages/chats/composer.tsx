// Where one writes: a text, or a file with a caption.
import { useRef, useState } from "preact/hooks";
import { Problem, ask, idempotencyKey, send } from "../../api/client";
import type { Thread } from "../../api/types";
import { AttachIcon, CloseIcon, SendIcon } from "../../parts/icons";
import { Trouble } from "../../parts/notice";
import { addressOf, bytes, kindOf, threadName } from "./names";

interface Props {
  account: string;
  thread: Thread;
  onSent: () => void;
}

async function upload(file: File): Promise<string> {
  const answer = await ask("/v1/media", {
    method: "POST",
    headers: { "content-type": file.type || "application/octet-stream" },
    body: file,
  });
  return (await answer.json()).mediaId;
}

export function Composer({ account, thread, onSent }: Props) {
  const [text, setText] = useState("");
  const [file, setFile] = useState<File | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isBusy, setBusy] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  // The same message has the same key, however often it is tried.
  const key = useRef(idempotencyKey());
  const submit = async () => {
    if (isBusy || (!text.trim() && !file)) return;
    setBusy(true);
    setProblem(null);
    try {
      const what = file
        ? {
            media: {
              mediaId: await upload(file),
              kind: kindOf(file.type),
              fileName: file.name,
              ...(text.trim() ? { caption: text.trim() } : {}),
            },
          }
        : { text };
      const body = { to: addressOf(thread), ...what };
      await send("POST", `/v1/accounts/${account}/messages`, body, { "idempotency-key": key.current });
      key.current = idempotencyKey();
      setText("");
      setFile(null);
      onSent();
    } catch (error) {
      setProblem(Problem.of(error));
      // An upload is another file each time, which the same key would refuse.
      if (file) key.current = idempotencyKey();
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {problem && <Trouble problem={problem} />}
      {file && (
        <p class="picked">
          <span class="clip">
            {file.name}, {bytes(file.size)}
          </span>
          <button type="button" class="plain" aria-label="Take the file away" onClick={() => setFile(null)}>
            <CloseIcon />
          </button>
        </p>
      )}
      <div class="composer-line">
        <button type="button" class="plain" aria-label="Attach a file" onClick={() => picker.current?.click()}>
          <AttachIcon />
        </button>
        <input
          ref={picker}
          type="file"
          hidden
          onChange={(event) => {
            setFile(event.currentTarget.files?.[0] ?? null);
            event.currentTarget.value = "";
          }}
        />
        <textarea
          rows={1}
          aria-label={`Message to ${threadName(thread)}`}
          placeholder={file ? "Caption" : "Message"}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            void submit();
          }}
        />
        <button type="submit" class="primary" aria-label="Send" disabled={isBusy || (!text.trim() && !file)}>
          <SendIcon />
        </button>
      </div>
    </form>
  );
}
