/** One operation as server-sent events: GraphQL over SSE, distinct connections mode, read with `fetch`. */
import type { Operation, Variables } from "./documents.js";
import { errorOf, type GraphQLError, TransportError } from "./errors.js";
import { headersOf, type Http, requestOf, retryAfterOf } from "./http.js";
import type { OperationSink } from "./socket.js";
import { linked } from "./waiting.js";

/** The server sends a comment every 10 s. */
const SILENCE_MS = 25_000;

/**
 * Read a stream to its end. Resolves after `complete`; rejects if it does not open or is cut off.
 */
export async function stream(
  http: Http,
  operation: Operation,
  variables: Variables,
  options: { token: string | null; signal: AbortSignal; onOpen: () => void; sink: OperationSink },
): Promise<void> {
  const silent = new AbortController();
  const silence = () => silent.abort(new TransportError("the stream of events is silent"));
  let timer = setTimeout(silence, SILENCE_MS);
  const { signal, done } = linked([options.signal, silent.signal]);
  try {
    const response = await http.fetch(http.url, {
      method: "POST",
      headers: headersOf(http, options.token, "text/event-stream"),
      body: http.json.stringify(requestOf(http, operation, variables)),
      cache: "no-store",
      signal,
    });
    if (!response.ok || !response.body || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      const retryAfter = retryAfterOf(response);
      const answer = await response.json().catch(() => null) as { errors?: readonly GraphQLError[] } | null;
      if (answer?.errors?.length) throw errorOf(answer.errors, null, retryAfter);
      throw new TransportError(`an answer of status ${response.status} that is no stream`, { status: response.status, retryAfter });
    }
    options.onOpen();
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    for (let rest = ""; ; ) {
      const { done: ended, value } = await reader.read();
      if (ended) throw new TransportError("the stream of events was cut off");
      clearTimeout(timer);
      timer = setTimeout(silence, SILENCE_MS);
      rest += decoder.decode(value, { stream: true });
      const events = rest.split(/\r?\n\r?\n/);
      rest = events.pop() ?? "";
      for (const event of events) {
        const fields = new Map(event.split(/\r?\n/).map((line) => /^(\w*): ?(.*)$/.exec(line)?.slice(1, 3) as [string, string] ?? ["", ""]));
        if (fields.get("event") === "complete") return options.sink.complete();
        if (fields.get("event") === "next") options.sink.next(http.json.parse(fields.get("data") ?? "") as never);
      }
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw error instanceof TypeError ? new TransportError("the server cannot be reached", { cause: error }) : error;
  } finally {
    clearTimeout(timer);
    silent.abort();
    done();
  }
}
