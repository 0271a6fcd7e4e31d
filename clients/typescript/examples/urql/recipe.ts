/** urql with its normalised cache through Rollcall's client, with a list of users that follows the log. */
import { type Client, OperationError } from "@rollcall/client";
import { CombinedError, type Exchange, gql, type Operation, type OperationResult, Client as Urql } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import { filter, make, mergeMap, pipe, takeUntil } from "wonka";

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

/** Tokens, retries, idempotency keys, `Min-Position` and resuming are Rollcall's client's; the cache is urql's. */
export const rollcallExchange = (client: Client): Exchange => () => (operations) =>
  pipe(
    operations,
    filter(({ kind }) => kind !== "teardown"),
    mergeMap((operation) =>
      pipe(
        resultsOf(client, operation),
        takeUntil(pipe(operations, filter(({ kind, key }) => kind === "teardown" && key === operation.key))),
      ),
    ),
  );

const resultsOf = (client: Client, operation: Operation) =>
  make<OperationResult>(({ next, complete }) => {
    const stop = new AbortController();
    const options = { signal: stop.signal };
    const result = (data: unknown, error?: CombinedError): OperationResult =>
      ({ operation, data, ...(error && { error }), stale: false, hasNext: operation.kind === "subscription" });
    const run = async () => {
      const { query, variables } = operation;
      if (operation.kind === "subscription") {
        for await (const data of client.subscribe<unknown, never>(query, variables as never, options)) next(result(data));
      } else next(result((await client.execute<unknown, never>(query, variables as never, options)).data));
    };
    run()
      .catch((error: Error) => {
        if (stop.signal.aborted) return;
        const given = error instanceof OperationError ? { graphQLErrors: [...error.errors] } : { networkError: error };
        next(result(error instanceof OperationError ? error.data : undefined, new CombinedError(given)));
      })
      .finally(complete);
    return () => stop.abort();
  });

/** A user is `User:ID` in the cache: a change that has the user merges itself. */
export const createUrql = (client: Client): Urql =>
  new Urql({
    url: "rollcall", // not used: the last exchange sends
    preferGetMethod: false,
    exchanges: [
      cacheExchange({
        keys: { UserChange: () => null, UserConnection: () => null, UserEdge: () => null, UserPayload: () => null, UserError: () => null },
        updates: {
          Subscription: {
            userChanges: ({ userChanges }, _, cache) => {
              const { type, userId } = userChanges as { type: string; userId: string };
              if (type === "USER_DELETED") cache.invalidate({ __typename: "User", id: userId });
              if (type !== "USER_REGISTERED" && type !== "USER_DELETED") return;
              for (const { fieldName, fieldKey } of cache.inspectFields("Query")) {
                if (fieldName === "users") cache.invalidate("Query", fieldKey); // it is read again
              }
            },
          },
        },
      }),
      rollcallExchange(client),
    ],
  });

/**
 * Keep what the cache holds of users as the log has it. Call it with `await client.here()` before the first query: then
 * nothing happens in between.
 */
export function followUsers(urql: Urql, after: string | null): () => void {
  const { unsubscribe } = urql.subscription(USER_CHANGES, { after }).subscribe(() => undefined);
  return unsubscribe;
}
