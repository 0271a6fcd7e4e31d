/**
 * What a call may reject with. Expected refusals of a mutation are no errors: they are in its outcome.
 *
 *     RollcallError
 *     ├── TransportError            no usable answer: the network, a time limit, a proxy
 *     ├── ClosedError               the client was closed
 *     ├── SessionNotKeptError       the mutation was done, but the session that it returned could not be kept
 *     └── OperationError            the server answered with GraphQL errors; `code` is the first one's
 *         ├── UnauthenticatedError  nobody is signed in, or the session has ended
 *         ├── ForbiddenError        this user may not do this
 *         ├── ThrottledError        too many requests; `retryAfter` says in how many seconds to try again
 *         ├── UnavailableError      the server cannot answer now
 *         ├── OutcomeUnknownError   the change may have taken effect or not
 *         └── LogChangedError       the log does not hold the place that a subscription went on from: read anew
 *
 * A call whose `signal` is aborted rejects with the signal's reason, as `fetch` does.
 */

export interface GraphQLError {
  readonly message: string;
  readonly path?: readonly (string | number)[];
  readonly extensions?: Readonly<Record<string, unknown>>;
}

export class RollcallError extends Error {
  override readonly name: string = "RollcallError";
}

export class TransportError extends RollcallError {
  override readonly name: string = "TransportError";
  /** HTTP status, if there was an answer. */
  readonly status: number | undefined;
  /** Seconds that the answer asks to wait. */
  readonly retryAfter: number | undefined;

  constructor(message: string, options: { status?: number; retryAfter?: number | undefined; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.status = options.status;
    this.retryAfter = options.retryAfter;
  }
}

export class ClosedError extends RollcallError {
  override readonly name: string = "ClosedError";

  constructor() {
    super("the client is closed");
  }
}

export class SessionNotKeptError extends RollcallError {
  override readonly name: string = "SessionNotKeptError";

  constructor(cause: unknown) {
    super("the mutation was done, but the session that it returned could not be kept: sign in", { cause });
  }
}

export class OperationError extends RollcallError {
  override readonly name: string = "OperationError";
  readonly code: string | undefined;
  readonly errors: readonly GraphQLError[];
  /** What the server could answer in spite of the errors. */
  readonly data: unknown;
  /** Seconds until a retry may succeed. */
  readonly retryAfter: number | undefined;

  constructor(errors: readonly GraphQLError[], data: unknown = null, retryAfter?: number) {
    super(errors.map(({ message }) => message).join("; "));
    this.errors = errors;
    this.data = data;
    this.code = codeOf(errors);
    const given = errors[0]?.extensions?.["retryAfter"];
    this.retryAfter = typeof given === "number" ? given : retryAfter;
  }
}

export class UnauthenticatedError extends OperationError {
  override readonly name: string = "UnauthenticatedError";
}

export class ForbiddenError extends OperationError {
  override readonly name: string = "ForbiddenError";
}

export class ThrottledError extends OperationError {
  override readonly name: string = "ThrottledError";
}

export class UnavailableError extends OperationError {
  override readonly name: string = "UnavailableError";
}

export class OutcomeUnknownError extends OperationError {
  override readonly name: string = "OutcomeUnknownError";
}

export class LogChangedError extends OperationError {
  override readonly name: string = "LogChangedError";
}

const CLASSES: Readonly<Record<string, typeof OperationError>> = {
  UNAUTHENTICATED: UnauthenticatedError,
  FORBIDDEN: ForbiddenError,
  RATE_LIMITED: ThrottledError,
  UNAVAILABLE: UnavailableError,
  PROJECTION_BEHIND: UnavailableError,
  DEADLINE_EXCEEDED: UnavailableError,
  OUTCOME_UNKNOWN: OutcomeUnknownError,
  LOG_CHANGED: LogChangedError,
};

export function codeOf(errors: readonly GraphQLError[]): string | undefined {
  const code = errors[0]?.extensions?.["code"];
  return typeof code === "string" ? code : undefined;
}

export function errorOf(errors: readonly GraphQLError[], data?: unknown, retryAfter?: number): OperationError {
  return new (CLASSES[codeOf(errors) ?? ""] ?? OperationError)(errors, data, retryAfter);
}

export const signedOut = (message = "sign in first"): UnauthenticatedError =>
  new UnauthenticatedError([{ message, extensions: { code: "UNAUTHENTICATED" } }]);
