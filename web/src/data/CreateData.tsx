import { useState } from "react";
import { useLocation } from "wouter";

import { Dialog, Field, Problems, problemsOf } from "../components/ui";
import { JsonEditor } from "../json/JsonEditor";
import type { Fields } from "../json/values";
import { useMaking } from "../use";
import { CREATE } from "./documents";

export function CreateData() {
  const [open, setOpen] = useState(false);
  const [content, setContent] = useState<Fields | null>({});
  const create = useMaking(CREATE, "createData");
  const [, go] = useLocation();
  const submit = async (form: FormData) => {
    if (!content) return;
    const made = await create.send({ input: { name: String(form.get("name")), content } });
    if (made?.data) go(`/data/${made.data.number}`);
  };
  const close = () => {
    create.clear();
    setOpen(false);
  };
  return (
    <>
      <button
        className="primary"
        onClick={() => {
          setContent({});
          setOpen(true);
        }}
      >
        New data object
      </button>
      <Dialog
        title="New data object"
        open={open}
        onClose={close}
        onSubmit={(form) => void submit(form)}
        actions={
          <button className="primary" type="submit" disabled={create.running || !content}>
            {create.running ? "Creating…" : "Create"}
          </button>
        }
      >
        <Field
          label="Name"
          name="name"
          required
          autoFocus
          autoComplete="off"
          hint="For example: Holiday plan. It need not be unique."
          problems={problemsOf(create.problems, "name")}
        />
        <JsonEditor
          label="Content as JSON"
          initial={{}}
          onChange={setContent}
          hint={'A JSON object, such as {"days": 14}.'}
          problems={problemsOf(create.problems, "content")}
        />
        <Problems problems={problemsOf(create.problems, undefined, ["name", "content"])} />
      </Dialog>
    </>
  );
}
