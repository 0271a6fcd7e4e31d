/** The GraphQL client: urql over HTTP for queries and mutations, graphql-ws for subscriptions. */
import { authExchange } from "@urql/exchange-auth";
import { createClient as createSocket } from "graphql-ws";
import { Client, fetchExchange, subscriptionExchange } from "urql";
import { useSyncExternalStore } from "react";

import { accessToken, currentToken, onSessionChange, refreshToken, sessionState, tokenIsFresh } from "./session";

const SESSION_ENDED = 4403;
const LONGEST_PAUSE_MS = 5_000;

let lastWritten = "0";

/** Reads that follow show this write: they wait for the view that answers them. */
export function noteWritten(position: string | null | undefined): void {
  if (position && BigInt(position) > BigInt(lastWritten)) lastWritten = position;
}

export type Connection = "connected" | "connecting" | "lost";
let connection: Connection = "connecting";
const watchers = new Set<() => void>();

function connectionIs(next: Connection): void {
  if (connection === next) return;
  connection = next;
  for (const watcher of watchers) watcher();
}

export const useConnection = (): Connection =>
  useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    () => connection,
  );

export const socket = createSocket({
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/graphql`,
  lazy: true,
  lazyCloseTimeout: 2_000,
  keepAlive: 10_000,
  retryAttempts: Number.POSITIVE_INFINITY,
  shouldRetry: () => sessionState().status === "signed-in",
  retryWait: async (retries) => {
    const pause = Math.min(250 * 2 ** retries, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2);
    await new Promise((resolve) => setTimeout(resolve, pause));
  },
  connectionParams: async () => ({ authorization: `Bearer ${await accessToken()}` }),
  on: {
    connected: () => connectionIs("connected"),
    closed: (event) => {
      const { code } = event as CloseEvent;
      if (code === SESSION_ENDED) void refreshToken().catch(() => connectionIs("lost"));
      else if (code !== 1000) connectionIs("lost");
    },
  },
});

function newClient(): Client {
  return new Client({
    url: "/graphql",
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
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: (request) => ({
          subscribe: (sink) => ({
            unsubscribe: socket.subscribe({ ...request, query: request.query ?? "" }, sink),
          }),
        }),
      }),
    ],
  });
}

export let client = newClient();

let signedIn: string | null = null;
onSessionChange(() => {
  const session = sessionState();
  const id = session.status === "signed-in" ? session.viewer.id : null;
  if (id === signedIn) return;
  signedIn = id;
  client = newClient(); // nothing of one user is shown to the next
  lastWritten = "0";
  socket.terminate();
});
