/** What a mutation has done: its payload, or the reasons for which it has done nothing. */

/** Fields that a payload has whenever it has no errors. */
type Given = "user" | "data" | "session" | "deletedUserId" | "deletedDataId" | "invitation" | "webhook" | "projection";

type Done<Field, Payload> = {
  // Where an email must be confirmed first, `register` answers with nulls and without errors.
  readonly [Name in keyof Payload as Name extends "errors" ? never : Name]: Field extends "register"
    ? Payload[Name]
    : Name extends Given
      ? NonNullable<Payload[Name]>
      : Payload[Name];
};

type OutcomeOf<Field, Payload> = Payload extends readonly (infer Each)[]
  ? readonly OutcomeOf<Field, Each>[]
  : Payload extends { errors: readonly (infer Problem)[] }
    ? ({ readonly ok: true } & Done<Field, Payload>) | { readonly ok: false; readonly errors: readonly Problem[] }
    : { readonly ok: true } & Payload;

/** The outcome of a mutation with one field; of `updateUsers`, a list of outcomes. */
export type Outcome<Data> = unknown extends Data ? OutcomeOf<string, { errors: readonly Problem[]; [field: string]: any }> : { [Field in keyof Data]: OutcomeOf<Field, Data[Field]> }[keyof Data];

/** Why something was refused, to be shown at a form's field. */
export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly field?: readonly string[] | null;
  readonly retryAfter?: number | null;
}

export function outcomeOf(payload: unknown): unknown {
  if (Array.isArray(payload)) return payload.map(outcomeOf);
  const { errors, ...rest } = payload as { errors?: readonly Problem[] };
  return errors?.length ? { ok: false, errors } : { ok: true, ...rest };
}
