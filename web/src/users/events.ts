/** Pages of the audit log, newest first. The API reads oldest first, after a position. */
import type { EventsQuery, UserEventType } from "../gql/graphql";
import { client } from "../session";
import { EVENTS } from "./documents";

export type AuditEvent = EventsQuery["events"]["edges"][number]["node"];

export interface EventFilter {
  userId?: string;
  types?: UserEventType[];
}

export interface EventPage {
  /** Newest first. */
  events: AuditEvent[];
  older: boolean;
  newer: boolean;
}

const MOST = 100;
const GROWTH = 16n;

async function read(filter: EventFilter, first: number, after: bigint): Promise<{ events: AuditEvent[]; more: boolean }> {
  const { data } = await client.query(EVENTS, { ...filter, first, after: after.toString() });
  return { events: data.events.edges.map(({ node }) => node), more: data.events.pageInfo.hasNextPage };
}

/** The first events after a position. */
export async function eventsAfter(filter: EventFilter, size: number, after: bigint): Promise<EventPage> {
  const { events, more } = await read(filter, size, after);
  return { events: events.reverse(), older: after > 0n && events.length > 0, newer: more };
}

/**
 * The last events before a position. Without a filter positions are dense, so the first range holds exactly one page.
 * With one, the range grows until it holds a page or begins with the log; of a range only the end is kept.
 */
export async function eventsBefore(filter: EventFilter, size: number, before: bigint, newer: boolean): Promise<EventPage> {
  for (let range = BigInt(size); ; range *= GROWTH) {
    const start = before - 1n - range > 0n ? before - 1n - range : 0n;
    let kept: AuditEvent[] = [];
    let found = 0;
    for (let after = start, more = true; more; ) {
      const page = await read(filter, found ? MOST : size, after);
      const inside = page.events.filter(({ position }) => BigInt(position) < before);
      found += inside.length;
      kept = [...kept, ...inside].slice(-size);
      after = BigInt(page.events.at(-1)?.position ?? after);
      more = page.more && after < before - 1n;
    }
    if (found >= size || start === 0n) {
      return { events: kept.reverse(), older: start > 0n || found > size, newer };
    }
  }
}
