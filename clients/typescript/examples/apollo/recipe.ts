/** Apollo Client through Rollcall's client, with a list of users that follows the log. */
import { ApolloClient, ApolloLink, gql, InMemoryCache, Observable, type OperationVariables, type Reference } from "@apollo/client";
import { type Client, OperationError } from "@rollcall/client";

export const USERS = gql`
  query Users($first: Int) { users(first: $first) { edges { node { id name version } } } }
`;
export const RENAME = gql`
  mutation Rename($input: UpdateUserInput!) { updateUser(input: $input) { user { id name version } position errors { code message field } } }
`;
const USER_CHANGES = gql`
  subscription UserChanges($after: Position) {
    userChanges(after: $after) { position type userId user { id name version } }
  }
`;

/** Tokens, retries, idempotency keys, `Min-Position` and resuming are Rollcall's client's; the cache is Apollo's. */
export const rollcallLink = (client: Client): ApolloLink =>
  new ApolloLink(({ query, variables, operationType }) =>
    new Observable((observer) => {
      const stop = new AbortController();
      const options = { signal: stop.signal };
      const run = async () => {
        if (operationType === "subscription") {
          for await (const data of client.subscribe<Record<string, unknown>, OperationVariables>(query, variables, options)) observer.next({ data });
        } else {
          const { data } = await client.execute<Record<string, unknown>, OperationVariables>(query, variables, options);
          observer.next({ data });
        }
        observer.complete();
      };
      run().catch((error: unknown) => {
        if (stop.signal.aborted) return;
        if (!(error instanceof OperationError)) return observer.error(error);
        observer.next({ data: error.data as null, errors: error.errors as never });
        observer.complete();
      });
      return () => stop.abort();
    }),
  );

export const createApollo = (client: Client): ApolloClient =>
  new ApolloClient({ link: rollcallLink(client), cache: new InMemoryCache() });

/**
 * Keep what the cache holds of users as the log has it; a user is `User:ID` there, so a change merges itself. Call it
 * with `await client.here()` before the first query: then nothing happens in between.
 */
export function followUsers(apollo: ApolloClient, after: string | null): () => void {
  const subscription = apollo.subscribe({ query: USER_CHANGES, variables: { after } }).subscribe(({ data }) => {
    const change = (data as { userChanges: { type: string; userId: string } }).userChanges;
    if (change.type === "USER_REGISTERED") void apollo.refetchQueries({ include: [USERS] });
    if (change.type !== "USER_DELETED") return;
    const { cache } = apollo;
    const id = cache.identify({ __typename: "User", id: change.userId });
    cache.modify({
      fields: {
        users: (list, { readField }) => {
          const { edges } = list as { edges: { node: Reference }[] };
          return { ...list, edges: edges.filter(({ node }) => readField("id", node) !== change.userId) };
        },
      },
    });
    if (id) cache.evict({ id });
    cache.gc();
  });
  return () => subscription.unsubscribe();
}
