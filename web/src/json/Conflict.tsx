/** Two people have changed the same record: both values are shown, place by place, and one chooses. */
import { useState } from "react";

import { Notice, Problems } from "../components/ui";
import { isText, writeExact } from "./exact";
import type { Editing } from "./useEditing";
import { type Difference, differences, type Fields, withValue } from "./values";

const shown = (value: unknown): string =>
  value === undefined ? "(not there)" : isText(value) ? value || "(empty)" : writeExact(value, 1);

const key = ({ path }: Difference): string => JSON.stringify(path);

/** The conflict of an edit; null while there is none. `onDone` ends the edit, saved or not. */
export function EditConflict({ editing, onDone }: { editing: Editing; onDone: () => void }) {
  const { conflict } = editing;
  if (!conflict) return null;
  return (
    <>
      <Conflict
        key={conflict.theirs.version}
        base={conflict.base}
        mine={conflict.mine}
        theirs={conflict.theirs.fields}
        running={editing.running}
        onChoose={(value) => void editing.choose(value).then((saved) => saved && onDone())}
        onCancel={onDone}
      />
      <Problems problems={editing.problems} />
    </>
  );
}

function Conflict(props: {
  base: Fields;
  mine: Fields;
  theirs: Fields;
  running: boolean;
  /** The value that was chosen. */
  onChoose: (value: Fields) => void;
  onCancel: () => void;
}) {
  const found = differences(props.base, props.mine, props.theirs);
  const [chosen, choose] = useState<ReadonlyMap<string, "mine" | "theirs">>(new Map());
  const choice = (difference: Difference) => chosen.get(key(difference)) ?? (difference.by === "theirs" ? "theirs" : "mine");
  const result = found
    .filter((difference) => choice(difference) === "mine")
    .reduce<unknown>((value, { path, mine }) => withValue(value, path, mine), props.theirs);
  return (
    <section className="stack" aria-label="Conflict">
      <Notice kind="warn">
        <p>This was changed elsewhere while you edited it. Nothing is saved yet: choose what to keep.</p>
      </Notice>
      {!found.length && <p>The other change is the same as yours. There is nothing left to save.</p>}
      {found.map((difference) => (
        <fieldset key={key(difference)}>
          <legend className="wrap">{difference.path.join(" › ")}</legend>
          <div className="versus">
            {(["mine", "theirs"] as const).map((side) => (
              <label key={side} className="choice">
                <input
                  type="radio"
                  name={key(difference)}
                  checked={choice(difference) === side}
                  onChange={() => choose(new Map([...chosen, [key(difference), side]]))}
                />
                <span>
                  {side === "mine" ? "Yours" : "Theirs"}
                  {difference.by === (side === "mine" ? "theirs" : "mine") && <span className="quiet"> (as before)</span>}
                  <pre>{shown(difference[side])}</pre>
                </span>
              </label>
            ))}
          </div>
        </fieldset>
      ))}
      <div className="actions">
        <button type="button" onClick={props.onCancel}>
          Discard my changes
        </button>
        <button type="button" className="primary" disabled={props.running} onClick={() => props.onChoose(result as Fields)}>
          {found.length ? "Save the choice" : "Go on"}
        </button>
      </div>
    </section>
  );
}
