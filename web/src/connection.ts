/**
 * The one WebSocket of this page, and its subscriptions.
 *
 * It heals for as long as a user is signed in, whatever has ended it. graphql-ws alone does not: after close codes such
 * as 4400, 4401, 4500 or 1011 it gives its subscriptions up, it waits without limit for a socket to open and to be
 * acknowledged, and it takes the late close of a former socket for that of the present one. So each attempt is a client
 * of its own that never retries, and what outlives an attempt is kept here.
 */
import { type Client, createClient } from "graphql-ws";
import { useSyncExternalStore } from "react";

import { ExactSocket } from "./json/exact";
import { accessToken, onViewerChange, refreshToken, sessionState } from "./session";

const SESSION_ENDED = 4403;
/** For an attempt, from its beginning to `connection_ack`. */
const ATTEMPT_MS = 8_000;
const PING_MS = 10_000;
const PONG_MS = 5_000;
const LONGEST_PAUSE_MS = 5_000;
/** A subscription that the server refuses costs it as much as one that it serves. */
const LONGEST_REFUSED_PAUSE_MS = 30_000;
/** The socket of a page without subscriptions is closed after this time: the next page will need it. */
const IDLE_MS = 2_000;

const pauseAfter = (failures: number, longest = LONGEST_PAUSE_MS): number =>
  Math.min(250 * 2 ** failures, longest) * (0.5 + Math.random() / 2);

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

/** An error of a subscription, as the server sends it. */
export interface Refusal {
  message: string;
  extensions?: Readonly<Record<string, unknown>> | undefined;
}

export interface Subscription {
  /** Read whenever the subscription starts: its variables may have moved since. */
  payload: { query: string; variables: Record<string, unknown> };
  next: (data: unknown) => void;
  /** The subscription starts anew, since the connection was lost or the server had ended it, or late, since there was
   * none yet: what was read before may be old. */
  again?: (refusals: readonly Refusal[]) => void;
}

interface Running {
  subscription: Subscription;
  /** It was started before, or had to wait for the connection. */
  missed: boolean;
  refused: number;
  stop: () => void;
}

const running = new Set<Running>();
/** The attempt that is under way, or has succeeded. */
let live: Client | null = null;
/** The server has acknowledged it. */
let open = false;
let failures = 0;
let waiting: ReturnType<typeof setTimeout> | undefined;
let idle: ReturnType<typeof setTimeout> | undefined;

/** Subscribe until the function that is returned is called. */
export function subscribe(subscription: Subscription): () => void {
  const one: Running = { subscription, missed: !open, refused: 0, stop: () => undefined };
  running.add(one);
  clearTimeout(idle);
  if (live && open) start(live, one);
  else if (waiting === undefined) connect();
  return () => {
    running.delete(one);
    one.stop();
    if (!running.size) idle = setTimeout(drop, IDLE_MS);
  };
}

function connect(): void {
  clearTimeout(waiting);
  waiting = undefined;
  if (live || !running.size || sessionState().status !== "signed-in") return;
  if (!("WebSocket" in globalThis)) {
    connectionIs("lost"); // the pages show what they read, without what changes
    return;
  }
  let limit: ReturnType<typeof setTimeout> | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let acknowledged = Number.POSITIVE_INFINITY;
  const ended = (code?: number) => {
    clearTimeout(limit);
    clearTimeout(silence);
    if (live !== client) return; // it has been dropped, or has ended already
    live = null;
    open = false;
    // One that is refused as soon as it is acknowledged has not succeeded.
    failures = performance.now() - acknowledged > LONGEST_PAUSE_MS ? 0 : failures + 1;
    if (code === SESSION_ENDED) void refreshToken().catch(() => connectionIs("lost")).finally(connectLater);
    else {
      connectionIs("lost");
      connectLater();
    }
  };
  const client = createClient({
    url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/graphql`,
    webSocketImpl: ExactSocket,
    lazy: false,
    onNonLazyError: () => undefined, // `error` and `closed` say it too
    retryAttempts: 0,
    keepAlive: PING_MS,
    connectionParams: async () => ({ authorization: `Bearer ${await accessToken()}` }),
    on: {
      connected: () => {
        if (live !== client) return;
        clearTimeout(limit);
        acknowledged = performance.now();
        open = true;
        connectionIs("connected");
        for (const one of running) start(client, one);
      },
      ping: (received) => {
        if (!received) silence = setTimeout(() => client.terminate(), PONG_MS);
      },
      pong: (received) => {
        if (received) clearTimeout(silence);
      },
      error: () => ended(), // the browser has no socket, or there is no access token now
      closed: (event) => ended((event as CloseEvent).code),
    },
  });
  live = client;
  limit = setTimeout(() => client.terminate(), ATTEMPT_MS);
}

function connectLater(): void {
  clearTimeout(waiting);
  waiting = setTimeout(connect, pauseAfter(failures));
}

function start(client: Client, one: Running, refusals: readonly Refusal[] = []): void {
  if (live !== client || !running.has(one)) return;
  const { subscription } = one;
  if (one.missed) subscription.again?.(refusals);
  one.missed = true;
  const startAgain = (found: readonly Refusal[]) => {
    if (live !== client) return; // the next connection starts it
    const pause = setTimeout(() => start(client, one, found), pauseAfter(one.refused, LONGEST_REFUSED_PAUSE_MS));
    one.refused += 1;
    one.stop = () => clearTimeout(pause);
  };
  one.stop = client.subscribe<unknown>(subscription.payload, {
    next: ({ data }) => {
      if (live !== client || !running.has(one) || data == null) return;
      one.refused = 0;
      subscription.next(data);
    },
    error: (found) => startAgain(Array.isArray(found) ? (found as Refusal[]) : []),
    complete: () => running.has(one) && startAgain([]),
  });
}

/** Close the socket. Only a later subscription opens another. */
function drop(): void {
  clearTimeout(waiting);
  waiting = undefined;
  failures = 0;
  const client = live;
  live = null;
  open = false;
  client?.terminate();
  connectionIs("connecting");
}

onViewerChange(drop); // nothing of one user comes to the next

function connectNow(): void {
  if (waiting !== undefined && document.visibilityState === "visible") connect();
}
addEventListener("online", connectNow);
document.addEventListener("visibilitychange", connectNow);
