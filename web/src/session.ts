/**
 * The session of this page. The access token lives in memory only. The refresh token lives in a cookie that scripts
 * cannot read: `/session` keeps and replaces it.
 */
import { useSyncExternalStore } from "react";

import type { Role } from "./gql/graphql";

export interface Viewer {
  id: string;
  username: string;
  name: string;
  email: string;
  role: Role;
  /** Of its last event: from here on its changes are followed. */
  position: string;
}

export type SessionState =
  | { status: "starting" }
  | { status: "signed-out"; reason?: string }
  | { status: "signed-in"; viewer: Viewer };

interface Tokens {
  userId: string;
  accessToken: string;
  accessTokenExpiresAt: string;
}

const PATH = "/session";
const EARLY_MS = 30_000;
/** A server that is stopped or overloaded accepts a request and does not answer it. */
const LONGEST_MS = 10_000;
const ME = "{ me { id username name email role position } }";

let state: SessionState = { status: "starting" };
let tokens: Tokens | null = null;
const listeners = new Set<() => void>();
const tabs = channel();

/** The other windows of this browser; null where it keeps nothing, and so lets windows tell each other nothing. */
function channel(): BroadcastChannel | null {
  try {
    return new BroadcastChannel("rollcall-session");
  } catch {
    return null;
  }
}

/** Windows take turns at the cookie, since each use replaces its token. Plain http and private windows have no turns. */
async function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
  if (!("locks" in navigator)) return work();
  let begun = false;
  try {
    return await navigator.locks.request("rollcall-session", { signal: AbortSignal.timeout(LONGEST_MS) }, () => {
      begun = true;
      return work();
    });
  } catch (error) {
    if (begun || !(error instanceof DOMException) || error.name !== "SecurityError") throw error;
    return work();
  }
}

/** How far this machine's clock is behind the server's. */
let behindMs = 0;

function become(next: SessionState): void {
  state = next;
  if (next.status === "signed-out") tokens = null;
  for (const listener of listeners) listener();
}

export function onSessionChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Called when another user, or nobody, is signed in. */
export function onViewerChange(listener: () => void): void {
  let signedIn: string | null = null;
  onSessionChange(() => {
    const id = state.status === "signed-in" ? state.viewer.id : null;
    if (id === signedIn) return;
    signedIn = id;
    listener();
  });
}

export const sessionState = (): SessionState => state;
export const useSession = (): SessionState => useSyncExternalStore(onSessionChange, sessionState);

/** The signed-in user. Only for pages behind the sign-in. */
export function useViewer(): Viewer {
  const session = useSession();
  if (session.status !== "signed-in") throw new Error("no user is signed in");
  return session.viewer;
}

async function call(method: "PUT" | "POST" | "DELETE", body: object): Promise<Response> {
  return fetch(PATH, {
    method,
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", "X-Rollcall-Page": "1" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(LONGEST_MS),
  });
}

/** The server cannot answer now; the session may still be valid. */
export class ServerAway extends Error {}

async function take(response: Response): Promise<boolean> {
  if (response.status === 401) {
    await response.text(); // an unread body would keep the connection
    return false;
  }
  if (!response.ok) throw new ServerAway(`the server answered ${response.status}`);
  tokens = (await response.json()) as Tokens;
  behindMs = (Date.parse(response.headers.get("Date") ?? "") || Date.now()) - Date.now();
  return true;
}

async function readViewer(): Promise<Viewer | null> {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${tokens?.accessToken}` },
    body: JSON.stringify({ query: ME }),
    signal: AbortSignal.timeout(LONGEST_MS),
  });
  if (!response.ok) throw new ServerAway(`the server answered ${response.status}`);
  const answer = (await response.json()) as { data?: { me: Viewer | null } };
  return answer.data?.me ?? null;
}

async function enter(): Promise<void> {
  const viewer = await readViewer();
  become(viewer ? { status: "signed-in", viewer } : { status: "signed-out" });
}

/** Take up the session of the cookie, if there is one. Asks again while the server is away. */
export async function startSession(): Promise<void> {
  for (let pause = 500; ; pause = Math.min(pause * 2, 5_000)) {
    try {
      if (await take(await call("POST", {}))) await enter();
      else become({ status: "signed-out" });
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

/** Keep the refresh token that a mutation has returned, and be signed in. */
export async function adoptSession(refreshToken: string, remember: boolean): Promise<void> {
  if (!(await take(await call("PUT", { refreshToken, remember })))) {
    become({ status: "signed-out" });
    return;
  }
  await enter();
  tabs?.postMessage("signed-in");
}

/** Throws if the cookie may still be there: whoever opens this browser next would be signed in. */
export async function signOut(): Promise<void> {
  const response = await call("DELETE", {}).catch(() => null);
  if (!response?.ok) {
    throw new ServerAway("You are still signed in: the server cannot be reached. Sign out again before you leave.");
  }
  become({ status: "signed-out" });
  tabs?.postMessage("signed-out");
}

/** The session has ended elsewhere. */
export function sessionEnded(reason: string): void {
  if (state.status === "signed-in") become({ status: "signed-out", reason });
}

export function viewerChanged(changes: Partial<Viewer>): void {
  if (state.status === "signed-in") become({ status: "signed-in", viewer: { ...state.viewer, ...changes } });
}

export const tokenIsFresh = (): boolean =>
  tokens !== null && Date.parse(tokens.accessTokenExpiresAt) - (Date.now() + behindMs) > EARLY_MS;

let refreshing: Promise<void> | null = null;

/** A new access token from the cookie. */
export function refreshToken(): Promise<void> {
  refreshing ??= (async () => {
    try {
      const renewed = await inTurn(async () => take(await call("POST", {})));
      if (!renewed) sessionEnded("Your session has ended. Sign in again.");
      else if (state.status === "signed-in" && tokens?.userId !== state.viewer.id) {
        // Another window has signed somebody else in. What this one has under way must not run as that user.
        tokens = null;
        become({ status: "starting" });
      }
    } finally {
      refreshing = null;
    }
  })();
  return refreshing;
}

export async function accessToken(): Promise<string | null> {
  if (state.status === "signed-in" && !tokenIsFresh()) await refreshToken();
  return tokens?.accessToken ?? null;
}

export const currentToken = (): string | null => tokens?.accessToken ?? null;

if (tabs) {
  tabs.onmessage = ({ data }) => {
    if (data === "signed-out") sessionEnded("You have signed out in another window.");
    else if (state.status === "signed-out") void startSession();
    else if (state.status === "signed-in") void refreshToken().catch(() => undefined); // it may be somebody else
  };
}
