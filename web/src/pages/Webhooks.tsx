/** Endpoints of other services: who gets what, how far they are, and what became of each delivery. */
import { type ReactNode, useId, useState } from "react";
import { Link, useSearchParams } from "wouter";

import {
  Badge,
  Check,
  Dialog,
  Empty,
  Failure,
  Field,
  Loading,
  Moment,
  Notice,
  Page,
  type Problem,
  Problems,
  problemsOf,
} from "../components/ui";
import { graphql } from "../gql";
import type { Role, UserEventType, WebhooksQuery, WebhookState } from "../gql/graphql";
import { plural, roleName, ROLES, sentence } from "../text";
import { useEvery, useRead, useWrite } from "../use";
import { Deliveries } from "../webhooks/Deliveries";

const WEBHOOKS = graphql(`
  query Webhooks {
    webhooks {
      id url types roles enabled disabledReason publicKey position lag state lagSeconds pending dead lastError createdAt
    }
  }
`);
const CREATE = graphql(`
  mutation CreateWebhook($input: CreateWebhookInput!) {
    createWebhook(input: $input) { webhook { id url } secret errors { code message field } }
  }
`);
const UPDATE = graphql(`
  mutation UpdateWebhook($input: UpdateWebhookInput!) {
    updateWebhook(input: $input) { webhook { id url } secret errors { code message field } }
  }
`);
const DELETE = graphql(`
  mutation DeleteWebhook($id: ID!) {
    deleteWebhook(id: $id) { errors { code message field } }
  }
`);

type Webhook = WebhooksQuery["webhooks"][number];

const AGAIN_MS = 3_000;
const TYPES: readonly UserEventType[] = [
  "USER_REGISTERED",
  "USER_UPDATED",
  "EMAIL_VERIFIED",
  "PASSWORD_CHANGED",
  "ROLE_CHANGED",
  "USER_DELETED",
  "DATA_CREATED",
  "DATA_UPDATED",
  "DATA_TRANSFERRED",
  "DATA_DELETED",
];
const STATES: Record<WebhookState, { kind?: "good" | "warn" | "bad"; meaning: string }> = {
  LIVE: { kind: "good", meaning: "The endpoint has accepted everything." },
  CATCHING_UP: { kind: "warn", meaning: "The endpoint is behind, and no attempt has failed." },
  RETRYING: { kind: "warn", meaning: "An attempt has failed, and is repeated after a pause." },
  DISABLED: { kind: "bad", meaning: "The endpoint gets nothing. What happens meanwhile waits for it." },
};

interface Shown {
  url: string;
  secret: string;
  rotated: boolean;
}

/** Boxes to tick; none ticked means all. */
function Choices<Value extends string>(props: {
  legend: string;
  name: string;
  values: readonly Value[];
  text: (value: Value) => string;
  chosen: readonly Value[];
  problems: readonly Problem[];
}) {
  return (
    <fieldset className="choices">
      <legend>{props.legend}</legend>
      {props.values.map((value) => (
        <Check
          key={value}
          name={props.name}
          value={value}
          label={props.text(value)}
          defaultChecked={props.chosen.includes(value)}
        />
      ))}
      {problemsOf(props.problems, props.name).map(({ message }) => (
        <p key={message} className="error" role="alert">
          {message}
        </p>
      ))}
    </fieldset>
  );
}

function EndpointFields({ webhook, problems }: { webhook?: Webhook | undefined; problems: readonly Problem[] }) {
  return (
    <>
      <Problems problems={problemsOf(problems, undefined, ["url", "types", "roles"])} />
      <Field
        label="URL"
        name="url"
        type="url"
        required
        placeholder="https://example.com/hook"
        defaultValue={webhook?.url}
        hint="An https address that the server can reach, without a user or a password in it."
        problems={problemsOf(problems, "url")}
      />
      <Choices
        legend="Events (none ticked: all)"
        name="types"
        values={TYPES}
        text={sentence}
        chosen={webhook?.types ?? []}
        problems={problems}
      />
      <Choices
        legend="Only for users of these roles (none ticked: all)"
        name="roles"
        values={ROLES}
        text={roleName}
        chosen={webhook?.roles ?? []}
        problems={problems}
      />
      <Check
        name="ed25519"
        label="Sign with Ed25519 too, so that the receiver needs only a public key"
        defaultChecked={Boolean(webhook?.publicKey)}
      />
    </>
  );
}

const wantedOf = (form: FormData) => ({
  url: String(form.get("url")),
  types: form.getAll("types") as UserEventType[],
  roles: form.getAll("roles") as Role[],
  ed25519: form.get("ed25519") === "on",
});

function Create(props: { open: boolean; onClose: () => void; onDone: (shown: Shown) => void }) {
  const create = useWrite(CREATE, "createWebhook");
  const submit = async (form: FormData) => {
    const { types, roles, ...input } = wantedOf(form);
    const payload = await create.send({
      input: { ...input, types: types.length ? types : null, roles: roles.length ? roles : null },
    });
    if (payload?.webhook && payload.secret) {
      props.onDone({ url: payload.webhook.url, secret: payload.secret, rotated: false });
    }
  };
  const close = () => {
    create.clear();
    props.onClose();
  };
  return (
    <Dialog
      title="New webhook"
      open={props.open}
      onClose={close}
      onSubmit={(form) => void submit(form)}
      actions={
        <button className="primary" type="submit" disabled={create.running}>
          Create webhook
        </button>
      }
    >
      <EndpointFields problems={create.problems} />
    </Dialog>
  );
}

function Change(props: { webhook: Webhook | undefined; onClose: () => void; onDone: () => void }) {
  const update = useWrite(UPDATE, "updateWebhook");
  const close = () => {
    update.clear();
    props.onClose();
  };
  const submit = async (form: FormData) => {
    if (!props.webhook) return;
    if (await update.send({ input: { id: props.webhook.id, ...wantedOf(form) } })) props.onDone();
  };
  return (
    <Dialog
      title="Change webhook"
      open={props.webhook !== undefined}
      onClose={close}
      onSubmit={(form) => void submit(form)}
      actions={
        <button className="primary" type="submit" disabled={update.running}>
          Save
        </button>
      }
    >
      <EndpointFields webhook={props.webhook} problems={update.problems} />
    </Dialog>
  );
}

/** The secret, once. It lives in this dialog only. */
function Secret({ shown, onClose }: { shown: Shown | null; onClose: () => void }) {
  const [copied, setCopied] = useState<boolean | null>(null);
  const copy = () => {
    // Browsers offer the clipboard to pages that came by https, and to localhost.
    if (!navigator.clipboard) setCopied(false);
    else void navigator.clipboard.writeText(shown?.secret ?? "").then(
      () => setCopied(true),
      () => setCopied(false),
    );
  };
  const close = () => {
    setCopied(null);
    onClose();
  };
  return (
    <Dialog title="Keep this secret now" open={shown !== null} onClose={close} onSubmit={close} cancel="I have kept it">
      <p>
        It is shown this once and never again. Give it to the service behind <strong className="wrap">{shown?.url}</strong>,
        for instance in its secret store.
      </p>
      <div className="row">
        <code className="secret" data-testid="secret">
          {shown?.secret}
        </code>
        <button type="button" onClick={copy}>
          Copy the secret
        </button>
      </div>
      <div aria-live="polite">
        {copied === true && <p>Copied.</p>}
        {copied === false && <p>The browser does not let this page copy: select the text and copy it by hand.</p>}
      </div>
      <p>
        The service has to verify the <code>v1</code> signature of each request with it before it reads the request, best with
        a library of Standard Webhooks.
        {shown?.rotated && " The old secret signs beside it for a day, so that the service can change over."}
      </p>
    </Dialog>
  );
}

/** A question before something that cannot be taken back. */
function Confirm(props: {
  title: string;
  open: boolean;
  action: string;
  danger?: boolean;
  running: boolean;
  problems: readonly Problem[];
  onClose: () => void;
  onConfirm: () => void;
  children: ReactNode;
}) {
  return (
    <Dialog
      title={props.title}
      open={props.open}
      onClose={props.onClose}
      onSubmit={props.onConfirm}
      actions={
        <button className={props.danger ? "danger" : "primary"} type="submit" disabled={props.running}>
          {props.action}
        </button>
      }
    >
      <Problems problems={props.problems} />
      {props.children}
    </Dialog>
  );
}

function Endpoint(props: {
  webhook: Webhook;
  open: boolean;
  onChange: () => void;
  onDone: () => void;
  onSecret: (shown: Shown) => void;
}) {
  const { webhook } = props;
  const heading = useId();
  const update = useWrite(UPDATE, "updateWebhook");
  const remove = useWrite(DELETE, "deleteWebhook");
  const [asked, ask] = useState<"rotate" | "delete" | null>(null);
  const close = () => {
    update.clear();
    remove.clear();
    ask(null);
  };
  const enable = async (enabled: boolean) => {
    if (await update.send({ input: { id: webhook.id, enabled } })) props.onDone();
  };
  const rotate = async () => {
    const payload = await update.send({ input: { id: webhook.id, rotateSecret: true } });
    if (!payload?.secret) return;
    close();
    props.onSecret({ url: webhook.url, secret: payload.secret, rotated: true });
  };
  const erase = async () => {
    if (!(await remove.send({ id: webhook.id }))) return;
    close();
    props.onDone();
  };
  const { kind, meaning } = STATES[webhook.state];
  const toggle = props.open ? "/webhooks" : `/webhooks?deliveries=${webhook.id}`;
  return (
    // No region, since two webhooks may have the same address.
    <article className="card" aria-labelledby={heading}>
      <div className="head">
        <h2 id={heading}>{webhook.url}</h2>
        <Badge kind={kind}>{sentence(webhook.state)}</Badge>
      </div>
      <div className="stack">
        {asked === null && <Problems problems={update.problems} />}
        {webhook.disabledReason && (
          <Notice kind="bad">
            <p>Disabled: {webhook.disabledReason}</p>
            <p>Tell the team that runs the endpoint. Once it answers, enable the webhook: it goes on where it was, in order.</p>
          </Notice>
        )}
        <dl className="facts">
          <dt>State</dt>
          <dd>{meaning}</dd>
          <dt>Events</dt>
          <dd>{webhook.types?.map(sentence).join(", ") || "all"}</dd>
          <dt>Roles</dt>
          <dd>{webhook.roles?.map(roleName).join(", ") || "all"}</dd>
          <dt>Lag</dt>
          <dd>
            {plural(webhook.lag, "event")},{" "}
            {webhook.lagSeconds.toLocaleString(undefined, { maximumFractionDigits: 1 })} s
          </dd>
          <dt>Deliveries</dt>
          <dd>
            {webhook.pending.toLocaleString()} pending; {webhook.dead.toLocaleString()} failed for good in 30 days
          </dd>
          {webhook.lastError && webhook.lastError !== webhook.disabledReason && (
            <>
              <dt>Last error</dt>
              <dd>{webhook.lastError}</dd>
            </>
          )}
          {webhook.publicKey && (
            <>
              <dt>Public key</dt>
              <dd>
                <code>{webhook.publicKey}</code>
              </dd>
            </>
          )}
          <dt>Created</dt>
          <dd>
            <Moment at={webhook.createdAt} />
          </dd>
        </dl>
        <div className="row">
          <Link className="button" href={toggle} aria-expanded={props.open}>
            {props.open ? "Hide deliveries" : "Show deliveries"}
          </Link>
          <button onClick={props.onChange}>Change</button>
          <button onClick={() => void enable(!webhook.enabled)}>
            {webhook.enabled ? "Disable" : "Enable"}
          </button>
          <button onClick={() => ask("rotate")}>New secret</button>
          <button className="danger" onClick={() => ask("delete")}>
            Delete
          </button>
        </div>
        {props.open && <Deliveries webhook={webhook.id} />}
      </div>
      <Confirm
        title="Make a new secret?"
        open={asked === "rotate"}
        action="Make a new secret"
        running={update.running}
        problems={update.problems}
        onClose={close}
        onConfirm={() => void rotate()}
      >
        <p>Requests are signed with the new secret from now on, and with the old one beside it for a day.</p>
      </Confirm>
      <Confirm
        title="Delete this webhook?"
        open={asked === "delete"}
        action="Delete webhook"
        danger
        running={remove.running}
        problems={remove.problems}
        onClose={close}
        onConfirm={() => void erase()}
      >
        <p>
          <strong className="wrap">{webhook.url}</strong> gets nothing more, and the record of its deliveries is deleted. This
          cannot be taken back. To pause it, disable it instead.
        </p>
      </Confirm>
    </article>
  );
}

export default function Webhooks() {
  const read = useRead(WEBHOOKS, {});
  useEvery(AGAIN_MS, read.again);
  const [search] = useSearchParams();
  const [creating, create] = useState(false);
  const [changing, change] = useState<Webhook>();
  const [secret, show] = useState<Shown | null>(null);
  const webhooks = read.data?.webhooks;
  const done = () => {
    create(false);
    change(undefined);
    read.again();
  };
  const showSecret = (shown: Shown) => {
    done();
    show(shown);
  };
  return (
    <Page
      title="Webhooks"
      actions={
        <button className="primary" onClick={() => create(true)}>
          New webhook
        </button>
      }
    >
      <p>Other services get what happens to users and their data, signed, and again until they accept it.</p>
      {read.error && <Failure error={read.error} again={read.again} />}
      {!webhooks && !read.error && <Loading />}
      {webhooks?.length === 0 && (
        <Empty>No service gets anything yet. Make a webhook with the address of one that shall: it gets what happens from then on.</Empty>
      )}
      {webhooks?.map((webhook) => (
        <Endpoint
          key={webhook.id}
          webhook={webhook}
          open={search.get("deliveries") === webhook.id}
          onChange={() => change(webhook)}
          onDone={done}
          onSecret={showSecret}
        />
      ))}
      <Create open={creating} onClose={() => create(false)} onDone={showSecret} />
      <Change key={changing?.id} webhook={changing} onClose={() => change(undefined)} onDone={done} />
      <Secret shown={secret} onClose={() => show(null)} />
    </Page>
  );
}
