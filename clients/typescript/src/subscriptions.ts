/**
 * Subscriptions that go on by themselves, over one WebSocket or, where none opens, over streams of events.
 *
 * A subscription is a place in the log: the position, or the cursor, of the last change that was delivered. Whatever
 * has ended its transport, it starts again after that place, and a change that is not after it is not delivered. A
 * subscription without a place of its own asks for the present one before its first start: "from now on" would leave a
 * gap if the connection were lost before the first change.
 *
 *     connecting ──▶ open ──▶ lost ──▶ connecting …
 *
 * A server that restarts opens no WebSocket either. So streams are used only after a request over HTTP has succeeded
 * and a WebSocket has failed right after it: a browser has six connections to a host over HTTP/1.1, for all tabs.
 */
import { operationOf, type Operation, type Variables } from "./documents.js";
import { codeOf, errorOf, type GraphQLError, LogChangedError, OperationError, RollcallError, signedOut, TransportError, UnauthenticatedError } from "./errors.js";
import { type Http, post, requestOf } from "./http.js";
import type { Session, SessionState } from "./session.js";
import { LOST, Socket } from "./socket.js";
import { stream } from "./stream.js";
import { backOff, pause } from "./waiting.js";

/** After it, WebSockets are tried again. */
const BLOCKED_MS = 300_000;
/** A socket that lasts shorter has not succeeded. */
const SUCCESS_MS = 5_000;
/** The next page of an application will need the socket. */
const IDLE_MS = 2_000;
const PROBE_MS = 5_000;
const SESSION_ENDED = 4403;
/** A server that refuses a subscription this often in a row will go on to. */
const MOST_REFUSALS = 8;
/** Codes that time may mend. */
const PASSING = new Set(["UNAVAILABLE", "RATE_LIMITED", "PROJECTION_BEHIND", "DEADLINE_EXCEEDED", "INTERNAL"]);
const PROBE = operationOf("{ __typename }");

export type Connection = "idle" | "connecting" | "open" | "lost";

export interface ChangeSink {
  next(data: Readonly<Record<string, unknown>>): void;
  end(error: unknown): void;
}

export interface Place {
  readonly position?: string;
  readonly cursor?: string;
}

interface Running {
  readonly operation: Operation;
  readonly variables: Variables;
  readonly sink: ChangeSink;
  place: Place | null;
  /** Refusals in a row. */
  refused: number;
  /** Starts since something came. */
  starts: number;
  /** Stops what it does at present. */
  stop: (() => void) | null;
  /** What it does at present depends on the socket. */
  onSocket: boolean;
}

interface Surroundings {
  readonly WebSocket: typeof WebSocket | null;
  readonly socketUrl: string;
  /** Use streams of events where no WebSocket opens. */
  readonly streams: boolean;
  /** The position that the views have reached. */
  readonly here: (signal: AbortSignal) => Promise<string | null>;
  readonly onSeen: (position: string) => void;
  readonly onLogChanged: () => void;
}

/** Positions are decimal texts without leading zeros. */
export const isAfter = (position: string, other: string): boolean =>
  position.length === other.length ? position > other : position.length > other.length;

/** Variables that start after a place. */
export function startingAfter(operation: Operation, variables: Variables, place: Place | null): Variables {
  if (!place || !canResume(operation)) return variables;
  const { after: _, cursor: __, ...others } = variables;
  if (place.cursor && operation.variables.has("cursor")) return { ...others, cursor: place.cursor };
  return { ...others, after: place.position };
}

export const canResume = (operation: Operation): boolean => operation.variables.has("after") || operation.variables.has("cursor");

export class Subscriptions {
  readonly #http: Http;
  readonly #session: Session;
  readonly #around: Surroundings;
  readonly #running = new Set<Running>();
  readonly #watchers = new Set<(connection: Connection) => void>();
  #connection: Connection = "idle";
  #userId: string | null = null;
  /** The attempt that is under way, or has succeeded. */
  #socket: Socket | null = null;
  #open = false;
  /** An access token is being fetched for the next attempt. */
  #preparing = false;
  #failures = 0;
  #blockedUntil = 0;
  /** HTTP has worked after the last failure. */
  #httpWorks = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;
  readonly #undo: (() => void)[] = [];

  constructor(http: Http, session: Session, around: Surroundings) {
    this.#http = http;
    this.#session = session;
    this.#around = around;
    this.#undo.push(session.onChange((state) => this.#sessionIs(state)));
    const now = () => {
      if (this.#timer !== undefined && globalThis.document?.visibilityState !== "hidden") this.#again();
    };
    const listen = (target: EventTarget | undefined, event: string) => {
      target?.addEventListener?.(event, now);
      this.#undo.push(() => target?.removeEventListener?.(event, now));
    };
    listen(globalThis as unknown as EventTarget, "online");
    listen(globalThis.document, "visibilitychange");
  }

  get connection(): Connection {
    return this.#connection;
  }

  onConnection(watcher: (connection: Connection) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Run a subscription until it ends or the returned function is called. */
  run(operation: Operation, variables: Variables, sink: ChangeSink): () => void {
    const one: Running = { operation, variables, sink, place: null, refused: 0, starts: 0, stop: null, onSocket: false };
    this.#running.add(one);
    clearTimeout(this.#idle);
    const needsPlace = operation.variables.has("after") && variables["after"] == null && variables["cursor"] == null;
    if (needsPlace) void this.#findPlace(one);
    else this.#start(one);
    return () => this.#remove(one);
  }

  close(error: unknown): void {
    for (const undo of this.#undo) undo();
    this.#endAll(error);
    this.#drop();
    this.#watchers.clear();
  }

  async #findPlace(one: Running): Promise<void> {
    const controller = new AbortController();
    one.stop = () => controller.abort();
    for (let failures = 0; this.#running.has(one); failures += 1) {
      try {
        const position = await this.#around.here(controller.signal);
        if (!this.#running.has(one)) return;
        if (position !== null) one.place = { position };
        one.stop = null;
        return this.#start(one);
      } catch (error) {
        if (controller.signal.aborted) return;
        if (isFinal(error) || this.#session.state.status === "signed-out") return this.#end(one, error);
        this.#become("lost");
        await pause(backOff(failures), controller.signal).catch(() => undefined);
      }
    }
  }

  #start(one: Running): void {
    if (!this.#running.has(one)) return;
    if (this.#socket && this.#open) this.#startOn(this.#socket, one);
    else if (this.#isBlocked()) void this.#startStream(one);
    else if (!this.#socket && this.#timer === undefined) void this.#connect();
    // else: it starts when the socket is open
  }

  #startOn(socket: Socket, one: Running): void {
    one.onSocket = true;
    const payload = requestOf(this.#http, one.operation, startingAfter(one.operation, one.variables, one.place));
    one.stop = socket.subscribe(payload, {
      next: (answer) => this.#receive(one, answer),
      error: (errors) => this.#refuse(one, errors),
      complete: () => this.#later(one),
    });
  }

  async #startStream(one: Running): Promise<void> {
    const controller = new AbortController();
    one.onSocket = false;
    one.stop = () => controller.abort();
    let token: string | null = null;
    try {
      token = await this.#session.accessToken();
      if (controller.signal.aborted) return;
      if (token === null) return this.#end(one, signedOut());
      const variables = startingAfter(one.operation, one.variables, one.place);
      await stream(this.#http, one.operation, variables, {
        token,
        signal: controller.signal,
        onOpen: () => this.#become("open"),
        sink: {
          next: (answer) => {
            if (!controller.signal.aborted) this.#receive(one, answer);
          },
          error: () => undefined,
          complete: () => undefined,
        },
      });
    } catch (error) {
      if (controller.signal.aborted || !this.#running.has(one)) return;
      if (error instanceof OperationError) return this.#refuse(one, error.errors, error.retryAfter);
      if (isFinal(error)) return this.#end(one, error);
      this.#become("lost");
    }
    if (!controller.signal.aborted) this.#later(one);
  }

  #receive(one: Running, { data, errors }: { data?: unknown; errors?: readonly GraphQLError[] }): void {
    if (!this.#running.has(one)) return;
    if (data == null) return this.#refuse(one, errors ?? [{ message: "an answer without data" }]);
    const found = data as Record<string, { position?: string; cursor?: string } | null>;
    const change = Object.values(found)[0];
    if (canResume(one.operation)) {
      if (!change?.position) {
        return this.#end(one, new TypeError("a subscription that resumes must select `position`"));
      }
      if (one.place?.position && !isAfter(change.position, one.place.position)) return;
      one.place = { position: change.position, ...(change.cursor && { cursor: change.cursor }) };
      this.#around.onSeen(change.position);
    }
    one.refused = one.starts = 0;
    one.sink.next(found);
  }

  /** The server has ended a subscription with errors. */
  #refuse(one: Running, errors: readonly GraphQLError[], retryAfter?: number): void {
    if (!this.#running.has(one)) return;
    one.stop?.();
    one.stop = null;
    const error = errorOf(errors, null, retryAfter);
    if (error instanceof LogChangedError) this.#around.onLogChanged();
    one.refused += 1;
    if (one.refused > MOST_REFUSALS || isFinal(error)) return this.#end(one, error);
    if (error instanceof UnauthenticatedError) {
      // The socket was opened with a token that has expired since; the next one is opened with a new one.
      const again = () => this.#later(one);
      void this.#renewed().then(again, again);
    } else this.#later(one, error.retryAfter);
  }

  async #renewed(): Promise<void> {
    const token = await this.#session.accessToken();
    if (token !== null) await this.#session.replace(token);
  }

  #later(one: Running, seconds = 0): void {
    if (!this.#running.has(one)) return;
    const timer = setTimeout(() => this.#start(one), seconds * 1000 + backOff(one.starts));
    one.starts += 1;
    one.onSocket = false;
    one.stop = () => clearTimeout(timer);
  }

  #remove(one: Running): void {
    if (!this.#running.delete(one)) return;
    one.stop?.();
    if (!this.#running.size) this.#idle = setTimeout(() => this.#drop(), IDLE_MS);
  }

  #end(one: Running, error: unknown): void {
    if (!this.#running.has(one)) return;
    this.#remove(one);
    one.sink.end(error);
  }

  #endAll(error: unknown): void {
    for (const one of [...this.#running]) this.#end(one, error);
  }

  async #connect(): Promise<void> {
    if (this.#socket || this.#preparing) return;
    this.#preparing = true;
    if (this.#connection !== "lost") this.#become("connecting");
    let token: string | null;
    try {
      token = await this.#session.accessToken();
    } catch {
      return this.#connectLater();
    } finally {
      this.#preparing = false;
    }
    if (!this.#running.size || this.#socket) return;
    if (token === null) return this.#endAll(signedOut());
    const used = token;
    const { WebSocket: Implementation, socketUrl } = this.#around;
    if (!Implementation) return this.#block();
    const httpWorked = this.#httpWorks;
    let openSince = Number.POSITIVE_INFINITY;
    const events = {
      onOpen: () => {
        if (this.#socket !== socket) return; // it was dropped
        openSince = Date.now();
        this.#open = true;
        this.#httpWorks = false;
        this.#become("open");
        for (const one of this.#running) if (!one.stop) this.#startOn(socket, one);
      },
      onEnd: (code: number) => {
        if (this.#socket !== socket) return; // it was dropped
        const opened = this.#open;
        this.#socket = null;
        this.#open = false;
        // With each token that expires a socket ends: that is no loss.
        this.#become(code === SESSION_ENDED ? "connecting" : "lost");
        for (const one of this.#running) if (one.onSocket) [one.stop, one.onSocket] = [null, false];
        this.#failures = Date.now() - openSince > SUCCESS_MS ? 0 : this.#failures + 1;
        if (code === SESSION_ENDED) {
          void this.#session.replace(used).then(() => this.#connectLater("connecting"), () => this.#connectLater());
        } else if (opened || code !== LOST || !this.#around.streams) this.#connectLater();
        else if (httpWorked) this.#block();
        else void this.#probe().then(() => this.#connectLater());
      },
    };
    let socket: Socket;
    try {
      socket = new Socket(Implementation, socketUrl, token, this.#http.json, events);
    } catch {
      return this.#block(); // the page's policy forbids it
    }
    this.#socket = socket;
  }

  /** WebSockets do not open here: streams are used for a while. */
  #block(): void {
    if (!this.#around.streams) {
      this.#failures += 1;
      return this.#connectLater();
    }
    this.#blockedUntil = Date.now() + BLOCKED_MS;
    this.#httpWorks = false;
    this.#again();
  }

  #isBlocked(): boolean {
    return this.#around.streams && (!this.#around.WebSocket || Date.now() < this.#blockedUntil);
  }

  async #probe(): Promise<void> {
    try {
      await post(this.#http, PROBE, {}, { limit: PROBE_MS });
      this.#httpWorks = true;
    } catch (error) {
      this.#httpWorks = error instanceof OperationError;
    }
  }

  #connectLater(connection: Connection = "lost"): void {
    if (!this.#running.size) return this.#become("idle");
    this.#become(connection);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), backOff(this.#failures));
  }

  #again(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const one of this.#running) if (!one.stop) this.#start(one);
  }

  /** Close the socket. Only a later subscription opens another. */
  #drop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#idle);
    this.#timer = undefined;
    this.#failures = 0;
    this.#httpWorks = false;
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    socket?.close();
    this.#become("idle");
  }

  /** Nothing of one user comes to the next. */
  #sessionIs({ userId }: SessionState): void {
    const before = this.#userId;
    this.#userId = userId;
    if (userId !== null && (before === null || before === userId)) return;
    this.#endAll(signedOut(userId === null ? "the session has ended: sign in" : "another user has signed in"));
    this.#drop();
  }

  #become(connection: Connection): void {
    if (this.#connection === connection) return;
    this.#connection = connection;
    for (const watcher of [...this.#watchers]) watcher(connection);
  }
}

/** Whether trying again would have the same result. */
function isFinal(error: unknown): boolean {
  if (error instanceof UnauthenticatedError) return false; // the session is asked, and says when it has ended
  if (error instanceof OperationError) return !PASSING.has(codeOf(error.errors) ?? "");
  if (error instanceof TransportError) {
    const { status } = error;
    return status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429;
  }
  return error instanceof RollcallError || error instanceof TypeError;
}
