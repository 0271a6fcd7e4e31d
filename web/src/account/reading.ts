/** Reads of one's own record. */
import type { HistoryPage } from "../components/History";
import type { Versioned } from "../json/useEditing";
import { client } from "../session";
import { ME, OWN_HISTORY } from "./documents";

export const versioned = (user: { version: number; username: string; email: string; name: string; attributes: unknown }): Versioned => ({
  version: user.version,
  fields: { username: user.username, email: user.email, name: user.name, attributes: user.attributes },
});

export async function rereadMe(): Promise<Versioned | null> {
  const { data } = await client.query(ME);
  return data.me ? versioned(data.me) : null;
}

const page = (first: number) => async (after: string | null): Promise<HistoryPage> => {
  const history = (await client.query(OWN_HISTORY, { first, after })).data.me?.history;
  return {
    events: history?.edges.map(({ node }) => node) ?? [],
    hasNextPage: history?.pageInfo.hasNextPage ?? false,
    endCursor: history?.pageInfo.endCursor ?? null,
  };
};

export const readOwnHistory = page(20);
export const readManyOwnEvents = page(100);
