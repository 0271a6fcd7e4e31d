/** Reads of one's own record. */
import { client } from "../client";
import type { HistoryPage } from "../components/History";
import type { Versioned } from "../json/useEditing";
import { ME, OWN_HISTORY } from "./documents";

export const versioned = (user: { version: number; username: string; email: string; name: string; attributes: unknown }): Versioned => ({
  version: user.version,
  fields: { username: user.username, email: user.email, name: user.name, attributes: user.attributes },
});

export async function rereadMe(): Promise<Versioned | null> {
  const { data, error } = await client.query(ME, {}).toPromise();
  if (error) throw error;
  return data?.me ? versioned(data.me) : null;
}

const page = (first: number) => async (after: string | null): Promise<HistoryPage> => {
  const { data, error } = await client.query(OWN_HISTORY, { first, after }).toPromise();
  if (error) throw error;
  const history = data?.me?.history;
  return {
    events: history?.edges.map(({ node }) => node) ?? [],
    hasNextPage: history?.pageInfo.hasNextPage ?? false,
    endCursor: history?.pageInfo.endCursor ?? null,
  };
};

export const readOwnHistory = page(20);
export const readManyOwnEvents = page(100);
