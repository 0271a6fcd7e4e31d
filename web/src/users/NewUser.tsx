/** Dialogs that make one user: with a password, or by an invitation to the user's email. */
import { useState } from "react";

import { Dialog, Field, Problems, problemsOf, Select, TextArea } from "../components/ui";
import type { Role } from "../gql/graphql";
import { parseFields } from "../json/values";
import { ROLES, roleName } from "../text";
import { useMaking } from "../use";
import { CREATE_USER, INVITE_USER } from "./documents";

const FIELDS = ["username", "email", "name", "password", "role", "attributes"];

export function RoleOptions() {
  return ROLES.map((role) => (
    <option key={role} value={role}>
      {roleName(role)}
    </option>
  ));
}

export function NewUser(props: {
  invited: boolean;
  open: boolean;
  onClose: () => void;
  onMade: (user: { id: string; username: string }) => void;
}) {
  const create = useMaking(CREATE_USER, "createUser");
  const invite = useMaking(INVITE_USER, "inviteUser");
  const write = props.invited ? invite : create;
  const [notJson, setNotJson] = useState<string | null>(null);
  const close = () => {
    create.clear();
    invite.clear();
    setNotJson(null);
    props.onClose();
  };
  const submit = async (form: FormData) => {
    const text = (name: string) => String(form.get(name) ?? "");
    const attributes = parseFields(text("attributes").trim() || "{}");
    setNotJson("why" in attributes ? attributes.why : null);
    if ("why" in attributes) return;
    const input = {
      username: text("username"),
      email: text("email"),
      name: text("name"),
      role: text("role") as Role,
      ...(Object.keys(attributes.fields).length ? { attributes: attributes.fields } : {}),
    };
    const made = await (props.invited
      ? invite.send({ input })
      : create.send({ input: { ...input, password: text("password") } }));
    if (!made?.user) return;
    close();
    props.onMade(made.user);
  };
  const of = (field: string) => problemsOf(write.problems, field);
  const verb = props.invited ? "Send the invitation" : "Create the user";
  return (
    <Dialog
      title={props.invited ? "Invite a user" : "Create a user"}
      open={props.open}
      onClose={close}
      onSubmit={(form) => void submit(form)}
      actions={
        <button className="primary" type="submit" disabled={write.running}>
          {write.running ? "Working…" : verb}
        </button>
      }
    >
      {props.invited && <p>The user gets a mail with a link, valid for 3 days, to choose a password.</p>}
      <Field label="Username" name="username" autoComplete="off" required autoFocus problems={of("username")} />
      <Field label="Email" name="email" type="email" autoComplete="off" required problems={of("email")} />
      <Field label="Name" name="name" autoComplete="off" required problems={of("name")} />
      {!props.invited && (
        <Field
          label="Password"
          name="password"
          type="password"
          autoComplete="new-password"
          required
          hint="Hand it over safely. The user can change it on the account page."
          problems={of("password")}
        />
      )}
      <Select label="Role" name="role" defaultValue="CUSTOMER" problems={of("role")}>
        <RoleOptions />
      </Select>
      <TextArea
        label="Attributes (optional)"
        name="attributes"
        className="mono"
        spellCheck={false}
        hint={'A JSON object, such as {"city": "Penang"}.'}
        problems={notJson ? [{ code: "INVALID", message: notJson }] : of("attributes")}
      />
      <Problems problems={problemsOf(write.problems, undefined, FIELDS)} />
    </Dialog>
  );
}
