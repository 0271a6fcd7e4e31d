/** Where the refresh token of a session is kept, and how it is used. */
import { operationOf, type Variables } from "./documents.js";
import { TransportError, UnavailableError } from "./errors.js";
import { RefreshSessionDocument } from "./generated/operations.js";
import { linked } from "./waiting.js";

/** A session as mutations return it. */
export interface IssuedSession {
  readonly accessToken: string;
  readonly accessTokenExpiresAt: string;
  readonly refreshToken: string;
}

/** The access token of a session. */
export interface Tokens {
  readonly accessToken: string;
  /** By the clock of this machine, in milliseconds. */
  readonly expiresAt: number;
  /** By the same clock: from then on it is replaced. */
  readonly renewAt: number;
  readonly userId: string;
}

/** Keeps a refresh token: in memory, in `localStorage`, in a keychain. */
export interface TokenStore {
  /** A name by which clients share what is stored, such as the tabs of a browser; null if they do not. */
  readonly shared: string | null;
  load(): string | null | Promise<string | null>;
  save(refreshToken: string | null): void | Promise<void>;
}

/** Keeps a session in another way than by a refresh token that scripts can read. */
export interface SessionKeeper {
  readonly shared: string | null;
  /** `remember`: keep it when the browser is closed. */
  begin(session: IssuedSession, remember?: boolean): Promise<Tokens>;
  /** The next access token; null if there is no session, or it has ended. Rejects if the server cannot say. */
  renew(): Promise<Tokens | null>;
  /** End the session, at the server too. Rejects if it may still be kept. */
  end(): Promise<void>;
}

type Items = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** The session ends with the page or the process. */
export function inMemory(): TokenStore {
  let kept: string | null = null;
  return {
    shared: null,
    load: () => kept,
    save: (token) => {
      kept = token;
    },
  };
}

/**
 * In `localStorage`, for all tabs, or in `sessionStorage`, for one. Any script of the page can read it there. Clients of
 * several servers need a key each. A browser that keeps nothing throws when the storage is named: give a function that
 * names it, and the session ends with the page there.
 */
export function inStorage(storage: Items | (() => Items), key = "rollcall"): TokenStore {
  const items = unlessRefused(() => (typeof storage === "function" ? storage() : storage));
  if (!items) return inMemory();
  /** What a full storage has refused. The token that it holds is used up. */
  let refused: string | null = null;
  return {
    shared: items === unlessRefused(() => sessionStorage) ? null : key,
    load: () => refused ?? unlessRefused(() => items.getItem(key)),
    save: (token) => {
      refused = null;
      if (token === null) return items.removeItem(key);
      if (unlessRefused(() => (items.setItem(key, token), true))) return;
      refused = token;
      items.removeItem(key);
    },
  };
}

/** Null where the browser keeps nothing, or nothing more. */
function unlessRefused<Value>(use: () => Value): Value | null {
  try {
    return use();
  } catch {
    return null;
  }
}

/**
 * In a cookie that scripts cannot read. Only for pages that Rollcall's own origin serves: `/session` answers no others.
 * `remember` is what calls that sign in do not say.
 */
export function inCookie(options: { url?: string; remember?: boolean } = {}): SessionKeeper {
  const url = options.url ?? "/session";
  const call = async (method: string, body: object) => {
    const { signal, done } = linked([], { milliseconds: 10_000, reason: () => new TransportError("no answer within 10 s") });
    try {
      const response = await fetch(url, {
        method,
        credentials: "same-origin",
        headers: { "Content-Type": "application/json", "X-Rollcall-Page": "1" },
        body: JSON.stringify(body),
        signal,
      });
      const answer = response.status === 204 ? null : ((await response.json()) as Omit<IssuedSession, "refreshToken">);
      if (response.ok) return answer;
      if (response.status === 401) return null;
      const retryAfter = Number(response.headers.get("Retry-After") ?? 1);
      throw new UnavailableError([{ message: `${url} answered ${response.status}`, extensions: { code: "UNAVAILABLE", retryAfter } }]);
    } catch (error) {
      if (error instanceof UnavailableError) throw error;
      throw new TransportError("the server cannot be reached", { cause: error });
    } finally {
      done();
    }
  };
  return {
    shared: url,
    begin: async ({ refreshToken }, remember) => {
      const answer = await call("PUT", { refreshToken, remember: remember ?? options.remember ?? false });
      if (!answer) throw new TransportError("the new session has ended");
      return tokensOf(answer);
    },
    renew: async () => {
      const answer = await call("POST", {});
      return answer && tokensOf(answer);
    },
    end: async () => void (await call("DELETE", {})),
  };
}

type Send = (operation: ReturnType<typeof operationOf>, variables: Variables) => Promise<unknown>;

/** A keeper that uses the refresh token of a store. `send` sends an operation without a token and repeats it. */
export function keeperOf(store: TokenStore, send: Send): SessionKeeper {
  const ask = async (refreshToken: string): Promise<IssuedSession | null> => {
    const operation = operationOf(RefreshSessionDocument);
    const data = (await send(operation, { refreshToken })) as { refreshSession: { session: IssuedSession | null } };
    return data.refreshSession.session;
  };
  const begin = async (session: IssuedSession) => {
    await store.save(session.refreshToken);
    return tokensOf(session);
  };
  return {
    shared: store.shared,
    begin,
    renew: async () => {
      for (let used: string | null = null; ; ) {
        const token = await store.load();
        if (token === null) return null;
        // A refused token is forgotten only if no other tab has replaced it meanwhile.
        if (token === used) {
          await store.save(null);
          return null;
        }
        const session = await ask(token);
        if (session) return begin(session);
        used = token;
      }
    },
    end: async () => store.save(null),
  };
}

/** Part of a token's life after which it is replaced, and the longest time before its end. */
const EARLY = 1 / 3;
const EARLY_MS = 30_000;

/**
 * The life of a token is counted from its arrival: the clock of this machine may be wrong by hours. The claims are read
 * for that and for the user's id only; the server alone judges the token.
 */
export function tokensOf(session: Pick<IssuedSession, "accessToken" | "accessTokenExpiresAt">): Tokens {
  const now = Date.now();
  const payload = session.accessToken.split(".")[1] ?? "";
  const { sub, iat, exp } = JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/"))) as {
    sub: string;
    iat: number;
    exp: number;
  };
  const life = (exp - iat) * 1000;
  return {
    accessToken: session.accessToken,
    expiresAt: now + life,
    renewAt: now + life - Math.min(EARLY_MS, life * EARLY),
    userId: sub,
  };
}
