import { useState } from "react";
import { Link } from "wouter";

import { NewPasswordField } from "../account/NewPasswordField";
import { challengeOf, solve } from "../account/proof";
import { Check, Field, Notice, Page, type Problem, Problems, problemsOf } from "../components/ui";
import { graphql } from "../gql";
import { newKey } from "../text";
import { write } from "../use";

const REGISTER = graphql(`
  mutation Register($input: RegisterInput!) {
    register(input: $input) { session { refreshToken } position errors { code message field } }
  }
`);

const FIELDS = ["username", "email", "name", "password", "invitation"];
const byCode = (problems: readonly Problem[], code: string): boolean => problems.some((problem) => problem.code === code);

export default function SignUp() {
  const [username, setUsername] = useState("");
  const [email, setEmail] = useState("");
  const [name, setName] = useState("");
  const [problems, setProblems] = useState<readonly Problem[]>([]);
  const [running, run] = useState(false);
  const [work, setWork] = useState<number | null>(null);
  const [wantsInvitation, wantInvitation] = useState(false);
  const [sentTo, setSentTo] = useState<string | null>(null);
  const [attempt, setAttempt] = useState(newKey);

  const submit = async (form: FormData) => {
    const text = (field: string) => String(form.get(field) ?? "");
    const input = {
      username,
      email,
      name,
      password: text("password"),
      ...(text("invitation") && { invitation: text("invitation").trim() }),
      idempotencyKey: attempt, // a repeat after a lost answer registers no second user
    };
    const options = { remember: form.get("remember") === "on" };
    let { payload, problems: found } = await write(REGISTER, "register", { input }, options);
    const challenge = challengeOf(found[0]?.extensions);
    if (challenge) {
      setWork(0);
      const proofOfWork = await solve(challenge, setWork);
      ({ payload, problems: found } = await write(REGISTER, "register", { input: { ...input, proofOfWork } }, options));
    }
    setProblems(found);
    if (byCode(found, "INVALID_INVITATION")) wantInvitation(true);
    if (found.length || !payload) {
      // The key answers for one input only; after a refusal the input will be another one.
      if (!byCode(found, "NETWORK") && !byCode(found, "SESSION_NOT_KEPT")) setAttempt(newKey());
      return;
    }
    if (!payload.session) setSentTo(email);
  };

  const start = async (form: FormData) => {
    if (running) return;
    run(true);
    try {
      await submit(form);
    } catch (error) {
      setProblems([{ code: "NETWORK", message: error instanceof Error ? error.message : String(error) }]);
    } finally {
      setWork(null);
      run(false);
    }
  };

  if (sentTo !== null) {
    return (
      <Page title="Look into your mail" narrow>
        <Notice kind="good">
          <p>
            A mail is on its way to <strong className="wrap">{sentTo}</strong>. It says how to go on.
          </p>
        </Notice>
        <p>
          No mail after a few minutes? Look into the folder for spam, or{" "}
          <button className="small" onClick={() => setSentTo(null)}>
            correct the address
          </button>
        </p>
        <p>
          <Link href="/sign-in">Back to sign-in</Link>
        </p>
      </Page>
    );
  }
  const closed = byCode(problems, "REGISTRATION_CLOSED");
  const at = (field: string) => problemsOf(problems, field);
  return (
    <Page title="Sign up" narrow>
      <form
        className="card stack"
        onSubmit={(event) => {
          event.preventDefault();
          void start(new FormData(event.currentTarget));
        }}
      >
        <Field
          label="Username"
          name="username"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          required
          autoFocus
          value={username}
          onChange={(event) => setUsername(event.target.value)}
          hint="Letters, digits and punctuation, without @ and spaces."
          problems={at("username")}
        />
        <Field
          label="Email"
          name="email"
          type="email"
          autoComplete="email"
          required
          value={email}
          onChange={(event) => setEmail(event.target.value)}
          problems={at("email")}
        />
        <Field
          label="Name"
          name="name"
          autoComplete="name"
          required
          value={name}
          onChange={(event) => setName(event.target.value)}
          hint="As you write it."
          problems={at("name")}
        />
        <NewPasswordField label="Password" name="password" names={{ username, email, name }} problems={at("password")} />
        {wantsInvitation ? (
          <Field
            label="Invitation"
            name="invitation"
            autoComplete="off"
            spellCheck={false}
            required
            hint="The code that an administrator gave you. It works once."
            problems={at("invitation")}
          />
        ) : (
          <div>
            <button type="button" className="small" onClick={() => wantInvitation(true)}>
              I have an invitation
            </button>
          </div>
        )}
        <Check label="Remember me on this device" name="remember" />
        <Problems problems={problemsOf(problems, undefined, FIELDS)} />
        {closed && <p>Ask an administrator for an account. If you have one, sign in.</p>}
        {work !== null && (
          <div role="status">
            <p>Very many people sign up now. Your browser computes a proof first; this takes some seconds.</p>
            <progress value={work} max={1} aria-label="Proof of work" />
          </div>
        )}
        <button className="primary" type="submit" disabled={running}>
          {running ? "Signing up…" : "Sign up"}
        </button>
      </form>
      <p>
        Registered already? <Link href="/sign-in">Sign in</Link>
      </p>
    </Page>
  );
}
