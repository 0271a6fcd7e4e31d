/** The GraphQL client for queries and mutations: urql over HTTP. Subscriptions have their socket: connection.ts. */
import { authExchange } from "@urql/exchange-auth";
import { Client, fetchExchange, makeOperation, mapExchange } from "urql";

import { fetchExact, packed } from "./json/exact";
import { currentToken, onViewerChange, refreshToken, sessionState, tokenIsFresh } from "./session";

let lastWritten = "0";

/** Reads that follow show this write: they wait for the view that answers them. */
export function noteWritten(position: string | null | undefined): void {
  if (position && BigInt(position) > BigInt(lastWritten)) lastWritten = position;
}

function newClient(): Client {
  return new Client({
    url: "/graphql",
    fetch: fetchExact,
    preferGetMethod: false,
    requestPolicy: "network-only",
    fetchOptions: (): RequestInit => (lastWritten === "0" ? {} : { headers: { "Min-Position": lastWritten } }),
    exchanges: [
      authExchange(async (utilities) => ({
        addAuthToOperation: (operation) => {
          const token = currentToken();
          return token ? utilities.appendHeaders(operation, { Authorization: `Bearer ${token}` }) : operation;
        },
        willAuthError: () => sessionState().status === "signed-in" && !tokenIsFresh(),
        didAuthError: (error) =>
          sessionState().status === "signed-in" &&
          error.graphQLErrors.some(({ extensions }) => extensions["code"] === "UNAUTHENTICATED"),
        refreshAuth: refreshToken,
      })),
      mapExchange({
        onOperation: ({ kind, context, ...request }) =>
          makeOperation(kind, { ...request, variables: packed(request.variables ?? {}) }, context),
      }),
      fetchExchange,
    ],
  });
}

export let client = newClient();

onViewerChange(() => {
  client = newClient(); // nothing of one user is shown to the next
  lastWritten = "0";
});
