/** Lists that miss no change: ask for the head of the log, then read, then follow the changes after that head. */
import { useEffect, useState } from "react";

import { useRead } from "../use";
import { HEAD } from "./documents";

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
