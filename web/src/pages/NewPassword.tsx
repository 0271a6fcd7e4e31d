import { useEffect, useState } from "react";
import { Link, useLocation } from "wouter";

import { takeToken } from "../account/fragment";
import { NewPasswordField } from "../account/NewPasswordField";
import { Check, Notice, Page, Problems, problemsOf } from "../components/ui";
import { graphql } from "../gql";
import { useWrite } from "../use";

const RESET = graphql(`
  mutation ResetPassword($token: String!, $newPassword: String!) {
    resetPassword(token: $token, newPassword: $newPassword) {
      session { refreshToken }
      errors { code message field }
    }
  }
`);

export default function NewPassword({ invitation = false }: { invitation?: boolean }) {
  const [token, setToken] = useState(takeToken);
  const [done, setDone] = useState(false);
  const reset = useWrite(RESET, "resetPassword");
  const [, go] = useLocation();
  useEffect(() => {
    const follow = () => setToken(takeToken()); // another link is opened in this window
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);

  const submit = async (form: FormData) => {
    const answer = await reset.send(
      { token: token ?? "", newPassword: String(form.get("newPassword")) },
      { remember: form.get("remember") === "on" },
    );
    if (answer?.session) go("/dashboard", { replace: true });
    else if (answer) setDone(true);
  };
  // The password is set even if the server could not begin a session then.
  const changed = done || reset.problems.some(({ code }) => code === "SESSION_NOT_KEPT");
  const title = invitation ? "Accept the invitation" : "New password";
  const dead = reset.problems.some(({ code }) => code === "INVALID_TOKEN");
  if (changed) {
    return (
      <Page title={title} narrow>
        <Notice kind="good">Your password is set.</Notice>
        <p>
          <Link href="/sign-in">Sign in with it</Link>
        </p>
      </Page>
    );
  }
  if (!token || dead) {
    return (
      <Page title={title} narrow>
        <Notice kind="bad">
          <p>
            {dead
              ? "This link is no longer valid: it was used, it is too old, or the password was changed since."
              : "This address lacks its token: open the whole link of the mail."}
          </p>
        </Notice>
        {invitation ? (
          <p>Ask the administrator who invited you for another invitation.</p>
        ) : (
          <p>
            <Link href="/forgot-password">Send me another link</Link>
          </p>
        )}
        <p>
          <Link href="/sign-in">Go to sign-in</Link>
        </p>
      </Page>
    );
  }
  return (
    <Page title={title} narrow>
      <form
        className="card stack"
        onSubmit={(event) => {
          event.preventDefault();
          void submit(new FormData(event.currentTarget));
        }}
      >
        <p>
          {invitation
            ? "Choose a password. With it you sign in from now on."
            : "Choose a new password. Everybody who is signed in to your account is signed out."}
        </p>
        <NewPasswordField
          label={invitation ? "Password" : "New password"}
          name="newPassword"
          names={{}}
          autoFocus
          problems={problemsOf(reset.problems, "newPassword")}
        />
        <Check label="Remember me on this device" name="remember" />
        <Problems problems={problemsOf(reset.problems, undefined, ["newPassword"])} />
        <button className="primary" type="submit" disabled={reset.running}>
          {reset.running ? "Saving…" : invitation ? "Accept the invitation" : "Set the password"}
        </button>
      </form>
    </Page>
  );
}
