/** The known fields of one's own record. Attributes that the form does not know stay as they are. */
import { useState } from "react";

import { Badge, Card, Field, Moment, Notice, Problems, problemsOf, Select } from "../components/ui";
import type { MeQuery } from "../gql/graphql";
import { EditConflict } from "../json/Conflict";
import { useDraft } from "../json/useDraft";
import { isText } from "../json/exact";
import type { Editing, Versioned } from "../json/useEditing";
import { isFields, withValue } from "../json/values";
import { roleName } from "../text";
import { useWrite } from "../use";
import { VERIFICATION } from "./documents";

export type Me = NonNullable<MeQuery["me"]>;

const LANGUAGES = [
  ["", "Not chosen"],
  ["en", "English"],
  ["ms", "Bahasa Melayu"],
] as const;
const FIELDS = ["username", "email", "name", "attributes"];

function EmailState({ me }: { me: Me }) {
  const request = useWrite(VERIFICATION, "requestEmailVerification");
  const [sentTo, setSentTo] = useState<string | null>(null);
  if (me.emailVerified == null) return null;
  if (me.emailVerified) {
    return (
      <div>
        <Badge kind="good">Email confirmed</Badge>
      </div>
    );
  }
  const send = async () => {
    if ((await request.send({}))?.accepted) setSentTo(me.email);
  };
  return (
    <div className="stack tight">
      <div className="row">
        <Badge kind="warn">Email not confirmed</Badge>
        <button type="button" className="small" disabled={request.running} onClick={() => void send()}>
          Send the mail again
        </button>
      </div>
      <Problems problems={request.problems} />
      {sentTo === me.email && <Notice kind="good">A mail is on its way to {sentTo}: open its link.</Notice>}
    </div>
  );
}

export function Profile(props: {
  me: Me;
  current: Versioned;
  editing: Editing;
  /** An email that becomes the user's once its mail is confirmed. */
  wished: string | null;
}) {
  const { me, current, editing, wished } = props;
  const draft = useDraft(current);
  /** The new email that was saved; empty if it was another field. */
  const [saved, setSaved] = useState<string | null>(null);
  const attributes = isFields(draft.fields["attributes"]) ? draft.fields["attributes"] : {};
  const text = (name: string) => String(draft.fields[name] ?? "");
  const set = (name: string, value: unknown) => draft.write({ ...draft.fields, [name]: value });
  /** A value of another type than text has no place in the form: the JSON below shows it. */
  const known = (name: string): string | null => {
    const value = attributes[name] ?? "";
    return isText(value) ? value : null;
  };
  const setKnown = (name: string, value: string) =>
    set("attributes", withValue(attributes, [name], value === "" ? undefined : value));
  const at = (field: string) => problemsOf(editing.problems, field);
  const done = () => {
    editing.cancel();
    draft.reset();
  };
  const language = known("locale");
  if (editing.conflict) {
    return (
      <Card title="Profile">
        <EditConflict editing={editing} onDone={done} />
      </Card>
    );
  }
  return (
    <Card title="Profile">
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          const email = text("email") === draft.base.fields["email"] ? "" : text("email");
          void editing.save(draft.base, draft.fields).then((done) => {
            if (!done) return;
            draft.reset();
            setSaved(email);
          });
        }}
      >
        {draft.behind && draft.dirty && (
          <Notice kind="warn">Your record was changed elsewhere. You will choose what to keep when you save.</Notice>
        )}
        <Field
          label="Name"
          name="name"
          autoComplete="name"
          required
          value={text("name")}
          onChange={(event) => set("name", event.target.value)}
          problems={at("name")}
        />
        <Field
          label="Username"
          name="username"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          required
          value={text("username")}
          onChange={(event) => set("username", event.target.value)}
          problems={at("username")}
        />
        <Field
          label="Email"
          name="email"
          type="email"
          autoComplete="email"
          required
          value={text("email")}
          onChange={(event) => set("email", event.target.value)}
          problems={at("email")}
        />
        {wished !== null && (
          <Notice kind="good">
            A mail is on its way to <strong className="wrap">{wished}</strong>. It is your email once you have opened its link.
          </Notice>
        )}
        <EmailState me={me} />
        {known("phone") !== null && (
          <Field
            label="Phone"
            name="phone"
            type="tel"
            autoComplete="tel"
            value={known("phone") ?? ""}
            onChange={(event) => setKnown("phone", event.target.value)}
          />
        )}
        {known("birthdate") !== null && (
          <Field
            label="Birth date"
            name="birthdate"
            autoComplete="bday"
            placeholder="YYYY-MM-DD"
            pattern="\d{4}-\d{2}-\d{2}.*"
            title="Year, month and day, such as 1990-01-31"
            value={known("birthdate") ?? ""}
            onChange={(event) => setKnown("birthdate", event.target.value)}
          />
        )}
        {language !== null && (
          <Select
            label="Language of mails"
            name="locale"
            value={language}
            onChange={(event) => setKnown("locale", event.target.value)}
          >
            {LANGUAGES.map(([code, name]) => (
              <option key={code} value={code}>
                {name}
              </option>
            ))}
            {!LANGUAGES.some(([code]) => code === language) && <option value={language}>{language}</option>}
          </Select>
        )}
        <Problems problems={[...problemsOf(editing.problems, undefined, FIELDS), ...at("attributes")]} />
        {saved !== null && !draft.dirty && wished === null && (
          <Notice kind="good">
            Your profile is saved.
            {me.emailVerified === false && saved === me.email && ` Confirm ${saved} with the link in the mail that was sent to it.`}
          </Notice>
        )}
        <div className="actions">
          <button type="button" disabled={!draft.dirty} onClick={done}>
            Undo
          </button>
          <button className="primary" type="submit" disabled={editing.running || !draft.dirty}>
            {editing.running ? "Saving…" : "Save profile"}
          </button>
        </div>
      </form>
      <p className="quiet under">
        {roleName(me.role)}, registered <Moment at={me.createdAt} />, version {me.version}.
      </p>
    </Card>
  );
}
