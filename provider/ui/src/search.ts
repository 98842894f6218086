// Tab, filters and the open worker are in the page's address: a reload and "back" keep them, and links can be shared.
import { useCallback, useState } from "react";
import { useSearchParams } from "react-router-dom";

export type Change = Record<string, string | null>;

export function useSearch(): [(name: string) => string, (change: Change, replace?: boolean) => void] {
  const [params, setParams] = useSearchParams();
  const get = (name: string) => params.get(name) ?? "";
  const set = useCallback(
    (change: Change, replace = true) =>
      setParams(
        (before) => {
          const next = new URLSearchParams(before);
          for (const [name, value] of Object.entries(change)) {
            if (value === null || value === "") next.delete(name);
            else next.set(name, value);
          }
          return next;
        },
        { replace },
      ),
    [setParams],
  );
  return [get, set];
}

/** Pages of a list with filters: the cursors of the pages gone through; another filter begins with the first page. */
export function usePages(set: (change: Change) => void) {
  const [cursors, setCursors] = useState<string[]>([]);
  const narrow = useCallback(
    (change: Change) => {
      setCursors([]);
      set(change);
    },
    [set],
  );
  return { cursors, setCursors, narrow };
}
