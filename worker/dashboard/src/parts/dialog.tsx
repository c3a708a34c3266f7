// Dialogs: the browser's own `<dialog>`, which keeps the focus inside and gives
// it back afterwards.
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Problem } from "../api/client";
import { CloseIcon } from "./icons";
import { Trouble } from "./notice";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, onClose, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useLayoutEffect(() => {
    const shown = dialog.current!;
    const opener = document.activeElement;
    shown.showModal();
    return () => {
      shown.close();
      // By the time of the closing it may be out of the page, and then it gives nothing back.
      if (opener instanceof HTMLElement) opener.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === dialog.current) onClose();
      }}
    >
      <div class="dialog">
        <header>
          <h2 id={titleId}>{title}</h2>
          <button type="button" class="plain" aria-label="Close" onClick={onClose}>
            <CloseIcon />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

interface FormProps {
  title: string;
  /** What the button says. */
  action: string;
  isDangerous?: boolean;
  onClose: () => void;
  /** Does it; the dialog stays open and shows the problem if it fails. */
  onSubmit: (fields: FormData) => Promise<unknown>;
  children: ComponentChildren;
}

/** A dialog with fields, or with a question. */
export function FormDialog(props: FormProps) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await props.onSubmit(new FormData(event.currentTarget as HTMLFormElement));
    } catch (error) {
      setProblem(Problem.of(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <div class="dialog-body">
          {props.children}
          {problem && <Trouble problem={problem} />}
        </div>
        <footer>
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" class={props.isDangerous ? "danger" : "primary"} disabled={isBusy}>
            {isBusy ? "One moment …" : props.action}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** A secret that is shown once. */
export function SecretDialog(props: { title: string; about: string; secret: string; onClose: () => void }) {
  const [copied, setCopied] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const copy = async () => {
    field.current?.select();
    // The clipboard is there for pages that came by TLS or from this machine.
    await navigator.clipboard?.writeText(props.secret);
    setCopied(true);
  };
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <div class="dialog-body">
        <p>{props.about}</p>
        <div class="copy">
          <input ref={field} readOnly aria-label={props.title} value={props.secret} class="mono" />
          <button type="button" onClick={() => void copy()}>
            {copied ? "Copied" : "Copy"}
          </button>
        </div>
        <p class="muted">Nothing shows it again.</p>
      </div>
      <footer>
        <button type="button" class="primary" onClick={props.onClose}>
          I have kept it
        </button>
      </footer>
    </Dialog>
  );
}
