/** The dialog that changes a user. Another editor's change in between is shown beside one's own, place by place. */
import { useState } from "react";

import { Dialog, Field, Notice, Problems, problemsOf } from "../components/ui";
import { EditConflict } from "../json/Conflict";
import { JsonEditor } from "../json/JsonEditor";
import { useEditing, type Versioned } from "../json/useEditing";
import type { Fields } from "../json/values";
import { client } from "../session";
import { write } from "../use";
import { asObject } from "./attributes";
import { UPDATE_USER, USER } from "./documents";

export interface Editable {
  id: string;
  username: string;
  email: string;
  name: string;
  attributes: unknown;
  version: number;
}

const LABELS = { username: "Username", email: "Email", name: "Name" } as const;
const TEXTS = ["username", "email", "name"] as const;

const versioned = ({ username, email, name, attributes, version }: Editable): Versioned => ({
  version,
  fields: { username, email, name, attributes: asObject(attributes) },
});

async function reread(id: string): Promise<Versioned | null> {
  const { data } = await client.query(USER, { id });
  return data.user ? versioned(data.user) : null;
}

/** Edits the user as it was when the dialog opened; `latest` is what live changes have made of it since. */
export function EditUser(props: { user: Editable; latest: Editable; onClose: () => void; onSaved: () => void }) {
  const { id } = props.user;
  const [base] = useState(() => versioned(props.user));
  const [mine, setMine] = useState<Fields>(base.fields);
  const [isJson, setIsJson] = useState(true);
  const send = async (patch: Fields, expectedVersion: number) => {
    const { problems } = await write(UPDATE_USER, "updateUser", { input: { id, ...patch, expectedVersion } });
    if (!problems.length) props.onSaved();
    return { problems };
  };
  const editing = useEditing(send, () => reread(id));
  if (editing.conflict) {
    return (
      <Dialog title="Two people changed this user" open onClose={props.onClose}>
        <EditConflict editing={editing} onDone={props.onClose} />
      </Dialog>
    );
  }
  return (
    <Dialog
      title="Edit the user"
      open
      onClose={props.onClose}
      onSubmit={() => void editing.save(base, mine).then((saved) => saved && props.onClose())}
      actions={
        <button className="primary" type="submit" disabled={editing.running || !isJson}>
          {editing.running ? "Saving…" : "Save"}
        </button>
      }
    >
      {props.latest.version > base.version && (
        <Notice kind="warn">This user has changed since you opened the form (version {props.latest.version}). Saving shows both.</Notice>
      )}
      {TEXTS.map((name) => (
        <Field
          key={name}
          label={LABELS[name]}
          name={name}
          type={name === "email" ? "email" : "text"}
          autoComplete="off"
          required
          value={String(mine[name])}
          onChange={(event) => setMine({ ...mine, [name]: event.target.value })}
          problems={problemsOf(editing.problems, name)}
        />
      ))}
      <JsonEditor
        label="Attributes"
        initial={asObject(base.fields["attributes"])}
        onChange={(attributes) => {
          setIsJson(attributes !== null);
          if (attributes) setMine({ ...mine, attributes });
        }}
        hint="A JSON object. Only what you change is sent; everything else stays as it is."
        problems={problemsOf(editing.problems, "attributes")}
      />
      <Problems problems={problemsOf(editing.problems, undefined, [...TEXTS, "attributes"])} />
    </Dialog>
  );
}
