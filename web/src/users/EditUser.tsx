/** The dialog that changes a user. Another editor's change in between is shown beside one's own, field by field. */
import { useState } from "react";

import { Dialog, Field, Notice, type Problem, Problems, problemsOf, TextArea } from "../components/ui";
import { client } from "../client";
import { useWrite } from "../use";
import { isText, writeExact } from "../json/exact";
import { equal } from "../json/values";
import { asObject, mergePatch, parseObject } from "./attributes";
import { UPDATE_USER, USER } from "./documents";

type Members = Record<string, unknown>;

export interface Editable {
  id: string;
  username: string;
  email: string;
  name: string;
  attributes: unknown;
  version: number;
}

const TEXTS = ["username", "email", "name"] as const;
type TextName = (typeof TEXTS)[number];
const LABELS: Record<TextName, string> = { username: "Username", email: "Email", name: "Name" };

type Values = Record<TextName, string> & { attributes: Members };

const valuesOf = (user: Editable): Values => ({
  username: user.username,
  email: user.email,
  name: user.name,
  attributes: asObject(user.attributes),
});

/** A field that differs between what one wants and what another has written meanwhile. */
interface Conflict {
  path: readonly [string] | readonly ["attributes", string];
  mine: unknown;
  theirs: unknown;
  /** Only the other has changed it, so it stays theirs unless one says otherwise. */
  onlyTheirs: boolean;
}

function conflictsOf(base: Values, mine: Values, theirs: Values): Conflict[] {
  const found: Conflict[] = [];
  for (const name of TEXTS) {
    if (mine[name] !== theirs[name]) {
      found.push({ path: [name], mine: mine[name], theirs: theirs[name], onlyTheirs: mine[name] === base[name] });
    }
  }
  for (const key of new Set([...Object.keys(mine.attributes), ...Object.keys(theirs.attributes)])) {
    const [one, other, before] = [mine.attributes, theirs.attributes, base.attributes].map((values) =>
      Object.hasOwn(values, key) ? values[key] : undefined,
    );
    if (!equal(one, other)) found.push({ path: ["attributes", key], mine: one, theirs: other, onlyTheirs: equal(one, before) });
  }
  return found;
}

/** Their values, with one's own where one's own were chosen. */
function chosen(theirs: Values, conflicts: readonly Conflict[], mine: ReadonlySet<Conflict>): Values {
  const result: Values = { ...theirs, attributes: { ...theirs.attributes } };
  for (const conflict of conflicts) {
    if (!mine.has(conflict)) continue;
    const [name, key] = conflict.path;
    if (key === undefined) result[name as TextName] = String(conflict.mine);
    else if (conflict.mine === undefined) delete result.attributes[key];
    else result.attributes[key] = conflict.mine;
  }
  return result;
}

/** What turns `from` into `to`; only fields that differ. */
function changesOf(from: Values, to: Values) {
  const attributes = mergePatch(from.attributes, to.attributes);
  return {
    ...Object.fromEntries(TEXTS.filter((name) => from[name] !== to[name]).map((name) => [name, to[name]])),
    ...(attributes ? { attributes } : {}),
  };
}

const shown = (value: unknown): string =>
  value === undefined ? "(none)" : isText(value) ? value : writeExact(value, 2);

function Choice(props: { conflict: Conflict; mine: boolean; onChoose: (mine: boolean) => void }) {
  const { conflict } = props;
  const name = conflict.path.join(".");
  return (
    <fieldset className="stack">
      <legend>{LABELS[conflict.path[0] as TextName] && !conflict.path[1] ? LABELS[conflict.path[0] as TextName] : name}</legend>
      <div className="columns tight">
        <label className="check">
          <input type="radio" name={name} checked={props.mine} onChange={() => props.onChoose(true)} />
          <span className="wrap">
            Yours: <code>{shown(conflict.mine)}</code>
          </span>
        </label>
        <label className="check">
          <input type="radio" name={name} checked={!props.mine} onChange={() => props.onChoose(false)} />
          <span className="wrap">
            Theirs: <code>{shown(conflict.theirs)}</code>
          </span>
        </label>
      </div>
    </fieldset>
  );
}

/** Edits the user as it was when the dialog opened; `latest` is what live changes have made of it since. */
export function EditUser(props: { user: Editable; latest: Editable; onClose: () => void; onSaved: () => void }) {
  const update = useWrite(UPDATE_USER, "updateUser");
  const [base, setBase] = useState(() => props.user);
  const [mine, setMine] = useState(() => valuesOf(props.user));
  const [text, setText] = useState(() => writeExact(asObject(props.user.attributes), 2));
  const [notJson, setNotJson] = useState<Problem[]>([]);
  const [theirs, setTheirs] = useState<Editable | null>(null);
  const [conflicts, setConflicts] = useState<readonly Conflict[]>([]);
  const [preferred, setPreferred] = useState<ReadonlySet<Conflict>>(new Set());
  const [gone, setGone] = useState(false);

  const save = async (from: Editable, to: Values) => {
    const changes = changesOf(valuesOf(from), to);
    if (!Object.keys(changes).length) {
      props.onClose();
      return;
    }
    const saved = await update.send({ input: { id: from.id, expectedVersion: from.version, ...changes } });
    if (saved) {
      props.onSaved();
      props.onClose();
    }
  };

  const submit = async () => {
    if (theirs) {
      await save(theirs, chosen(valuesOf(theirs), conflicts, preferred));
      return;
    }
    const attributes = parseObject(text);
    setNotJson("problem" in attributes ? [{ code: "INVALID", message: attributes.problem }] : []);
    if ("problem" in attributes) return;
    const wanted = { ...mine, attributes: attributes.value };
    setMine(wanted);
    await save(base, wanted);
  };

  /** Shows both, and lets one choose. Several editors may do this to each other: the base moves along. */
  const compare = async () => {
    const { data, error } = await client.query(USER, { id: base.id }).toPromise();
    if (error) return;
    update.clear();
    if (!data?.user) {
      setGone(true);
      return;
    }
    const wanted = theirs ? chosen(valuesOf(theirs), conflicts, preferred) : mine;
    const found = conflictsOf(valuesOf(theirs ?? base), wanted, valuesOf(data.user));
    setMine(wanted);
    setBase(theirs ?? base);
    setTheirs(data.user);
    setConflicts(found);
    setPreferred(new Set(found.filter(({ onlyTheirs }) => !onlyTheirs)));
  };

  const stale = update.problems.some(({ code }) => code === "STALE_VERSION");
  const of = (field: string) => (theirs ? [] : problemsOf(update.problems, field));
  const others = update.problems.filter(
    ({ code, field }) => code !== "STALE_VERSION" && (theirs || ![...TEXTS, "attributes"].includes(field?.[0] ?? "")),
  );
  return (
    <Dialog
      title={theirs ? "Two people changed this user" : "Edit the user"}
      open
      onClose={props.onClose}
      onSubmit={() => void submit()}
      actions={
        stale || gone ? undefined : (
          <button className="primary" type="submit" disabled={update.running}>
            {update.running ? "Saving…" : theirs ? "Save what is chosen" : "Save"}
          </button>
        )
      }
    >
      {gone && <Notice kind="bad">This user was deleted meanwhile. There is nothing to save.</Notice>}
      {!gone && stale && (
        <Notice kind="warn">
          <p>Another person has changed this user meanwhile. Nothing was saved yet.</p>
          <button type="button" className="primary" autoFocus onClick={() => void compare()}>
            Show both
          </button>
        </Notice>
      )}
      {!theirs && !stale && props.latest.version > base.version && (
        <Notice kind="warn">This user has changed since you opened the form (version {props.latest.version}). Saving shows both.</Notice>
      )}
      {!gone && !theirs && (
        <>
          {TEXTS.map((name) => (
            <Field
              key={name}
              label={LABELS[name]}
              name={name}
              type={name === "email" ? "email" : "text"}
              autoComplete="off"
              required
              value={mine[name]}
              onChange={(event) => setMine({ ...mine, [name]: event.target.value })}
              problems={of(name)}
            />
          ))}
          <TextArea
            label="Attributes"
            name="attributes"
            className="mono"
            rows={10}
            spellCheck={false}
            value={text}
            onChange={(event) => setText(event.target.value)}
            hint="A JSON object. Only what you change is written; null removes a field."
            problems={notJson.length ? notJson : of("attributes")}
          />
        </>
      )}
      {!gone && theirs && (
        <>
          <p>
            You began with version {base.version}; the user is now at version {theirs.version}. Choose for each field what
            to keep.
          </p>
          {!conflicts.length && <Notice kind="good">Both changes come to the same. There is nothing to save.</Notice>}
          {conflicts.map((conflict) => (
            <Choice
              key={conflict.path.join(".")}
              conflict={conflict}
              mine={preferred.has(conflict)}
              onChoose={(mineToo) =>
                setPreferred((now) => {
                  const next = new Set(now);
                  if (mineToo) next.add(conflict);
                  else next.delete(conflict);
                  return next;
                })
              }
            />
          ))}
        </>
      )}
      <Problems problems={others} />
    </Dialog>
  );
}
