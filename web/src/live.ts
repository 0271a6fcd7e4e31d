/** Subscriptions that survive a lost connection: they go on after the last position that was seen. */
import { print } from "graphql";
import { useEffect, useRef, useState } from "react";

import { subscribe } from "./connection";
import { graphql } from "./gql";
import type { DataChangesSubscription, ProjectionStatusSubscription, UserChangesSubscription } from "./gql/graphql";

export const USER_CHANGES = graphql(`
  subscription UserChanges($userId: ID, $types: [UserEventType!], $after: Position) {
    userChanges(userId: $userId, types: $types, after: $after) {
      position type userId version changedFields recordedAt
      user { id username name email role attributes version position createdAt updatedAt }
    }
  }
`);
export const DATA_CHANGES = graphql(`
  subscription DataChanges($ownerId: ID, $after: Position) {
    dataChanges(ownerId: $ownerId, after: $after) {
      position type dataId ownerId version changedFields recordedAt
      data { id number name content version position createdAt updatedAt }
    }
  }
`);
export const PROJECTION_STATUS = graphql(`
  subscription ProjectionStatus {
    projectionStatus {
      name state position head lag lagSeconds eventsPerSecond quarantined rebuildProgress lastError updatedAt
      active standbys errorNumber binlogFile binlogPosition
    }
  }
`);

export type UserChange = UserChangesSubscription["userChanges"];
export type DataChange = DataChangesSubscription["dataChanges"];
export type ProjectionStatus = ProjectionStatusSubscription["projectionStatus"][number];

interface Listening<Change> {
  /** After this position; by default, from now on. */
  after?: string | null;
  onChange: (change: Change) => void;
  /** There was no connection before the first change: what happened meanwhile has to be read again. */
  onGap?: () => void;
}

/** The first value that is known: what is read later does not move the beginning of a subscription. */
export function useFirst<Value>(value: Value | undefined): Value | undefined {
  const [first, keep] = useState(value);
  useEffect(() => {
    if (first === undefined && value !== undefined) keep(value);
  }, [first, value]);
  return first;
}

function useChanges<Change extends { position: string }>(
  query: string,
  field: "userChanges" | "dataChanges",
  variables: Record<string, unknown>,
  { after, onChange, onGap }: Listening<Change>,
): void {
  const handlers = useRef({ onChange, onGap });
  handlers.current = { onChange, onGap };
  const key = JSON.stringify(variables);
  useEffect(() => {
    // The same payload is sent again after a loss of the connection: `after` moves with what was seen.
    const variables: Record<string, unknown> = { ...(JSON.parse(key) as object), after: after ?? undefined };
    return subscribe({
      payload: { query, variables },
      next: (data) => {
        const change = (data as Partial<Record<typeof field, Change>>)[field];
        if (!change) return;
        variables["after"] = change.position;
        handlers.current.onChange(change);
      },
      again: (refusals) => {
        if (refusals.some(({ extensions }) => extensions?.["code"] === "LOG_CHANGED")) delete variables["after"];
        if (variables["after"] === undefined) handlers.current.onGap?.();
      },
    });
  }, [query, field, key, after]);
}

export function useUserChanges(variables: { userId?: string }, listening: Listening<UserChange>): void {
  useChanges(print(USER_CHANGES), "userChanges", variables, listening);
}

export function useDataChanges(variables: { ownerId?: string }, listening: Listening<DataChange>): void {
  useChanges(print(DATA_CHANGES), "dataChanges", variables, listening);
}

/** The projections as they are now; null until they are known. */
export function useProjectionStatus(): ProjectionStatus[] | null {
  const [projections, become] = useState<ProjectionStatus[] | null>(null);
  useEffect(
    () =>
      subscribe({
        payload: { query: print(PROJECTION_STATUS), variables: {} },
        next: (data) => become((data as ProjectionStatusSubscription).projectionStatus),
      }),
    [],
  );
  return projections;
}
