/** Reads and writes of pages. */
import { type CallOptions, type Document, OperationError, SessionNotKeptError, TransportError } from "@rollcall/client";
import { useConnection } from "@rollcall/client/react";
import { useCallback, useEffect, useRef, useState } from "react";

import type { Problem } from "./components/ui";
import { client } from "./session";
import { newKey } from "./text";

export interface Read<Data> {
  data: Data | undefined;
  /** What happened after it is not in the data that was read first. Undefined until that was read. */
  position: string | null | undefined;
  error: Error | undefined;
  loading: boolean;
  again: () => void;
  /** Change what was read, as a live change says. */
  patch: (change: (data: Data) => Data) => void;
}

/**
 * A query, asked again whenever its variables change, and when the connection is back after the server was away. What
 * was read before stays until the answer is there.
 */
export function useRead<Data, Variables extends object>(
  document: Document<Data, Variables>,
  variables: Variables,
  options: { skip?: boolean } = {},
): Read<Data> {
  const [result, become] = useState<{ data?: Data; error?: Error; loading: boolean }>({ loading: !options.skip });
  const [position, beginAt] = useState<string | null>();
  const [turn, setTurn] = useState(0);
  const key = JSON.stringify(variables);
  useEffect(() => {
    if (options.skip) return;
    let current = true;
    become(({ data }) => ({ data, loading: true }));
    client.query<Data, never>(document as Document<Data, never>, JSON.parse(key) as never).then(
      ({ data, position: found }) => {
        if (!current) return;
        beginAt((first) => (first === undefined ? found : first));
        become({ data, loading: false });
      },
      (error: Error) => {
        const part = error instanceof OperationError ? (error.data as Data | null) : null;
        if (current) become((before) => ({ data: part ?? before.data, error, loading: false }));
      },
    );
    return () => {
      current = false;
    };
  }, [document, key, turn, options.skip]);
  const again = useCallback(() => setTurn((one) => one + 1), []);
  const unanswered = useRef(false);
  unanswered.current = result.error instanceof TransportError;
  const connection = useConnection();
  useEffect(() => {
    if (connection === "open" && unanswered.current) again();
  }, [connection, again]);
  const patch = useCallback(
    (change: (data: Data) => Data) =>
      become((before) => (before.data === undefined ? before : { ...before, data: change(before.data) })),
    [],
  );
  return { data: result.data, position, error: result.error, loading: result.loading, again, patch };
}

export interface Write<Variables, Result> {
  problems: readonly Problem[];
  running: boolean;
  clear: () => void;
  /** The payload; null if it was refused, with `problems`. */
  send: (variables: Variables, options?: CallOptions) => Promise<Result | null>;
}

/** A mutation. Whatever is wrong, expected or not, is in `problems`. */
export function useWrite<Data, Variables extends object, Name extends keyof Data & string>(
  document: Document<Data, Variables>,
  name: Name,
): Write<Variables, Data[Name]> {
  const [problems, setProblems] = useState<readonly Problem[]>([]);
  const [running, setRunning] = useState(false);
  const busy = useRef(false);
  const send = useCallback(
    async (variables: Variables, options?: CallOptions): Promise<Data[Name] | null> => {
      if (busy.current) return null;
      busy.current = true;
      setRunning(true);
      try {
        const { payload, problems: found } = await write(document, name, variables, options);
        setProblems(found);
        return found.length ? null : payload;
      } finally {
        busy.current = false;
        setRunning(false);
      }
    },
    [document, name],
  );
  const clear = useCallback(() => setProblems([]), []);
  return { problems, running, clear, send };
}

/** A mutation that makes something. A form that is sent again, since the answer was lost, makes it once. */
export function useMaking<
  Data,
  Input extends { idempotencyKey?: string | null | undefined },
  Name extends keyof Data & string,
>(document: Document<Data, { input: Input }>, name: Name): Write<{ input: Input }, Data[Name]> {
  const making = useWrite(document, name);
  const { send } = making;
  const latest = useRef<{ text: string; key: string } | null>(null);
  const sendOnce = useCallback(
    async ({ input }: { input: Input }): Promise<Data[Name] | null> => {
      const text = JSON.stringify(input);
      if (latest.current?.text !== text) latest.current = { text, key: newKey() }; // a key is for one input
      const made = await send({ input: { ...input, idempotencyKey: latest.current.key } });
      if (made) latest.current = null;
      return made;
    },
    [send],
  );
  return { ...making, send: sendOnce };
}

/** Send one mutation outside of a form. */
export async function write<Data, Variables extends object, Name extends keyof Data & string>(
  document: Document<Data, Variables>,
  name: Name,
  variables: Variables,
  options?: CallOptions,
): Promise<{ payload: Data[Name] | null; problems: readonly Problem[] }> {
  try {
    const { data } = await client.execute<Data, never>(document as Document<Data, never>, variables as never, options);
    const payload = data[name];
    return { payload, problems: (payload as { errors?: readonly Problem[] }).errors ?? [] };
  } catch (error) {
    return { payload: null, problems: [problemOf(error)] };
  }
}

export function problemOf(error: unknown): Problem {
  if (error instanceof OperationError) {
    const [first] = error.errors;
    return { code: error.code ?? "INTERNAL", message: first?.message ?? error.message, extensions: first?.extensions };
  }
  if (error instanceof SessionNotKeptError) {
    return { code: "SESSION_NOT_KEPT", message: "The server cannot be reached now. You are not signed in yet: try again." };
  }
  return { code: "NETWORK", message: "The server cannot be reached. Nothing was lost: try again." };
}

/** Call a function at an interval while the page is visible. */
export function useEvery(milliseconds: number, call: () => void): void {
  const latest = useRef(call);
  latest.current = call;
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && latest.current(), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
}
