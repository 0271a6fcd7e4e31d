/** The parts that pages are made of. All are native elements: browsers give them their keys, focus and roles. */
import { TransportError } from "@rollcall/client";
import {
  type FormEvent,
  type InputHTMLAttributes,
  type ReactNode,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useEffect,
  useId,
  useRef,
} from "react";

import { writeExact } from "../json/exact";
import { plural } from "../text";

/** What a mutation's payload says is wrong. */
export interface Problem {
  code: string;
  message: string;
  field?: readonly string[] | null;
  /** Of a GraphQL error: what it says for programs. */
  extensions?: Readonly<Record<string, unknown>> | undefined;
}

/** The problems of one field; without a name, those that belong to no field of the form. */
export const problemsOf = (problems: readonly Problem[], field?: string, fields: readonly string[] = []): Problem[] =>
  problems.filter((problem) => {
    const named = problem.field?.[0];
    return field === undefined ? !named || !fields.includes(named) : named === field;
  });

export function Page(props: { title: string; actions?: ReactNode; narrow?: boolean; wide?: boolean; children: ReactNode }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${props.title} · Rollcall`;
  }, [props.title]);
  return (
    <main id="main" tabIndex={-1} className={props.narrow ? "narrow" : props.wide ? "wide" : undefined}>
      <div className="head">
        <h1 ref={heading}>{props.title}</h1>
        {props.actions && <div className="row">{props.actions}</div>}
      </div>
      {props.children}
    </main>
  );
}

export function Card(props: { title?: string; actions?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <section className="card" aria-labelledby={props.title ? id : undefined}>
      {props.title && (
        <div className="head">
          <h2 id={id}>{props.title}</h2>
          {props.actions && <div className="row">{props.actions}</div>}
        </div>
      )}
      {props.children}
    </section>
  );
}

interface Described {
  label: string;
  hint?: ReactNode;
  problems?: readonly Problem[];
}

function Labelled(props: Described & { id: string; children: ReactNode }) {
  return (
    <div className="field">
      <label htmlFor={props.id}>{props.label}</label>
      {props.children}
      {props.hint && (
        <div className="hint" id={`${props.id}-hint`}>
          {props.hint}
        </div>
      )}
      {props.problems && props.problems.length > 0 && (
        <div id={`${props.id}-error`} role="alert">
          {props.problems.map((problem) => (
            <p className="error" key={problem.message}>
              {problem.message}
            </p>
          ))}
        </div>
      )}
    </div>
  );
}

const describing = (id: string, { hint, problems }: Described) => ({
  id,
  "aria-invalid": problems?.length ? true : undefined,
  "aria-describedby":
    [hint ? `${id}-hint` : "", problems?.length ? `${id}-error` : ""].filter(Boolean).join(" ") || undefined,
});

export function Field({ label, hint, problems, ...input }: Described & InputHTMLAttributes<HTMLInputElement>) {
  const id = useId();
  return (
    <Labelled id={id} label={label} hint={hint} problems={problems}>
      <input {...describing(id, { label, hint, problems })} {...input} />
    </Labelled>
  );
}

export function TextArea({ label, hint, problems, ...area }: Described & TextareaHTMLAttributes<HTMLTextAreaElement>) {
  const id = useId();
  return (
    <Labelled id={id} label={label} hint={hint} problems={problems}>
      <textarea {...describing(id, { label, hint, problems })} {...area} />
    </Labelled>
  );
}

export function Select({ label, hint, problems, ...select }: Described & SelectHTMLAttributes<HTMLSelectElement>) {
  const id = useId();
  return (
    <Labelled id={id} label={label} hint={hint} problems={problems}>
      <select {...describing(id, { label, hint, problems })} {...select} />
    </Labelled>
  );
}

export function Check({ label, ...input }: { label: string } & InputHTMLAttributes<HTMLInputElement>) {
  return (
    <label className="check">
      <input type="checkbox" {...input} /> {label}
    </label>
  );
}

export function Notice(props: { kind?: "bad" | "warn" | "good"; children: ReactNode }) {
  return (
    <div className={`notice ${props.kind ?? ""}`} role={props.kind === "bad" ? "alert" : "status"}>
      {props.children}
    </div>
  );
}

/** What is wrong that belongs to no field. */
export function Problems(props: { problems: readonly Problem[] }) {
  if (!props.problems.length) return null;
  return (
    <Notice kind="bad">
      {props.problems.map((problem) => (
        <p key={problem.message}>{problem.message}</p>
      ))}
    </Notice>
  );
}

/** A read that failed, and what to do. */
export function Failure(props: { error: Error; again?: () => void }) {
  return (
    <Notice kind="bad">
      <p>{props.error instanceof TransportError ? "The server cannot be reached." : props.error.message}</p>
      {props.again && <button onClick={props.again}>Try again</button>}
    </Notice>
  );
}

export const Loading = () => (
  <p className="quiet" role="status">
    Loading…
  </p>
);

export const Empty = (props: { children: ReactNode }) => <div className="empty">{props.children}</div>;

/** A dialog that holds a form. Escape and the backdrop's close button leave it. */
export function Dialog(props: {
  title: string;
  open: boolean;
  onClose: () => void;
  onSubmit?: (form: FormData) => void;
  /** Text of the button that closes it. */
  cancel?: string;
  actions?: ReactNode;
  children: ReactNode;
}) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    if (props.open && dialog && !dialog.open) dialog.showModal();
    if (!props.open && dialog?.open) dialog.close();
  }, [props.open]);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    props.onSubmit?.(new FormData(event.currentTarget));
  };
  return (
    <dialog ref={element} aria-labelledby={id} onClose={props.onClose}>
      {props.open && (
        <form onSubmit={submit}>
          <h2 id={id}>{props.title}</h2>
          {props.children}
          <div className="actions">
            <button type="button" onClick={props.onClose}>
              {props.cancel ?? "Cancel"}
            </button>
            {props.actions}
          </div>
        </form>
      )}
    </dialog>
  );
}

/** Made once: a page of a hundred users shows two hundred instants. */
const INSTANT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** An instant, in the reader's zone; the exact one on hover. */
export function Moment(props: { at: string | null | undefined }) {
  if (!props.at) return <span className="quiet">never</span>;
  return (
    <time dateTime={props.at} title={props.at}>
      {INSTANT.format(new Date(props.at))}
    </time>
  );
}

export function ProgressBar(props: { done: number; total: number; what: string }) {
  return (
    <div role="group" aria-label={`${props.what}: progress`}>
      <progress value={props.done} max={props.total || 1} aria-label={props.what} />
      <p className="quiet">
        {props.done.toLocaleString()} of {plural(props.total, props.what)}
      </p>
    </div>
  );
}

export const Badge = (props: { kind?: "good" | "warn" | "bad"; children: ReactNode }) => (
  <span className={`badge ${props.kind ?? ""}`}>{props.children}</span>
);

/** JSON as a tree that folds. Everything in it is text. */
export function Tree(props: { value: unknown; name?: string }) {
  const { value, name } = props;
  const label = name === undefined ? null : <span className="mono">{name}: </span>;
  if (value === null || typeof value !== "object") {
    return (
      <span>
        {label}
        <code>{writeExact(value)}</code>
      </span>
    );
  }
  const entries = Object.entries(value);
  if (!entries.length) {
    return (
      <span>
        {label}
        <code>{Array.isArray(value) ? "[]" : "{}"}</code>
      </span>
    );
  }
  const inner = (
    <ul className="tree">
      {entries.map(([key, one]) => (
        <li key={key}>
          <Tree name={key} value={one} />
        </li>
      ))}
    </ul>
  );
  if (name === undefined) return inner;
  return (
    <details open>
      <summary>
        <span className="mono">{name}</span>{" "}
        <span className="quiet">{Array.isArray(value) ? plural(entries.length, "item") : plural(entries.length, "field")}</span>
      </summary>
      {inner}
    </details>
  );
}
