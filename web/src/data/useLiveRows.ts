/** Rows that change under one's eyes without moving: new ones wait until they are asked for. */
import { type DataChange, useDataChanges } from "@rollcall/client/react";
import { useEffect, useState } from "react";

import type { Read } from "../use";

export interface Row {
  id: string;
  number: number;
  name: string;
  version: number;
  createdAt: string;
  updatedAt: string;
  owner: { id: string; username: string };
}

export interface LiveRow extends Row {
  /** Counts the changes since the list was read; 0 for none. */
  changes: number;
  gone: boolean;
}

/** Of a list that is left open while very many are made, the count stops here: each that is added copies those before. */
const MOST_ADDED = 1_000;

type Overlay = ReadonlyMap<string, { change: DataChange; changes: number }>;

function over(row: Row, overlay: Overlay): LiveRow {
  const found = overlay.get(row.id);
  if (!found || found.change.version <= row.version) return { ...row, changes: 0, gone: false };
  const { change, changes } = found;
  if (change.type === "DATA_DELETED") return { ...row, changes, gone: true };
  const handedOver = change.ownerId !== row.owner.id;
  return {
    ...row,
    ...(change.data && { name: change.data.name, version: change.data.version, updatedAt: change.data.updatedAt }),
    owner: handedOver ? { id: change.ownerId, username: "another user" } : row.owner,
    changes,
    gone: false,
  };
}

/** `rows` as they are now, and how many data objects are new. They are of `read`; `key` names what is listed. */
export function useLiveRows(
  rows: readonly Row[],
  options: { ownerId?: string | undefined; key: string; read: Pick<Read<unknown>, "again" | "position"> },
): { rows: LiveRow[]; added: number; show: () => void } {
  const { ownerId, key } = options;
  const { again, position } = options.read;
  const [overlay, setOverlay] = useState<Overlay>(new Map());
  const [added, setAdded] = useState<ReadonlySet<string>>(new Set());
  const clear = () => {
    setOverlay(new Map());
    setAdded(new Set());
  };
  useEffect(clear, [key]);
  useDataChanges(
    position === undefined ? null : { ...(ownerId && { ownerId }), after: position },
    (change) => {
      if (rows.some(({ id }) => id === change.dataId)) {
        setOverlay((before) => {
          const changes = (before.get(change.dataId)?.changes ?? 0) + 1;
          return new Map([...before, [change.dataId, { change, changes }]]);
        });
      } else if (change.type === "DATA_CREATED" || change.type === "DATA_TRANSFERRED") {
        setAdded((before) => (before.size < MOST_ADDED ? new Set([...before, change.dataId]) : before));
      } else if (change.type === "DATA_DELETED") {
        setAdded((before) => new Set([...before].filter((id) => id !== change.dataId)));
      }
    },
    { onLogChanged: again },
  );
  const fresh = [...added].filter((id) => !rows.some((row) => row.id === id));
  return {
    rows: rows.map((row) => over(row, overlay)),
    added: fresh.length,
    show: () => {
      clear();
      again();
    },
  };
}
