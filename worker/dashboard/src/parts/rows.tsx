// A long table of which only the rows in sight are in the page. All rows are of
// one height, so where a row is follows from its number.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

/** Rows beyond the edges, so that scrolling shows no gap. */
const BEYOND = 8;

interface Props<T> {
  label: string;
  columns: readonly string[];
  entries: readonly T[];
  rowHeight: number;
  keyOf: (entry: T) => string;
  /** The cells of a row: one `<div role="cell">` a column. */
  row: (entry: T) => ComponentChildren;
}

export function Rows<T>({ label, columns, entries, rowHeight, keyOf, row }: Props<T>) {
  const view = useRef<HTMLDivElement>(null);
  const [window_, setWindow] = useState({ top: 0, height: 800 });
  useLayoutEffect(() => {
    const box = view.current!;
    const look = () => setWindow({ top: box.scrollTop, height: box.clientHeight });
    const observer = new ResizeObserver(look);
    observer.observe(box);
    box.addEventListener("scroll", look, { passive: true });
    return () => {
      observer.disconnect();
      box.removeEventListener("scroll", look);
    };
  }, []);
  const first = Math.max(0, Math.floor(window_.top / rowHeight) - BEYOND);
  const last = Math.min(
    entries.length,
    Math.ceil((window_.top + window_.height) / rowHeight) + BEYOND,
  );
  return (
    <div class="rows" role="table" aria-label={label} aria-rowcount={entries.length + 1}>
      <div class="rows-head" role="rowgroup">
        <div role="row" aria-rowindex={1}>
          {columns.map((column) => (
            <div key={column} role="columnheader">
              {column}
            </div>
          ))}
        </div>
      </div>
      <div class="rows-view" role="rowgroup" ref={view} tabIndex={0} aria-label={`${label}, rows`}>
        <div role="presentation" class="rows-space" style={{ height: `${entries.length * rowHeight}px` }}>
          {entries.slice(first, last).map((entry, index) => (
            <div
              key={keyOf(entry)}
              role="row"
              aria-rowindex={first + index + 2}
              style={{ height: `${rowHeight}px`, transform: `translateY(${(first + index) * rowHeight}px)` }}
            >
              {row(entry)}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}
