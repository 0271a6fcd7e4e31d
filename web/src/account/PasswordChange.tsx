import { useState } from "react";

import { Card, Field, Notice, Problems, problemsOf } from "../components/ui";
import { useViewer } from "../session";
import { useWrite } from "../use";
import { CHANGE_PASSWORD } from "./documents";
import { NewPasswordField } from "./NewPasswordField";

const FIELDS = ["currentPassword", "newPassword"];

export function PasswordChange({ onChanged }: { onChanged: () => void }) {
  const viewer = useViewer();
  const change = useWrite(CHANGE_PASSWORD, "changePassword");
  const [turn, setTurn] = useState(0); // the form is empty again after each change
  const submit = async (form: FormData) => {
    const text = (name: string) => String(form.get(name));
    const input = { currentPassword: text("currentPassword"), newPassword: text("newPassword") };
    if (!(await change.send({ input }))) return;
    setTurn(turn + 1);
    onChanged();
  };
  return (
    <Card title="Password">
      <form
        key={turn}
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void submit(new FormData(event.currentTarget));
        }}
      >
        {turn > 0 && !change.problems.length && (
          <Notice kind="good">Your password is changed, and your other sessions have ended.</Notice>
        )}
        {/* For password managers: whose password it is. */}
        <input type="text" name="username" autoComplete="username" value={viewer.username} readOnly hidden />
        <Field
          label="Current password"
          name="currentPassword"
          type="password"
          autoComplete="current-password"
          required
          problems={problemsOf(change.problems, "currentPassword")}
        />
        <NewPasswordField
          label="New password"
          name="newPassword"
          names={viewer}
          problems={problemsOf(change.problems, "newPassword")}
        />
        <Problems problems={problemsOf(change.problems, undefined, FIELDS)} />
        <div className="actions">
          <button className="primary" type="submit" disabled={change.running}>
            {change.running ? "Changing…" : "Change the password"}
          </button>
        </div>
      </form>
    </Card>
  );
}
