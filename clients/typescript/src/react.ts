/** React hooks. What they show follows the log: it is read once, and changed by what happens after that. */
import { createContext, createElement, type ReactNode, useCallback, useContext, useEffect, useRef, useState, useSyncExternalStore } from "react";

import type { CallOptions, Client } from "./client.js";
import type { Document, Variables } from "./documents.js";
import { LogChangedError, type OperationError, RollcallError, ThrottledError, TransportError, UnavailableError } from "./errors.js";
import {
  DataChangesDocument,
  type DataChangesSubscription,
  type DataChangesSubscriptionVariables,
  LoginDocument,
  type LoginMutation,
  MeDocument,
  UserChangesDocument,
  type UserChangesSubscription,
  type UserChangesSubscriptionVariables,
  UserDocument,
  type UserFieldsFragment,
  UsersDocument,
  type UsersQuery,
  type UsersQueryVariables,
} from "./generated/operations.js";
import type { Outcome } from "./outcomes.js";
import type { SessionState } from "./session.js";
import type { Connection } from "./subscriptions.js";
import { backOff, pause } from "./waiting.js";

export type User = UserFieldsFragment;
export type UserChange = UserChangesSubscription["userChanges"];
export type DataChange = DataChangesSubscription["dataChanges"];

const ClientContext = createContext<Client | null>(null);
/** At least half of it, and at most one and a half, between two readings of a list that changes all the time. */
const REREAD_MS = 500;

export function RollcallProvider(properties: { client: Client; children?: ReactNode }): ReactNode {
  return createElement(ClientContext.Provider, { value: properties.client }, properties.children);
}

export function useClient(): Client {
  const client = useContext(ClientContext);
  if (!client) throw new Error("there is no RollcallProvider around this component");
  return client;
}

export type UseSession = SessionState & {
  signIn: (login: string, password: string, options?: CallOptions) => Promise<Outcome<LoginMutation>>;
  signOut: (options?: CallOptions & { everywhere?: boolean }) => Promise<void>;
};

/** Who is signed in, in any tab. */
export function useSession(): UseSession {
  const client = useClient();
  const state = useSessionState(client);
  useEffect(() => {
    if (state.status !== "starting") return;
    const stop = new AbortController();
    void retrying(stop.signal, () => client.session.start(), () => undefined);
    return () => stop.abort();
  }, [client, state.status]);
  const signIn = useCallback<UseSession["signIn"]>(
    (login, password, options) => client.mutate(LoginDocument, { input: { login, password } }, options),
    [client],
  );
  const signOut = useCallback<UseSession["signOut"]>((options) => client.signOut(options), [client]);
  return { ...state, signIn, signOut };
}

/** Whether the subscriptions reach the server. */
export function useConnection(): Connection {
  const client = useClient();
  const subscribe = useCallback((watcher: () => void) => client.onConnection(watcher), [client]);
  const connection = () => client.connection;
  return useSyncExternalStore(subscribe, connection, connection);
}

export interface FollowOptions {
  /** The log was restored: read anew what you show. Changes go on from now on. */
  onLogChanged?: () => void;
}

/**
 * Call a function for each answer of a subscription, from now on or after `variables.after`. While the variables are
 * null it waits: what a subscription goes on from may not have been read yet. Returns why the last attempt has failed.
 */
export function useSubscription<Data, V>(
  document: Document<Data, V>,
  variables: V | null,
  onData: (data: Data) => void,
  options: FollowOptions = {},
): { error: Error | undefined } {
  const latest = useRef({ onData, ...options });
  latest.current = { onData, ...options };
  const [error, setError] = useState<Error>();
  const task = async (client: Client, signal: AbortSignal) => {
    setError(undefined);
    let given = variables as Variables;
    const follow = async () => {
      const changes = client.subscribe<Data, never>(document, given as never, { signal });
      try {
        for await (const data of changes) {
          setError(undefined);
          latest.current.onData(data);
        }
      } finally {
        given = changes.variables;
      }
    };
    await retrying(signal, follow, setError, () => {
      const { after: _, cursor: __, ...others } = given;
      given = others;
      latest.current.onLogChanged?.();
    });
  };
  useWhileSignedIn(variables && JSON.stringify(variables), task, document);
  return { error };
}

/** Call a function for each change from now on, or after `variables.after`. */
export function useUserChanges(
  variables: UserChangesSubscriptionVariables | null,
  onChange: (change: UserChange) => void,
  options: FollowOptions = {},
): { error: Error | undefined } {
  return useSubscription(UserChangesDocument, variables, ({ userChanges }) => onChange(userChanges), options);
}

/** The same for data objects. */
export function useDataChanges(
  variables: DataChangesSubscriptionVariables | null,
  onChange: (change: DataChange) => void,
  options: FollowOptions = {},
): { error: Error | undefined } {
  return useSubscription(DataChangesDocument, variables, ({ dataChanges }) => onChange(dataChanges), options);
}

export interface Live<Data> {
  /** Undefined until it was read. */
  readonly data: Data | undefined;
  readonly error: Error | undefined;
}

/** A user as of now; null if there is none, or none that one may read. */
export function useUser(id: string): Live<User | null> {
  const [live, become] = useState<Live<User | null>>(NOTHING);
  useWhileSignedIn(id, async (client, signal) => {
    become(NOTHING);
    const follow = async () => {
      const { data, position } = await client.query(UserDocument, { id }, { signal });
      become({ data: data.user, error: undefined });
      const changes = client.subscribe(UserChangesDocument, { userId: id, after: position }, { signal });
      for await (const { userChanges } of changes) {
        const { user, version, type } = userChanges;
        become(({ data, error }) => {
          if (type === "USER_DELETED") return { data: null, error };
          return user && version > (data?.version ?? 0) ? { data: user, error } : { data, error };
        });
      }
    };
    await retrying(signal, follow, (error) => become(({ data }) => ({ data, error })));
  });
  return live;
}

/** The signed-in user as of now. One who is deleted is signed out. */
export function useMe(): Live<User> {
  const [live, become] = useState<Live<User>>(NOTHING);
  const { userId } = useSessionState(useClient());
  useWhileSignedIn("", async (client, signal) => {
    become(NOTHING);
    const follow = async () => {
      const { data } = await client.query(MeDocument, {}, { signal });
      const { me } = data;
      if (!me) return; // the session has ended
      become({ data: me, error: undefined });
      for await (const { userChanges } of client.subscribe(UserChangesDocument, { userId: me.id, after: me.position }, { signal })) {
        const { user, version, type } = userChanges;
        if (type === "USER_DELETED") client.session.ended("deleted");
        else if (user) become(({ data }) => ({ data: version > (data?.version ?? 0) ? user : data, error: undefined }));
      }
    };
    await retrying(signal, follow, (error) => become(({ data }) => ({ data, error })));
  });
  return live.data && live.data.id !== userId ? NOTHING : live; // until the next user was read
}

export interface UserList {
  readonly users: readonly User[];
  readonly pageInfo: UsersQuery["users"]["pageInfo"];
}

/**
 * A page of users as of now. One that changes is changed in its place; the page is read again if that may have changed
 * who is on it.
 */
export function useUsers(variables: UsersQueryVariables = {}): Live<UserList> {
  const [live, become] = useState<Live<UserList>>(NOTHING);
  useWhileSignedIn(JSON.stringify(variables), async (client, signal) => {
    become(NOTHING);
    /** For each reading that is under way, what has happened since it began. */
    const readings = new Set<UserChange[]>();
    const read = async () => {
      const since: UserChange[] = [];
      readings.add(since);
      try {
        const { data, position } = await client.query(UsersDocument, variables, { signal });
        const { edges, pageInfo } = data.users;
        const users = since.reduce<readonly User[]>(after, edges.map(({ node }) => node));
        become({ data: { users, pageInfo }, error: undefined });
        return position;
      } finally {
        readings.delete(since);
      }
    };
    const failed = (error: Error) => become(({ data }) => ({ data, error }));
    const arranged = variables.filter != null || variables.orderBy != null;
    let rereading = false;
    let again = false;
    const reread = async () => {
      again = true;
      if (rereading) return;
      rereading = true;
      while (again && !signal.aborted) {
        again = false;
        await retrying(signal, read, failed);
        await pause(REREAD_MS * (0.5 + Math.random()), signal).catch(() => undefined);
      }
      rereading = false;
    };
    const follow = async () => {
      const position = await read();
      for await (const { userChanges } of client.subscribe(UserChangesDocument, { after: position }, { signal })) {
        for (const since of readings) since.push(userChanges);
        become(({ data, error }) => ({ data: data && { ...data, users: after(data.users, userChanges) }, error }));
        // By the default order and without a filter, only these change who is on the page.
        if (arranged || userChanges.type === "USER_REGISTERED" || userChanges.type === "USER_DELETED") void reread();
      }
    };
    await retrying(signal, follow, failed);
  });
  return live;
}

const NOTHING = { data: undefined, error: undefined };

/** Users after a change. One that was read later than the change stays. */
function after(users: readonly User[], { type, userId, version, user }: UserChange): readonly User[] {
  if (type === "USER_DELETED") return users.filter(({ id }) => id !== userId);
  return user ? users.map((one) => (one.id === userId && one.version < version ? user : one)) : users;
}

function useSessionState(client: Client): SessionState {
  const subscribe = useCallback((listener: () => void) => client.session.onChange(listener), [client]);
  const state = () => client.session.state;
  return useSyncExternalStore(subscribe, state, state);
}

/** Run a task while a user is signed in and there is a key; anew for another user, client, key and document. */
function useWhileSignedIn(
  key: string | null,
  task: (client: Client, signal: AbortSignal) => Promise<void>,
  document?: unknown,
): void {
  const client = useClient();
  const { userId } = useSessionState(client);
  const latest = useRef(task);
  latest.current = task;
  useEffect(() => {
    if (userId === null || key === null) return;
    const stop = new AbortController();
    void latest.current(client, stop.signal);
    return () => stop.abort();
  }, [client, userId, key, document]);
}

const PASSING = [TransportError, UnavailableError, ThrottledError, LogChangedError];

/** Run a task until it succeeds, fails for good, or is stopped. */
async function retrying(
  signal: AbortSignal,
  task: () => Promise<unknown>,
  onError: (error: Error) => void,
  onLogChanged: () => void = () => undefined,
): Promise<void> {
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      await task();
      return;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof LogChangedError) onLogChanged();
      else onError(error instanceof Error ? error : new RollcallError(String(error)));
      if (!PASSING.some((kind) => error instanceof kind) && (error as OperationError).code !== "INTERNAL") return;
      const seconds = error instanceof ThrottledError ? (error.retryAfter ?? 0) : 0;
      await pause(seconds * 1000 + backOff(failures), signal).catch(() => undefined);
    }
  }
}
