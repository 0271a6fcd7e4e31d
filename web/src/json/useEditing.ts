/** Editing a record that others may change meanwhile: a patch with the expected version, and a conflict if it is stale. */
import { useCallback, useState } from "react";

import type { Problem } from "../components/ui";
import { canPatch, equal, type Fields, patchOf } from "./values";

/** A record's fields, such as name and content, at a version. */
export interface Versioned {
  version: number;
  fields: Fields;
}

export interface Saved {
  problems: readonly Problem[];
}

export interface Editing {
  problems: readonly Problem[];
  running: boolean;
  conflict: { base: Fields; mine: Fields; theirs: Versioned } | null;
  /** Save `mine`, which was made of `base`. True if it is saved. */
  save: (base: Versioned, mine: Fields) => Promise<boolean>;
  /** Save what was chosen in the conflict. */
  choose: (value: Fields) => Promise<boolean>;
  cancel: () => void;
}

const NULL: Problem = {
  code: "INVALID",
  message: "A field cannot be set to null: null removes it. Remove the field, or give it another value.",
};

/** `send` sends a merge patch; `reread` reads the record as it is now, null if it is gone. */
export function useEditing(
  send: (patch: Fields, expectedVersion: number) => Promise<Saved>,
  reread: () => Promise<Versioned | null>,
): Editing {
  const [problems, setProblems] = useState<readonly Problem[]>([]);
  const [running, run] = useState(false);
  const [conflict, setConflict] = useState<Editing["conflict"]>(null);

  const save = async (base: Versioned, mine: Fields): Promise<boolean> => {
    if (running) return false;
    if (equal(base.fields, mine)) {
      setProblems([]);
      setConflict(null);
      return true;
    }
    if (!canPatch(base.fields, mine)) {
      setProblems([NULL]);
      return false;
    }
    run(true);
    try {
      const { problems: found } = await send(patchOf(base.fields, mine), base.version);
      if (!found.some(({ code }) => code === "STALE_VERSION")) {
        setProblems(found);
        if (!found.length) setConflict(null);
        return !found.length;
      }
      const theirs = await reread();
      setProblems(theirs ? [] : [{ code: "NOT_FOUND", message: "It has been deleted meanwhile." }]);
      setConflict(theirs && { base: base.fields, mine, theirs });
      return false;
    } catch (error) {
      setProblems([{ code: "NETWORK", message: error instanceof Error ? error.message : String(error) }]);
      return false;
    } finally {
      run(false);
    }
  };
  const choose = async (value: Fields): Promise<boolean> => (conflict ? save(conflict.theirs, value) : false);
  const cancel = useCallback(() => {
    setProblems([]);
    setConflict(null);
  }, []);
  return { problems, running, conflict, save, choose, cancel };
}
