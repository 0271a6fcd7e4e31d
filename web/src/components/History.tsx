/** Events as a timeline, oldest first as the log has them, with "show more". */
import type { ReactNode } from "react";
import { useCallback, useEffect, useRef, useState } from "react";

import type { UserEventType } from "../gql/graphql";
import { sentence } from "../text";
import { Badge, Empty, Failure, Loading, Moment } from "./ui";

export interface HistoryEvent {
  id: string;
  position: string;
  type: UserEventType;
  version: number;
  dataId?: string | null;
  changedFields: readonly string[];
  actorId?: string | null;
  recordedAt: string;
}

export interface HistoryPage {
  events: readonly HistoryEvent[];
  hasNextPage: boolean;
  endCursor: string | null;
}

export interface Following {
  events: readonly HistoryEvent[];
  hasMore: boolean;
  loading: boolean;
  error: Error | undefined;
  /** The next page. After a live change: what was added. */
  more: () => void;
}

/** Pages of a history. `read` asks for the page after a cursor; it must keep its identity. */
export function useHistory(read: (after: string | null) => Promise<HistoryPage>): Following {
  const [state, become] = useState<HistoryPage & { loading: boolean; error?: Error }>({
    events: [],
    hasNextPage: false,
    endCursor: null,
    loading: true,
  });
  const cursor = useRef<string | null>(null);
  const turn = useRef(Promise.resolve());
  const current = useRef(read);
  const more = useCallback(() => {
    // One page after the other: two at once would add the same events twice.
    turn.current = turn.current.then(async () => {
      if (current.current !== read) return;
      become((before) => ({ ...before, loading: true }));
      try {
        const page = await read(cursor.current);
        if (current.current !== read) return;
        cursor.current = page.endCursor ?? cursor.current;
        become(({ events }) => {
          const known = new Set(events.map(({ id }) => id));
          return { ...page, events: [...events, ...page.events.filter(({ id }) => !known.has(id))], loading: false };
        });
      } catch (error) {
        become((before) => ({ ...before, loading: false, error: error instanceof Error ? error : new Error(String(error)) }));
      }
    });
  }, [read]);
  useEffect(() => {
    current.current = read;
    cursor.current = null;
    become({ events: [], hasNextPage: false, endCursor: null, loading: true });
    more();
  }, [read, more]);
  return { events: state.events, hasMore: state.hasNextPage, loading: state.loading, error: state.error, more };
}

export function Timeline(props: { events: readonly HistoryEvent[]; viewerId: string; about?: (event: HistoryEvent) => ReactNode }) {
  return (
    <ol className="timeline">
      {props.events.map((event) => (
        <li key={event.id}>
          <strong>{sentence(event.type)}</strong> {props.about?.(event)} <Badge>version {event.version}</Badge>
          <div className="quiet wrap">
            <Moment at={event.recordedAt} />,{" "}
            {event.actorId === props.viewerId ? "by you" : event.actorId ? "by another user" : "without a sign-in"}
            {event.changedFields.length > 0 && <>. Set: {event.changedFields.join(", ")}</>}
          </div>
        </li>
      ))}
    </ol>
  );
}

export function History(props: { history: Following; viewerId: string; about?: (event: HistoryEvent) => ReactNode }) {
  const { events, hasMore, loading, error, more } = props.history;
  return (
    <div className="stack">
      {events.length > 0 && <Timeline events={events} viewerId={props.viewerId} about={props.about} />}
      {error && <Failure error={error} again={more} />}
      {loading && !events.length && <Loading />}
      {!loading && !error && !events.length && <Empty>Nothing has happened yet. Changes show here.</Empty>}
      {hasMore && (
        <div>
          <button onClick={more} disabled={loading}>
            {loading ? "Loading…" : "Show more"}
          </button>
        </div>
      )}
    </div>
  );
}
