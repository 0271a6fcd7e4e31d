import { useState } from "react";

import { Card, Dialog, Field, Problems, problemsOf } from "../components/ui";
import { client, useViewer } from "../session";
import { useWrite } from "../use";
import { CHECK_PASSWORD, DELETE_SELF } from "./documents";

export function DeleteAccount() {
  const viewer = useViewer();
  const [open, setOpen] = useState(false);
  const check = useWrite(CHECK_PASSWORD, "login");
  const remove = useWrite(DELETE_SELF, "deleteUser");
  const submit = async (form: FormData) => {
    const login = { login: viewer.username, password: String(form.get("password")) };
    if (!(await check.send({ input: login }))) return;
    // The session that the check has begun ends with the account.
    if (await remove.send({ input: { id: viewer.id } })) client.session.ended("deleted");
  };
  const close = () => {
    check.clear();
    remove.clear();
    setOpen(false);
  };
  const running = check.running || remove.running;
  const wrong = check.problems.filter(({ code }) => code === "WRONG_CREDENTIALS");
  return (
    <Card title="Delete account">
      <p>This cannot be undone. Download your data first if you want to keep it.</p>
      <button className="danger" onClick={() => setOpen(true)}>
        Delete my account…
      </button>
      <Dialog
        title="Delete your account?"
        open={open}
        onClose={close}
        onSubmit={(form) => void submit(form)}
        actions={
          <button className="danger" type="submit" disabled={running}>
            {running ? "Deleting…" : "Delete my account"}
          </button>
        }
      >
        <div>
          <p>Erased, at once and for good:</p>
          <ul>
            <li>your username, email, name, password and attributes, as they are and as they were before;</li>
            <li>all your data objects and what they ever held;</li>
            <li>your sessions: every device is signed out.</li>
          </ul>
          <p>
            Kept: that an account with a random number existed, and when it changed. Nobody can tell from it who you were.
          </p>
        </div>
        <input type="text" name="username" autoComplete="username" value={viewer.username} readOnly hidden />
        <Field
          label="Your password"
          name="password"
          type="password"
          autoComplete="current-password"
          required
          autoFocus
          problems={wrong.map((problem) => ({ ...problem, message: "The password is wrong." }))}
        />
        <Problems problems={[...check.problems.filter((problem) => !wrong.includes(problem)), ...problemsOf(remove.problems)]} />
      </Dialog>
    </Card>
  );
}
