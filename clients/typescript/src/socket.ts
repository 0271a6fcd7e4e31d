/**
 * One WebSocket of graphql-transport-ws, from its opening to its end. It does not connect again: subscriptions.ts does.
 *
 * https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
 */
import type { GraphQLError } from "./errors.js";
import type { Exact } from "./http.js";

/** From the beginning of an attempt to `connection_ack`. */
const ATTEMPT_MS = 8_000;
const PING_MS = 10_000;
const PONG_MS = 5_000;
/** RFC 6455: the connection was lost without a close frame. */
export const LOST = 1006;

export interface OperationSink {
  next(payload: { data?: unknown; errors?: readonly GraphQLError[] }): void;
  error(errors: readonly GraphQLError[]): void;
  complete(): void;
}

export class Socket {
  readonly #socket: WebSocket;
  readonly #json: Exact;
  readonly #operations = new Map<string, OperationSink>();
  readonly #onEnd: (code: number) => void;
  #limit: ReturnType<typeof setTimeout>;
  #beat: ReturnType<typeof setInterval> | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;
  #ended = false;
  #ids = 0;

  /** `onEnd` is called once, with the code of the close. */
  constructor(
    Implementation: typeof WebSocket,
    url: string,
    token: string | null,
    json: Exact,
    events: { onOpen: () => void; onEnd: (code: number) => void },
  ) {
    this.#json = json;
    this.#onEnd = events.onEnd;
    this.#limit = setTimeout(() => this.#end(LOST), ATTEMPT_MS);
    this.#socket = new Implementation(url, "graphql-transport-ws");
    this.#socket.onopen = () => this.#send({ type: "connection_init", ...(token && { payload: { authorization: `Bearer ${token}` } }) });
    this.#socket.onclose = ({ code }) => this.#end(code);
    this.#socket.onerror = () => undefined; // `close` follows
    this.#socket.onmessage = ({ data }) => {
      if (!this.#ended) this.#receive(String(data), events.onOpen);
    };
  }

  /** Start an operation; returns what stops it. */
  subscribe(payload: object, sink: OperationSink): () => void {
    const id = String((this.#ids += 1));
    this.#operations.set(id, sink);
    this.#send({ id, type: "subscribe", payload });
    return () => {
      if (this.#operations.delete(id)) this.#send({ id, type: "complete" });
    };
  }

  close(): void {
    this.#end(1000);
  }

  #receive(text: string, onOpen: () => void): void {
    const message = this.#json.parse(text) as { type: string; id: string; payload: unknown };
    const sink = this.#operations.get(message.id);
    switch (message.type) {
      case "connection_ack":
        clearTimeout(this.#limit);
        this.#beat = setInterval(() => {
          this.#send({ type: "ping" });
          this.#silence ??= setTimeout(() => this.#end(LOST), PONG_MS);
        }, PING_MS);
        return onOpen();
      case "ping":
        return this.#send({ type: "pong" });
      case "pong":
        clearTimeout(this.#silence);
        this.#silence = undefined;
        return;
      case "next":
        return sink?.next(message.payload as never);
      case "error":
        this.#operations.delete(message.id);
        return sink?.error(message.payload as never);
      case "complete":
        this.#operations.delete(message.id);
        return sink?.complete();
    }
  }

  #send(message: object): void {
    if (!this.#ended && this.#socket.readyState === 1) this.#socket.send(this.#json.stringify(message));
  }

  #end(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#limit);
    clearInterval(this.#beat);
    clearTimeout(this.#silence);
    this.#operations.clear();
    // A socket whose other side is silent closes after a minute only: it is not waited for.
    this.#socket.close(1000);
    this.#onEnd(code);
  }
}
