import { useUserChanges } from "@rollcall/client/react";
import { useState } from "react";

import { DeleteAccount } from "../account/DeleteAccount";
import { ME, UPDATE } from "../account/documents";
import { Export } from "../account/Export";
import { PasswordChange } from "../account/PasswordChange";
import { Profile } from "../account/Profile";
import { readOwnHistory, rereadMe, versioned } from "../account/reading";
import { Sessions } from "../account/Sessions";
import { History, useHistory } from "../components/History";
import { Card, Failure, Loading, Page } from "../components/ui";
import { JsonCard } from "../json/JsonCard";
import { useEditing } from "../json/useEditing";
import type { Fields } from "../json/values";
import { useViewer } from "../session";
import { useRead, write } from "../use";

export default function Account() {
  const viewer = useViewer();
  const read = useRead(ME, {});
  const history = useHistory(readOwnHistory);
  const [passwords, setPasswords] = useState(0);
  const [wished, wish] = useState<string | null>(null);
  const [after] = useState(viewer.position);

  useUserChanges(
    { userId: viewer.id, after },
    ({ user }) => {
      if (!user) return;
      read.again(); // whether the email is confirmed is not in the change
      if (!history.hasMore) history.more();
    },
    { onLogChanged: read.again },
  );

  const send = async (patch: Fields, expectedVersion: number) => {
    const { payload, problems } = await write(UPDATE, "updateUser", {
      input: { id: viewer.id, ...patch, expectedVersion },
    });
    const user = payload?.user;
    if (user) {
      // Where emails must be confirmed, the new one waits for its mail.
      const email = patch["email"];
      if (typeof email === "string") wish(user.email === email ? null : email);
      read.patch((data) => ({ ...data, me: user }));
    }
    return { problems };
  };
  const profile = useEditing(send, rereadMe);
  const attributes = useEditing(send, rereadMe);

  const me = read.data?.me;
  if (!me) {
    return (
      <Page title="Account">{read.error ? <Failure error={read.error} again={read.again} /> : <Loading />}</Page>
    );
  }
  const current = versioned(me);
  return (
    <Page title="Account">
      {read.error && <Failure error={read.error} again={read.again} />}
      <div className="columns tops">
        <Profile me={me} current={current} editing={profile} wished={wished === me.email ? null : wished} />
        <div className="stack">
          <PasswordChange onChanged={() => setPasswords((count) => count + 1)} />
          <JsonCard
            title="Attributes"
            empty="No attributes yet. Edit them as JSON, or fill in your profile."
            current={current}
            field="attributes"
            editing={attributes}
          />
        </div>
        <Sessions turn={passwords} />
        <Card title="History">
          <History history={history} viewerId={viewer.id} />
        </Card>
        <Export />
        <DeleteAccount />
      </div>
    </Page>
  );
}
