import { useState } from "react";
import { Link } from "wouter";

import { Check, Field, Notice, Page, Problems } from "../components/ui";
import { graphql } from "../gql";
import { adoptSession } from "../session";
import { useWrite } from "../use";

const LOGIN = graphql(`
  mutation Login($input: LoginInput!) {
    login(input: $input) { session { refreshToken } errors { code message field } }
  }
`);

export function SignIn({ reason }: { reason?: string | undefined }) {
  const login = useWrite(LOGIN, "login");
  const [adopting, setAdopting] = useState(false);
  const [away, setAway] = useState(false);
  const submit = async (form: FormData) => {
    setAway(false);
    const answer = await login.send({
      input: { login: String(form.get("username")), password: String(form.get("password")) },
    });
    if (!answer?.session) return;
    setAdopting(true);
    try {
      await adoptSession(answer.session.refreshToken, form.get("remember") === "on");
    } catch {
      setAway(true);
    } finally {
      setAdopting(false);
    }
  };
  const running = login.running || adopting;
  return (
    <Page title="Sign in" narrow>
      {reason && <Notice kind="warn">{reason}</Notice>}
      <form
        className="card stack"
        onSubmit={(event) => {
          event.preventDefault();
          void submit(new FormData(event.currentTarget));
        }}
      >
        <Field label="Username or email" name="username" autoComplete="username" required autoFocus />
        <Field label="Password" name="password" type="password" autoComplete="current-password" required />
        <Check label="Remember me on this device" name="remember" />
        <Problems problems={login.problems} />
        {away && <Notice kind="bad">The server cannot be reached now. You are not signed in yet: try again.</Notice>}
        {login.problems.some(({ code }) => code === "WRONG_CREDENTIALS") && (
          <p className="quiet">Have you just signed up? Open the link in the mail first: it may complete the registration.</p>
        )}
        <button className="primary" type="submit" disabled={running}>
          {running ? "Signing in…" : "Sign in"}
        </button>
        <p>
          <Link href="/forgot-password">Forgot password?</Link>
        </p>
      </form>
      <p>
        New here? <Link href="/sign-up">Sign up</Link>
      </p>
    </Page>
  );
}
