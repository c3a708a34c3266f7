// Fields of forms, each with its label and a hint.
import { useId } from "preact/hooks";

interface Props {
  label: string;
  name: string;
  hint?: string;
  value?: string;
  placeholder?: string;
  /** Which keys a phone shows. */
  inputMode?: "tel" | "url";
  required?: boolean;
  maxLength?: number;
  autoFocus?: boolean;
  autoComplete?: string;
}

export function Field({ label, hint, value, ...rest }: Props) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>
        {label}
        {!rest.required && <span class="muted"> (optional)</span>}
      </label>
      <input
        id={id}
        defaultValue={value ?? ""}
        aria-describedby={hint ? `${id}-hint` : undefined}
        autoComplete="off"
        {...rest}
      />
      {hint && (
        <p id={`${id}-hint`} class="hint">
          {hint}
        </p>
      )}
    </div>
  );
}

/** What stands in a form's field, without spaces around it; undefined if nothing does. */
export function textOf(fields: FormData, name: string): string | undefined {
  const value = fields.get(name);
  const text = typeof value === "string" ? value.trim() : "";
  return text === "" ? undefined : text;
}
