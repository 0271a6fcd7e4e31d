/** What one is writing, beside the record as it is now. */
import { useState } from "react";

import type { Versioned } from "./useEditing";
import { equal, type Fields } from "./values";

export interface Draft {
  /** The record that the draft began with. */
  base: Versioned;
  fields: Fields;
  dirty: boolean;
  /** Another editor has changed the record since the draft began. */
  behind: boolean;
  write: (fields: Fields) => void;
  reset: () => void;
}

/** While nothing is written, the draft follows the record; after that it stays as it is. */
export function useDraft(current: Versioned): Draft {
  const [{ base, fields }, become] = useState({ base: current, fields: current.fields });
  const dirty = !equal(base.fields, fields);
  const behind = current.version > base.version;
  if (!dirty && behind) become({ base: current, fields: current.fields });
  return {
    base,
    fields,
    dirty,
    behind,
    write: (next) => become({ base, fields: next }),
    reset: () => become({ base, fields: base.fields }),
  };
}
