/** The newest known state of users that changed while a list is shown. */
import type { UserChange } from "@rollcall/client/react";
import { useCallback, useEffect, useRef, useState } from "react";

import type { Role } from "../gql/graphql";

export interface Row {
  id: string;
  username: string;
  email: string;
  name: string;
  role: Role;
  version: number;
  createdAt: string;
  updatedAt: string;
  attributes?: unknown;
}

export type Mark = "changed" | "deleted" | null;

const MOST_KEPT = 300;
const REDRAW_MS = 100;

export interface Overlay {
  /** A row as it is now, and what happened to it since it was read. */
  now: (row: Row) => { row: Row; mark: Mark };
  /** Users registered since the count was last cleared. */
  fresh: number;
  clearFresh: () => void;
  take: (change: UserChange) => void;
}

/** A view may lag behind the log, so a list that is read again may be older than a change: the newer one counts. */
export function useOverlay(shown: readonly Row[]): Overlay {
  const changes = useRef(new Map<string, { row: Row | null; version: number }>());
  const onPage = useRef(new Set<string>());
  onPage.current = new Set(shown.map(({ id }) => id));
  const fresh = useRef(new Set<string>());
  const extra = useRef(0);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const [, redraw] = useState(0);
  useEffect(() => () => void (timer.current && clearTimeout(timer.current)), []);

  const take = useCallback((change: UserChange) => {
    const deleted = change.type === "USER_DELETED";
    if (!deleted && !change.user) return; // it was deleted later, which another change says
    const map = changes.current;
    map.delete(change.userId);
    map.set(change.userId, { row: deleted || !change.user ? null : change.user, version: change.version });
    for (const id of map.keys()) {
      if (map.size <= MOST_KEPT) break;
      if (!onPage.current.has(id)) map.delete(id);
    }
    if (change.type === "USER_REGISTERED") {
      if (fresh.current.size < MOST_KEPT) fresh.current.add(change.userId);
      else extra.current += 1;
    } else if (deleted) fresh.current.delete(change.userId);
    timer.current ??= setTimeout(() => {
      timer.current = null;
      redraw((count) => count + 1);
    }, REDRAW_MS);
  }, []);

  const now = (row: Row): { row: Row; mark: Mark } => {
    const change = changes.current.get(row.id);
    if (!change || (change.row && change.version <= row.version)) return { row, mark: null };
    return change.row ? { row: change.row, mark: "changed" } : { row, mark: "deleted" };
  };
  const clearFresh = useCallback(() => {
    fresh.current.clear();
    extra.current = 0;
    redraw((count) => count + 1);
  }, []);
  const unseen = [...fresh.current].filter((id) => !onPage.current.has(id)).length;
  return { now, fresh: unseen + extra.current, clearFresh, take };
}
