/** Lists that miss no change: ask for the head of the log, then read, then follow the changes after that head. */
import { useEffect, useState } from "react";

import { type UserChange, useUserChanges } from "../live";
import { useRead } from "../use";
import { HEAD } from "./documents";

const PAUSE_MS = 2_000;

export interface Head {
  /** Null until it is known. */
  position: string | null;
  /** How often it was read: what follows from the head begins anew with each reading. */
  readings: number;
  error: Error | undefined;
  again: () => void;
}

/** The head of the log when the page began, or when `again` was called last. */
export function useHead(): Head {
  const { data, error, again } = useRead(HEAD, {});
  const [readings, count] = useState(0);
  useEffect(() => {
    if (data) count((before) => before + 1);
  }, [data]);
  const position = data ? data.projections.reduce((most, { head }) => (BigInt(head) > most ? BigInt(head) : most), 0n) : null;
  return { position: readings ? (position?.toString() ?? null) : null, readings, error, again };
}

/** Follows changes of users from the head on. After a gap it waits a moment, so that a failure does not repeat at once. */
export function FollowUsers(props: {
  after: string;
  userId?: string;
  onChange: (change: UserChange) => void;
  onGap: () => void;
}) {
  const [gaps, setGaps] = useState(0);
  const { onGap } = props;
  useEffect(() => {
    if (!gaps) return undefined;
    const timer = setTimeout(onGap, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [gaps]); // a new `onGap` is no new gap
  useUserChanges(props.userId ? { userId: props.userId } : {}, {
    after: props.after,
    onChange: props.onChange,
    onGap: () => setGaps((count) => count + 1),
  });
  return null;
}
