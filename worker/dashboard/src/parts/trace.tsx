// Links to where traces are shown, if the worker was told where that is.
import { traceUrls } from "../state/cluster";
import { TraceIcon } from "./icons";

/** The address that a template gives: a page of the web, or nothing. */
function address(template: string | null, place: string, id: string): string | null {
  if (!template || !/^https?:\/\//i.test(template)) return null;
  return template.replaceAll(place, encodeURIComponent(id));
}

/** What came of one request. `of` says what it is of, for who does not see the place. */
export function TraceLink({ id, of }: { id: string | null | undefined; of: string }) {
  const href = id ? address(traceUrls.value.trace, "{trace}", id) : null;
  if (!href) return null;
  return (
    <a class="trace" href={href} target="_blank" rel="noopener noreferrer" title="Trace">
      <TraceIcon />
      <span class="hidden">Trace of {of}, in a new window</span>
    </a>
  );
}

/** What happened to an account lately. */
export function AccountTraces({ id }: { id: string }) {
  const href = address(traceUrls.value.account, "{account}", id);
  if (!href) return null;
  return (
    <a class="button" href={href} target="_blank" rel="noopener noreferrer">
      <TraceIcon /> Traces<span class="hidden"> in a new window</span>
    </a>
  );
}
