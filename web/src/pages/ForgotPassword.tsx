import { useState } from "react";
import { Link } from "wouter";

import { Field, Notice, Page, Problems, problemsOf } from "../components/ui";
import { graphql } from "../gql";
import { useWrite } from "../use";

const REQUEST = graphql(`
  mutation RequestPasswordReset($login: String!) {
    requestPasswordReset(login: $login) { accepted errors { code message field } }
  }
`);

export default function ForgotPassword() {
  const request = useWrite(REQUEST, "requestPasswordReset");
  const [login, type] = useState("");
  const [asked, setAsked] = useState(false);
  const submit = async () => {
    if ((await request.send({ login }))?.accepted) setAsked(true);
  };
  return (
    <Page title="Forgot password" narrow>
      {asked ? (
        <>
          <Notice kind="good">
            <p>
              If <strong className="wrap">{login}</strong> has an account, a mail with a link is on its way. The link works
              once, for 30 minutes.
            </p>
          </Notice>
          <p>
            No mail after a few minutes? Look into the folder for spam, or{" "}
            <button className="small" onClick={() => setAsked(false)}>
              ask again
            </button>
          </p>
        </>
      ) : (
        <form
          className="card stack"
          onSubmit={(event) => {
            event.preventDefault();
            void submit();
          }}
        >
          <Field
            label="Username or email"
            name="username"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            required
            autoFocus
            value={login}
            onChange={(event) => type(event.target.value)}
            hint="A link to choose a new password goes to the email of the account."
            problems={problemsOf(request.problems, "login")}
          />
          <Problems problems={problemsOf(request.problems, undefined, ["login"])} />
          <button className="primary" type="submit" disabled={request.running}>
            {request.running ? "Sending…" : "Send the link"}
          </button>
        </form>
      )}
      <p>
        <Link href="/sign-in">Back to sign-in</Link>
      </p>
    </Page>
  );
}
