/** Documents of one's own, sent by their hashes to a server that knows them (`ROLLCALL_TRUSTED_DOCUMENTS`). */
import { createClient } from "@rollcall/client";
import { LoginDocument } from "@rollcall/client/operations";

import { graphql } from "./gql/gql.js";

const NAMES = graphql(`query Names($first: Int!) { users(first: $first) { edges { node { name role } } } }`);
const RENAMES = graphql(`subscription Renames($after: Position) { userChanges(after: $after) { position user { name } } }`);

export async function open(url: string, login: string, password: string) {
  const client = createClient({ url, trusted: true });
  const outcome = await client.mutate(LoginDocument, { input: { login, password } });
  if (!outcome.ok) throw new Error(outcome.errors[0]?.message);
  return client;
}

export async function names(client: Awaited<ReturnType<typeof open>>): Promise<string[]> {
  const { data } = await client.query(NAMES, { first: 10 });
  return data.users.edges.map(({ node }) => `${node.name} (${node.role})`);
}

export async function nextName(client: Awaited<ReturnType<typeof open>>, after: string): Promise<string | undefined> {
  for await (const { userChanges } of client.subscribe(RENAMES, { after })) return userChanges.user?.name;
  return undefined;
}
