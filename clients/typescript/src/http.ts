/** One request of GraphQL over HTTP, and the rule by which it is sent again. */
import type { Operation, Variables } from "./documents.js";
import { errorOf, type GraphQLError, OperationError, TransportError } from "./errors.js";
import { backOff, linked } from "./waiting.js";

export interface Exact {
  parse(text: string): unknown;
  stringify(value: unknown): string;
}

export interface Http {
  readonly url: string;
  readonly fetch: typeof fetch;
  readonly json: Exact;
  readonly trusted: boolean;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly data: Readonly<Record<string, unknown>>;
  /** The answer has reached this position of the log; null if it was read from no view. */
  readonly position: string | null;
}

export interface Extras {
  readonly token?: string | null;
  readonly minPosition?: string | null;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds of one attempt. */
  readonly limit?: number;
}

const LONGEST_ATTEMPT_MS = 30_000;
/** A server that asks for a longer pause is not waited for: the application learns how long it would be. */
const LONGEST_PAUSE_S = 30;

export function requestOf(http: Http, operation: Operation, variables: Variables): object {
  const document = http.trusted && operation.id ? { documentId: operation.id } : { query: operation.text };
  return { ...document, variables };
}

export function headersOf(http: Http, token: string | null | undefined, accept: string): Record<string, string> {
  return {
    ...http.headers,
    Accept: accept,
    "Content-Type": "application/json",
    ...(token && { Authorization: `Bearer ${token}` }),
  };
}

export function retryAfterOf(response: Response): number | undefined {
  const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
  return Number.isFinite(seconds) ? seconds : undefined;
}

/** Send an operation once. */
export async function post(http: Http, operation: Operation, variables: Variables, extras: Extras): Promise<Answer> {
  const milliseconds = extras.limit ?? LONGEST_ATTEMPT_MS;
  const reason = () => new TransportError(`no answer within ${milliseconds / 1000} s`);
  const { signal, done } = linked([extras.signal], { milliseconds, reason });
  let response: Response;
  let body: string;
  try {
    response = await http.fetch(http.url, {
      method: "POST",
      headers: {
        ...headersOf(http, extras.token, "application/graphql-response+json, application/json;q=0.9"),
        ...(extras.minPosition && { "Min-Position": extras.minPosition }),
      },
      body: http.json.stringify(requestOf(http, operation, variables)),
      signal,
    });
    body = await response.text();
  } catch (error) {
    if (extras.signal?.aborted) throw extras.signal.reason;
    if (signal.aborted) throw signal.reason;
    throw new TransportError("the server cannot be reached", { cause: error });
  } finally {
    done();
  }
  const retryAfter = retryAfterOf(response);
  let answer: { data?: Record<string, unknown> | null; errors?: readonly GraphQLError[] } | null;
  try {
    answer = http.json.parse(body) as typeof answer;
  } catch {
    answer = null;
  }
  if (answer?.errors?.length) throw errorOf(answer.errors, answer.data, retryAfter);
  if (!answer?.data) {
    throw new TransportError(`an answer of status ${response.status} that is not GraphQL`, {
      status: response.status,
      retryAfter,
    });
  }
  return { data: answer.data, position: response.headers.get("Position") };
}

/** Milliseconds to wait before an operation is sent again; null if it must not be. */
export function pauseBefore(error: unknown, operation: Operation, failures: number): number | null {
  const asked = (error as { retryAfter?: number }).retryAfter ?? 0;
  if (asked > LONGEST_PAUSE_S) return null;
  const wait = asked * 1000 + backOff(failures);
  if (error instanceof TransportError) {
    // Without an answer a mutation may have taken effect. 4xx says that it is the request's fault.
    const again = error.status === undefined || error.status >= 500 || error.status === 408 || error.status === 429;
    return again && operation.repeatable ? wait : null;
  }
  if (!(error instanceof OperationError)) return null;
  switch (error.code) {
    case "RATE_LIMITED": // nothing was done
    case "UNAVAILABLE":
      return wait;
    case "OUTCOME_UNKNOWN":
      return operation.repeatable ? wait : null;
    case "PROJECTION_BEHIND":
      return operation.kind === "query" ? wait : null;
    default:
      return null;
  }
}
