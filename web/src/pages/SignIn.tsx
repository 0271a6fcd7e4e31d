import { Link } from "wouter";

import { Check, Field, Notice, Page, Problems } from "../components/ui";
import { graphql } from "../gql";
import { useWrite } from "../use";

const LOGIN = graphql(`
  mutation Login($input: LoginInput!) {
    login(input: $input) { session { refreshToken } errors { code message field } }
  }
`);

export function SignIn({ reason }: { reason?: string | undefined }) {
  const login = useWrite(LOGIN, "login");
  const submit = (form: FormData) =>
    login.send(
      { input: { login: String(form.get("username")), password: String(form.get("password")) } },
      { remember: form.get("remember") === "on" },
    );
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
        {login.problems.some(({ code }) => code === "WRONG_CREDENTIALS") && (
          <p className="quiet">Have you just signed up? Open the link in the mail first: it may complete the registration.</p>
        )}
        <button className="primary" type="submit" disabled={login.running}>
          {login.running ? "Signing in…" : "Sign in"}
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
