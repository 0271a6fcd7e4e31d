/** The free JSON of a record: a tree to read, a text to edit. */
import { useState } from "react";

import { Card, Empty, Field, Notice, Problems, problemsOf, Tree } from "../components/ui";
import { EditConflict } from "./Conflict";
import { JsonEditor } from "./JsonEditor";
import type { Editing, Versioned } from "./useEditing";
import { type Fields, isFields } from "./values";

const inner = (fields: Fields, name: string): Fields => {
  const value = fields[name];
  return isFields(value) ? value : {};
};

interface Of {
  current: Versioned;
  /** Name of the field that holds the JSON. */
  field: string;
  editing: Editing;
  /** Whether the record has a name to edit too. */
  named?: boolean;
}

function Form({ current, field, editing, named, onDone }: Of & { onDone: () => void }) {
  const [base] = useState(current); // the version that one looks at while editing
  const [json, setJson] = useState<Fields | null>(() => inner(base.fields, field));
  const [name, setName] = useState(String(base.fields["name"] ?? ""));
  const save = async () => {
    if (!json) return;
    const mine = { ...base.fields, [field]: json, ...(named && { name }) };
    if (await editing.save(base, mine)) onDone();
  };
  if (editing.conflict) {
    return (
      <div className="stack">
        <EditConflict editing={editing} onDone={onDone} />
      </div>
    );
  }
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      {current.version > base.version && (
        <Notice kind="warn">This was changed elsewhere meanwhile. You will choose what to keep when you save.</Notice>
      )}
      {named && (
        <Field
          label="Name"
          name="name"
          required
          autoComplete="off"
          value={name}
          onChange={(event) => setName(event.target.value)}
          problems={problemsOf(editing.problems, "name")}
        />
      )}
      <JsonEditor
        label={field === "content" ? "Content as JSON" : "Attributes as JSON"}
        initial={inner(base.fields, field)}
        onChange={setJson}
        hint="Only what you change is sent; everything else stays as it is."
        problems={problemsOf(editing.problems, field)}
      />
      <Problems problems={problemsOf(editing.problems, undefined, named ? [field, "name"] : [field])} />
      <div className="actions">
        <button type="button" onClick={onDone}>
          Cancel
        </button>
        <button className="primary" type="submit" disabled={editing.running || !json}>
          {editing.running ? "Saving…" : "Save"}
        </button>
      </div>
    </form>
  );
}

export function JsonCard(props: Of & { title: string; empty: string; editable?: boolean }) {
  const [open, setOpen] = useState(false);
  const { editable = true, current, field, editing } = props;
  const done = () => {
    editing.cancel();
    setOpen(false);
  };
  const value = inner(current.fields, field);
  return (
    <Card title={props.title} actions={editable && !open && <button onClick={() => setOpen(true)}>Edit as JSON</button>}>
      {open ? (
        <Form {...props} onDone={done} />
      ) : Object.keys(value).length ? (
        <Tree value={value} />
      ) : (
        <Empty>{props.empty}</Empty>
      )}
    </Card>
  );
}
