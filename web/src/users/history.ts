/** All events of a user, read page by page; new ones are added at the end. */
import { useCallback, useEffect, useRef, useState } from "react";

import type { UserHistoryQuery } from "../gql/graphql";
import { client } from "../session";
import { HISTORY } from "./documents";

export type HistoryEvent = NonNullable<UserHistoryQuery["user"]>["history"]["edges"][number]["node"];

/** Events that are read without being asked for. */
const AT_ONCE = 1_000;

export interface History {
  /** Oldest first. */
  events: readonly HistoryEvent[];
  more: boolean;
  loading: boolean;
  error: Error | undefined;
  /** Read what has come since, or the next thousand. */
  read: () => void;
}

export function useHistory(id: string): History {
  const [state, become] = useState<Omit<History, "read">>({ events: [], more: false, loading: true, error: undefined });
  const events = useRef<HistoryEvent[]>([]);
  const running = useRef(false);
  const wanted = useRef(false);
  const current = useRef(true);

  const read = useCallback(async () => {
    wanted.current = true;
    if (running.current) return;
    running.current = true;
    while (wanted.current && current.current) {
      wanted.current = false;
      let more = true;
      let error: Error | undefined;
      for (let found = 0; more && !error && found < AT_ONCE && current.current; ) {
        const after = events.current.at(-1)?.position ?? null;
        try {
          const page = (await client.query(HISTORY, { id, after })).data.user?.history;
          more = page?.pageInfo.hasNextPage ?? false;
          events.current = [...events.current, ...(page?.edges.map(({ node }) => node) ?? [])];
          found += page?.edges.length ?? 0;
        } catch (failure) {
          [more, error] = [false, failure as Error];
        }
      }
      if (current.current) become({ events: events.current, more, loading: false, error });
    }
    running.current = false;
  }, [id]);

  useEffect(() => {
    current.current = true;
    void read();
    return () => {
      current.current = false;
    };
  }, [read]);
  return { ...state, read: () => void read() };
}
