/** The client: queries, mutations and subscriptions of one user at one server. */
import { type AnyDocument, type Document, operationOf, type Operation, type Variables, withKeys } from "./documents.js";
import { ClosedError, SessionNotKeptError, signedOut, UnauthenticatedError } from "./errors.js";
import { HereDocument, LogoutDocument } from "./generated/operations.js";
import { type Answer, type Exact, type Http, pauseBefore, post } from "./http.js";
import { inMemory, type IssuedSession, keeperOf, type SessionKeeper, type TokenStore } from "./keepers.js";
import { type Outcome, outcomeOf } from "./outcomes.js";
import { Session } from "./session.js";
import { canResume, type Connection, isAfter, type Place, startingAfter, Subscriptions } from "./subscriptions.js";
import { linked, pause, unless } from "./waiting.js";

export interface ClientOptions {
  /** Of GraphQL: `https://rollcall.example.com/graphql`; in a browser also a path of the page's origin. */
  url: string;
  /** Where the session is kept. In memory by default. */
  session?: TokenStore | SessionKeeper;
  /** How often a call is repeated that has failed for a reason that passes. 4 by default. */
  retries?: number;
  /** Sent with each request over HTTP. */
  headers?: Readonly<Record<string, string>>;
  /** Send the hash of a document that has one instead of its text: for servers that accept trusted documents only. */
  trusted?: boolean;
  /** By default those of the platform. `WebSocket: null` uses server-sent events. */
  fetch?: typeof fetch;
  WebSocket?: typeof WebSocket | null;
  /**
   * Whether server-sent events carry the subscriptions where no WebSocket opens. True by default. Each takes a
   * connection, of which a browser has six to a host over HTTP/1.1, for all tabs.
   */
  streams?: boolean;
  /** Reads and writes JSON, if integers beyond 2^53 must stay exact. */
  json?: Exact;
}

export interface CallOptions {
  signal?: AbortSignal;
  /** Whether a session that the mutation returns is kept when the browser is closed: for `inCookie`. */
  remember?: boolean;
}

export interface QueryResult<Data> {
  readonly data: Data;
  /**
   * The answer shows the log up to here, at least. A subscription with it as `after` misses nothing that the answer
   * does not show. Null if the answer was read from no view.
   */
  readonly position: string | null;
}

/** What the client looks for in the payload of a mutation. */
interface Payload {
  readonly session?: IssuedSession | null;
  readonly position?: string | null;
}

/** The variables of a document, which may be left out if none is required. */
type Given<V> = Record<string, never> extends V ? [variables?: V, options?: CallOptions] : [variables: V, options?: CallOptions];

export interface Changes<Data> extends AsyncIterableIterator<Data> {
  /** With these a new subscription goes on after the last change of this one, when this has ended with an error. */
  readonly variables: Variables;
  return(): Promise<IteratorResult<Data>>;
}

/** Changes that wait for a slow reader. Then its subscription stops, and goes on when the reader does. */
const MOST_WAITING = 200;

export class Client {
  readonly session: Session;
  readonly #http: Http;
  readonly #retries: number;
  readonly #subscriptions: Subscriptions;
  readonly #endsItself: boolean;
  readonly #closing = new AbortController();
  #written: string | null = null;

  constructor(options: ClientOptions) {
    const base = typeof location === "undefined" ? undefined : location.href;
    const url = new URL(options.url, base).href;
    this.#retries = options.retries ?? 4;
    this.#http = {
      url,
      fetch: options.fetch ?? ((...request) => fetch(...request)),
      json: options.json ?? JSON,
      trusted: options.trusted ?? false,
      headers: options.headers ?? {},
    };
    const kept = options.session ?? inMemory();
    this.#endsItself = "renew" in kept;
    const keeper =
      "renew" in kept ? kept : keeperOf(kept, async (operation, variables) => (await this.#repeat(operation, variables, {})).data);
    this.session = new Session(keeper, (position) => this.#sees(position));
    this.session.onChange(({ status }) => {
      if (status === "signed-out") this.#written = null;
    });
    const own = options.WebSocket === undefined && typeof WebSocket !== "undefined" ? WebSocket : options.WebSocket;
    this.#subscriptions = new Subscriptions(this.#http, this.session, {
      WebSocket: own ?? null,
      socketUrl: url.replace(/^http/, "ws"),
      streams: options.streams ?? true,
      here: (signal) => this.here({ signal }),
      onSeen: (position) => this.#sees(position),
      onLogChanged: () => {
        this.#written = null;
      },
    });
  }

  /** Reads wait until they show this position: that of the last own write, or of the last change that was seen. */
  get position(): string | null {
    return this.#written;
  }

  /** The present position. What is read afterwards shows at least it, and a subscription after it misses nothing. */
  async here(options?: CallOptions): Promise<string | null> {
    return (await this.query(HereDocument, {}, options)).position;
  }

  get connection(): Connection {
    return this.#subscriptions.connection;
  }

  /** Call a function whenever the connection of the subscriptions changes, until the returned function is called. */
  onConnection(watcher: (connection: Connection) => void): () => void {
    return this.#subscriptions.onConnection(watcher);
  }

  /** Read. Rejects with an `OperationError` if any part could not be read. */
  async query<Data, V>(document: Document<Data, V>, ...[variables, options]: Given<V>): Promise<QueryResult<Data>> {
    const operation = expecting("query", document);
    const { data, position } = await this.#execute(operation, (variables ?? {}) as Variables, options);
    return { data: data as Data, position };
  }

  /**
   * Write, by a document with one field. Each input gets an idempotency key that stays the same when the mutation is
   * sent again. A session that the mutation returns becomes that of this client.
   */
  async mutate<Data, V>(document: Document<Data, V>, ...[variables, options]: Given<V>): Promise<Outcome<Data>> {
    const operation = expecting("mutation", document);
    const { data } = await this.#execute(operation, (variables ?? {}) as Variables, options);
    return outcomeOf(Object.values(data)[0]) as Outcome<Data>;
  }

  /** Send a query or a mutation and return its data as they are: for other clients that send through this one. */
  async execute<Data, V>(document: Document<Data, V>, ...[variables, options]: Given<V>): Promise<QueryResult<Data>> {
    const { data, position } = await this.#execute(operationOf(document), (variables ?? {}) as Variables, options);
    return { data: data as Data, position };
  }

  /**
   * Follow changes from now on, or after `variables.after` or `variables.cursor`. The subscription resumes by itself if
   * its document has the variable `after` or `cursor` and selects `position`. It ends with an error if that is in vain.
   */
  subscribe<Data, V>(document: Document<Data, V>, ...[variables, options]: Given<V>): Changes<Data> {
    const operation = expecting("subscription", document);
    return this.#follow<Data>(operation, (variables ?? {}) as Variables, options?.signal);
  }

  /**
   * End the session at the server and here. What a `TokenStore` keeps is forgotten even if the server cannot be reached;
   * a `SessionKeeper` may still keep the session when this rejects, and then the user is still signed in.
   */
  async signOut(options: CallOptions & { everywhere?: boolean } = {}): Promise<void> {
    const everywhere = options.everywhere ?? false;
    if (this.#endsItself && !everywhere) return this.session.end();
    try {
      await this.#call(operationOf(LogoutDocument), { everywhere }, options.signal);
    } catch (error) {
      if (!(error instanceof UnauthenticatedError)) throw error;
    } finally {
      await this.session.end();
    }
  }

  /** End all calls and subscriptions with a `ClosedError`. The session is kept where it is kept. */
  close(): void {
    const error = new ClosedError();
    this.#closing.abort(error);
    this.#subscriptions.close(error);
    this.session.close();
  }

  async #execute(operation: Operation, variables: Variables, { signal, remember }: CallOptions = {}): Promise<Answer> {
    if (operation.kind !== "mutation") return this.#call(operation, variables, signal);
    const answer = await this.#call(operation, withKeys(operation, variables, newKey), signal);
    for (const payload of Object.values(answer.data).flat() as (Payload | null)[]) {
      // First the position: a tab that learns of a new user's session must not read before that user is in the view.
      if (payload?.position && this.#sees(payload.position)) this.session.written(payload.position);
      if (!payload?.session?.refreshToken) continue;
      await this.session.adopt(payload.session, remember).catch((error: unknown) => {
        throw new SessionNotKeptError(error);
      });
    }
    return answer;
  }

  /** Send an operation in the name of the user. */
  async #call(operation: Operation, variables: Variables, signal?: AbortSignal): Promise<Answer> {
    const both = linked([this.#closing.signal, signal]);
    try {
      both.signal.throwIfAborted();
      // Another tab may sign another user in while the token is renewed: what one user began is not sent as the next.
      let sender = this.session.state.userId;
      for (let renewed = false; ; renewed = true) {
        const token = await unless(both.signal, this.session.accessToken());
        const { userId } = this.session.state;
        sender ??= userId;
        if (userId !== null && userId !== sender) throw signedOut("another user has signed in");
        const minPosition = operation.kind === "query" ? this.#written : null;
        try {
          const answer = await this.#repeat(operation, variables, { token, minPosition, signal: both.signal });
          // A mutation was done all the same, and may be the one that signs in.
          if (operation.kind === "query" && sender !== null && this.session.state.userId !== sender) throw signedOut("another user has signed in");
          return answer;
        } catch (error) {
          if (!(error instanceof UnauthenticatedError) || token === null || renewed) throw error;
          await unless(both.signal, this.session.replace(token));
        }
      }
    } finally {
      both.done();
    }
  }

  /** Send an operation until it is answered, or trying again is in vain or forbidden. */
  async #repeat(operation: Operation, variables: Variables, extras: Parameters<typeof post>[3]): Promise<Answer> {
    for (let failures = 0; ; failures += 1) {
      try {
        return await post(this.#http, operation, variables, extras);
      } catch (error) {
        const wait = failures < this.#retries ? pauseBefore(error, operation, failures) : null;
        if (wait === null) throw error;
        await pause(wait, extras.signal ?? this.#closing.signal);
      }
    }
  }

  #follow<Data>(operation: Operation, variables: Variables, signal?: AbortSignal): Changes<Data> {
    const waiting: Data[] = [];
    let place: Place | null = null;
    let ended: { error: unknown } | null = null;
    let wake: (() => void) | null = null;
    let stop: (() => void) | null = null;
    let user: string | null = null;
    const run = () => {
      const { userId } = this.session.state;
      // One that was halted has not heard that its session has ended.
      if (user !== null && userId !== null && userId !== user) return end(signedOut("another user has signed in"));
      stop = this.#subscriptions.run(operation, startingAfter(operation, variables, place), { next, end });
    };
    const next = (data: Readonly<Record<string, unknown>>) => {
      waiting.push(data as Data);
      place = (Object.values(data)[0] ?? null) as Place | null;
      if (waiting.length >= MOST_WAITING) {
        if (canResume(operation)) halt();
        else waiting.shift(); // such as a status, of which the latest counts
      }
      wake?.();
    };
    const halt = () => {
      user = this.session.state.userId;
      stop?.();
      stop = null;
    };
    const end = (error: unknown) => {
      halt();
      signal?.removeEventListener("abort", abort);
      ended ??= { error };
      wake?.();
    };
    const abort = () => {
      waiting.length = 0;
      end(signal?.reason);
    };
    if (this.#closing.signal.aborted) end(new ClosedError());
    else if (signal?.aborted) abort();
    else run();
    signal?.addEventListener("abort", abort, { once: true });
    const finished: IteratorResult<Data> = { done: true, value: undefined };
    const iterator: Changes<Data> = {
      [Symbol.asyncIterator]: () => iterator,
      get variables() {
        return startingAfter(operation, variables, place);
      },
      next: async () => {
        for (;;) {
          const value = waiting.shift();
          if (value !== undefined) return { done: false, value };
          if (ended) {
            const { error } = ended;
            ended = { error: undefined };
            if (error !== undefined) throw error;
            return finished;
          }
          if (!stop) run(); // it was halted when too many waited
          if (ended) continue;
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      },
      return: async () => {
        waiting.length = 0;
        end(undefined);
        return finished;
      },
    };
    return iterator;
  }

  #sees(position: string): boolean {
    const later = this.#written === null || isAfter(position, this.#written);
    if (later) this.#written = position;
    return later;
  }
}

export const createClient = (options: ClientOptions): Client => new Client(options);

function expecting(kind: Operation["kind"], document: AnyDocument): Operation {
  const operation = operationOf(document);
  if (operation.kind !== kind) throw new TypeError(`expected a ${kind}, got a ${operation.kind}`);
  return operation;
}

/** `crypto.randomUUID` exists only where the page is served by HTTPS. */
const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
