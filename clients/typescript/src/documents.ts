/** GraphQL documents: their types, and what the client must know of an operation before it sends it. */
import { print } from "@0no-co/graphql.web";

import { KEYED_INPUTS } from "./generated/keyed.js";

/** Types of the result and the variables, as GraphQL Code Generator attaches them to a document. */
export interface Typed<Result, Variables> {
  __apiType?: (variables: Variables) => Result;
}

/** A text, one of this package's operations, or a `TypedDocumentNode` or `TypedDocumentString`. */
export type Document<Result, Variables> =
  | string
  | (({ readonly kind: string; readonly definitions: readonly unknown[] } | String) & Typed<Result, Variables>);

export type AnyDocument = Document<unknown, never>;

export interface Operation {
  readonly text: string;
  /** Its hash, if the code generator has attached one (`persistedDocuments`). */
  readonly id: string | undefined;
  readonly kind: "query" | "mutation" | "subscription";
  /** Names of its variables. */
  readonly variables: ReadonlySet<string>;
  /** Names of the variables that are, or contain, an idempotency key. */
  readonly keyed: ReadonlySet<string>;
  /** It may be sent again when its answer is lost: its second execution changes nothing. */
  readonly repeatable: boolean;
}

/** Mutations without idempotency key that may be repeated: the second one finds the work done. */
const REPEATABLE = new Set(["refreshSession", "logout", "endSession", "importUsers"]);
const IGNORED = /"""[^]*?"""|"(?:\\.|[^"\\])*"|#.*/g;
const known = new WeakMap<object, Operation>();

export function operationOf(document: AnyDocument): Operation {
  if (typeof document === "string") return read(document, undefined);
  let operation = known.get(document);
  if (!operation) {
    const text = "definitions" in document ? print(document as Parameters<typeof print>[0]) : String(document);
    const hash = (document as { __meta__?: { hash?: unknown } }).__meta__?.hash;
    operation = read(text, typeof hash === "string" ? hash : undefined);
    known.set(document, operation);
  }
  return operation;
}

const DEFINITION = /^(query|mutation|subscription|fragment)$/;
const isName = (token: string | undefined): boolean => /^\w/.test(token ?? "");

/** Reads the operation of a document, which must have one only. The server checks the syntax. */
function read(text: string, id: string | undefined): Operation {
  const tokens = text.replace(IGNORED, '""').match(/\$?\w+|[^\s\w,]/g) ?? [];
  const types = new Map<string, string>();
  const keyed = new Set<string>();
  let kind: Operation["kind"] | undefined;
  /** The definition that the token belongs to; null between two. */
  let definition: string | null = null;
  let braces = 0;
  let parentheses = 0;
  let fields = 0;
  let keyedFields = 0;
  let fieldIsKeyed = false;
  const fieldHasKey = () => {
    if (!fieldIsKeyed) keyedFields += 1;
    fieldIsKeyed = true;
  };
  tokens.forEach((token, at) => {
    if (definition === null && (token === "{" || DEFINITION.test(token))) {
      definition = token === "{" ? "query" : token;
      if (definition !== "fragment") {
        if (kind) throw new TypeError("a document of this client has one operation");
        kind = definition as Operation["kind"];
      }
    }
    if (token === "(") parentheses += 1;
    else if (token === ")") parentheses -= 1;
    else if (token === "{") braces += 1;
    else if (token === "}") {
      braces -= 1;
      if (braces === 0 && parentheses === 0) definition = null;
    } else if (definition === "fragment") return;
    else if (braces === 0 && parentheses === 1 && token[0] === "$" && tokens[at + 1] === ":") {
      types.set(token.slice(1), tokens.slice(at + 2).find(isName) ?? "");
    } else if (braces === 1 && parentheses === 0 && isName(token) && tokens[at + 1] !== ":" && tokens[at - 1] !== "@") {
      fields += 1;
      fieldIsKeyed = false;
      if (REPEATABLE.has(token)) fieldHasKey();
    } else if (parentheses === 1 && token[0] === "$" && tokens[at - 1] === ":") {
      const name = token.slice(1);
      if (tokens[at - 2] !== "idempotencyKey" && !(braces === 1 && KEYED_INPUTS.has(types.get(name) ?? ""))) return;
      keyed.add(name);
      fieldHasKey();
    }
  });
  const repeatable = kind !== "mutation" || (fields > 0 && keyedFields === fields);
  return { text, id, kind: kind ?? "query", variables: new Set(types.keys()), keyed, repeatable };
}

/** The variables of a mutation, with an idempotency key wherever one can be and is not yet. */
export function withKeys(operation: Operation, variables: Variables, newKey: () => string): Variables {
  if (!operation.keyed.size) return variables;
  const made = { ...variables };
  const keyedInput = (input: unknown) => {
    const given = input as { idempotencyKey?: string | null };
    return given?.idempotencyKey == null ? { ...given, idempotencyKey: newKey() } : given;
  };
  for (const name of operation.keyed) {
    const value = made[name];
    if (Array.isArray(value)) made[name] = value.map(keyedInput);
    else if (value == null) made[name] = newKey();
    else if (typeof value === "object") made[name] = keyedInput(value);
  }
  return made;
}

export type Variables = Readonly<Record<string, unknown>> & { [name: string]: unknown };
