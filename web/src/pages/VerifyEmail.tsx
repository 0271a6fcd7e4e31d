import { useSession } from "@rollcall/client/react";
import { useEffect, useRef, useState } from "react";
import { Link } from "wouter";

import { takeToken } from "../account/fragment";
import { Loading, Notice, Page, Problems } from "../components/ui";
import { graphql } from "../gql";
import { useWrite } from "../use";

const VERIFY = graphql(`
  mutation VerifyEmail($token: String!) {
    verifyEmail(token: $token) { user { id email emailVerified } position errors { code message field } }
  }
`);

export default function VerifyEmail() {
  const [token] = useState(takeToken);
  const verify = useWrite(VERIFY, "verifyEmail");
  const session = useSession();
  const [confirmed, setConfirmed] = useState<string | null>(null);
  const sent = useRef(false);
  const { send } = verify;
  const run = async () => {
    if (!token) return;
    const answer = await send({ token });
    if (answer) setConfirmed(answer.user?.email ?? "");
  };
  useEffect(() => {
    if (sent.current) return; // the token works once
    sent.current = true;
    void run();
  });
  const away = verify.problems.some(({ code }) => code === "NETWORK" || code === "UNAVAILABLE");
  return (
    <Page title="Confirm your email" narrow>
      {token && confirmed === null && !verify.problems.length && <Loading />}
      {confirmed !== null && (
        <Notice kind="good">
          <p>Your email{confirmed && ` ${confirmed}`} is confirmed.</p>
        </Notice>
      )}
      {!token && (
        <Notice kind="bad">
          <p>This address lacks its token: open the whole link of the mail.</p>
        </Notice>
      )}
      <Problems problems={verify.problems} />
      {verify.problems.length > 0 &&
        (away ? (
          <p>
            <button onClick={() => void run()}>Try again</button>
          </p>
        ) : (
          <p>The link may have been used, or be too old. Sign in, and send the mail again from your account.</p>
        ))}
      <p>
        {session.status === "signed-in" ? (
          <Link href="/account">Go to your account</Link>
        ) : (
          <Link href="/sign-in">Go to sign-in</Link>
        )}
      </p>
    </Page>
  );
}
