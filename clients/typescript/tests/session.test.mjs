// Who is signed in, why nobody is, whose calls are sent, and when a lost connection is tried again.
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { createClient, inStorage, Session, SessionNotKeptError, TransportError, UnauthenticatedError } from "../dist/index.js";
import { tokensOf } from "../dist/keepers.js";

const [ADA, GRACE] = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const issued = (sub, life = 600) => ({
  accessToken: `${part({ alg: "none" })}.${part({ sub, iat: 1000, exp: 1000 + life })}.`,
  accessTokenExpiresAt: "2030-01-01T00:00:00Z",
  refreshToken: `of ${sub}`,
});

// Channels do not keep Node.js alive. What has not come by then fails its test.
const alive = setTimeout(() => undefined, 60_000);
after(() => clearTimeout(alive));

let names = 0;
/** Tabs of one browser, whose keeper holds the session of `user`. */
const browser = (user, count) => {
  const kept = { user };
  const keeper = {
    shared: `session-tests-${(names += 1)}`,
    begin: async ({ accessToken }) => {
      const tokens = tokensOf({ accessToken });
      kept.user = tokens.userId;
      return tokens;
    },
    renew: async () => kept.user && tokensOf(issued(kept.user)),
    end: async () => void (kept.user = null),
  };
  const heard = [];
  const tabs = Array.from({ length: count }, () => new Session(keeper, (position) => heard.push(position)));
  return { kept, keeper, tabs, heard };
};
const become = (session, wanted) =>
  new Promise((resolve) => {
    const look = () => {
      const { status, reason, userId } = session.state;
      if ([status, reason, userId].includes(wanted)) resolve();
    };
    session.onChange(look);
    look();
  });
/** One of the tabs finds the session, and tells the others. */
const start = async (tabs) => {
  await tabs[0].start();
  for (const tab of tabs) await become(tab, ADA);
};
const close = (tabs) => tabs.forEach((tab) => tab.close());

test("where no session was kept, none has ended", async () => {
  const { tabs } = browser(null, 1);
  assert.deepEqual(await tabs[0].start(), { status: "signed-out", userId: null, reason: "none" });
  close(tabs);
});

test("a sign-out says in which tab it was", async () => {
  const { tabs } = browser(ADA, 2);
  await start(tabs);
  await tabs[0].end();
  assert.equal(tabs[0].state.reason, "signed-out");
  await become(tabs[1], "signed-out-elsewhere");
  close(tabs);
});

test("a session that the server has ended is no sign-out, in no tab", async () => {
  const { kept, tabs } = browser(ADA, 2);
  await start(tabs);
  kept.user = null;
  await tabs[0].replace(await tabs[0].accessToken());
  assert.equal(tabs[0].state.reason, "ended");
  await become(tabs[1], "ended");
  close(tabs);
});

test("the reason that was noticed first counts", async () => {
  const { kept, tabs, heard } = browser(ADA, 2);
  await start(tabs);
  kept.user = null;
  await tabs[1].replace(await tabs[1].accessToken());
  await become(tabs[0], "ended");
  await tabs[0].end();
  tabs[0].written("7");
  while (!heard.length) await new Promise(setImmediate); // the message before it has come, too
  assert.equal(tabs[1].state.reason, "ended");
  close(tabs);
});

test("a deletion is said even if the end of the session was noticed first", async () => {
  const { kept, tabs } = browser(ADA, 2);
  await start(tabs);
  const token = await tabs[0].accessToken();
  kept.user = null;
  await tabs[0].replace(token);
  tabs[0].ended("deleted");
  assert.equal(tabs[0].state.reason, "deleted");
  close(tabs);
});

test("an account that is deleted is signed out in all tabs, even if its cookie cannot be removed now", async () => {
  const { keeper, tabs } = browser(ADA, 2);
  keeper.end = async () => {
    throw new TransportError("away");
  };
  await start(tabs);
  tabs[0].ended("deleted");
  assert.equal(tabs[0].state.reason, "deleted");
  await become(tabs[1], "deleted");
  close(tabs);
});

test("another user who signs in is signed in in all tabs", async () => {
  const { tabs } = browser(ADA, 2);
  await start(tabs);
  await tabs[0].adopt(issued(GRACE));
  assert.equal(tabs[0].state.userId, GRACE);
  await become(tabs[1], GRACE);
  close(tabs);
});

const LOGIN = "mutation { login(input: {}) { session { refreshToken } errors { code } } }";

/** A client whose requests are answered by a function of the document and its token. */
const clientOf = (session, answer, options = {}) => {
  const requests = [];
  const fetch = async (_url, { body, headers }) => {
    const { query } = JSON.parse(body);
    const [, claims] = (headers.Authorization ?? "").split(".");
    requests.push({ query, user: claims && JSON.parse(atob(claims)).sub });
    const data = await answer(query);
    return new Response(JSON.stringify(data.errors ? data : { data }), { headers: { "Content-Type": "application/json" } });
  };
  const client = createClient({ url: "http://127.0.0.1/graphql", session, fetch, retries: 0, WebSocket: null, ...options });
  return { client, requests };
};

test("a call that one user began is not sent as another, who signs in while its token is renewed", async () => {
  const { kept, keeper } = browser(ADA, 0);
  const { client, requests } = clientOf({ ...keeper, shared: null }, () => ({ deleteData: { errors: [] } }));
  await client.session.start();
  const now = Date.now;
  Date.now = () => now() + 3_600_000;
  try {
    kept.user = GRACE; // another tab, which cannot tell
    await assert.rejects(client.mutate("mutation { deleteData(input: {}) { errors { code } } }"), UnauthenticatedError);
    assert.deepEqual(requests, []);
    assert.equal(client.session.state.userId, GRACE);
    await client.mutate("mutation { deleteData(input: {}) { errors { code } } }");
    assert.deepEqual(requests.map(({ user }) => user), [GRACE]);
  } finally {
    Date.now = now;
    client.close();
  }
});

test("a sign-in whose session cannot be kept is no failed mutation", async () => {
  const { keeper } = browser(null, 0);
  let away = true;
  const begin = async (session, remember) => {
    if (away) throw new TransportError("away");
    return keeper.begin(session, remember);
  };
  const { client } = clientOf({ ...keeper, begin }, () => ({ login: { session: issued(ADA), errors: [] } }));
  const login = () => client.mutate(LOGIN);
  await assert.rejects(login(), (error) => error instanceof SessionNotKeptError && error.cause instanceof TransportError);
  assert.equal(client.session.state.status, "signed-out");
  away = false;
  assert.equal((await login()).ok, true);
  assert.equal(client.session.state.userId, ADA);
  client.close();
});

test("a call says whether the session that it begins is remembered", async () => {
  const { keeper } = browser(null, 0);
  const remembered = [];
  const begin = async (session, remember) => (remembered.push(remember), keeper.begin(session));
  const { client } = clientOf({ ...keeper, begin }, () => ({ login: { session: issued(ADA), errors: [] } }));
  for (const options of [undefined, { remember: true }, { remember: false }]) await client.mutate(LOGIN, {}, options);
  assert.deepEqual(remembered, [undefined, true, false]);
  client.close();
});

test("a tab learns what was written before it learns who has signed in", async () => {
  const channel = new BroadcastChannel("rollcall:ordered");
  const kinds = [];
  const both = new Promise((resolve) => {
    channel.onmessage = ({ data }) => kinds.push(data.kind) === 2 && resolve();
  });
  const { keeper } = browser(null, 0);
  const answer = () => ({ register: { session: issued(ADA), position: "7", errors: [] } });
  const { client } = clientOf({ ...keeper, shared: "ordered" }, answer);
  await client.mutate("mutation { register(input: {}) { session { refreshToken } position errors { code } } }");
  await both;
  assert.deepEqual(kinds, ["written", "tokens"]);
  channel.close();
  client.close();
});

test("a stored session is forgotten even if the server cannot be reached", async () => {
  const kept = new Map([["rollcall", "secret"]]);
  const storage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, value),
    removeItem: (key) => kept.delete(key),
  };
  const { client } = clientOf(inStorage(storage), (query) => {
    if (query.includes("refreshSession(")) return { refreshSession: { session: issued(ADA) } };
    throw new TypeError("fetch failed");
  });
  await client.session.start();
  await assert.rejects(client.signOut(), TransportError);
  assert.equal(client.session.state.reason, "signed-out");
  assert.equal(kept.size, 0);
  client.close();
});

test("without WebSockets and streams a subscription waits, and says that it is not live", async () => {
  const { keeper } = browser(ADA, 0);
  const { client, requests } = clientOf(keeper, () => ({}), { streams: false });
  const lost = new Promise((resolve) => client.onConnection((connection) => connection === "lost" && resolve()));
  const changes = client.subscribe("subscription S($after: Position) { userChanges(after: $after) { position } }", { after: "1" });
  void changes.next().catch(() => undefined);
  await lost;
  assert.deepEqual(requests, []);
  assert.deepEqual(changes.variables, { after: "1" });
  client.close();
});

test("a window that is shown again, or comes online, connects at once", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] }); // no pause ends by itself
  let attempts = 0;
  class Refused {
    constructor() {
      attempts += 1;
      queueMicrotask(() => this.onclose({ code: 1013 }));
    }
    close() {}
  }
  const settled = async () => {
    for (let turns = 0; turns < 50; turns += 1) await null;
  };
  const document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  const page = new EventTarget();
  const listening = { addEventListener: page.addEventListener.bind(page), removeEventListener: page.removeEventListener.bind(page) };
  Object.assign(globalThis, { document, ...listening });
  try {
    const { keeper } = browser(ADA, 0);
    const { client } = clientOf(keeper, () => ({}), { WebSocket: Refused, streams: false });
    const text = "subscription S($after: Position) { userChanges(after: $after) { position } }";
    void client.subscribe(text, { after: "1" }).next().catch(() => undefined);
    await settled();
    assert.equal(attempts, 1);
    document.dispatchEvent(new Event("visibilitychange")); // it is hidden
    await settled();
    assert.equal(attempts, 1);
    document.visibilityState = "visible";
    for (const [target, event] of [[document, "visibilitychange"], [page, "online"]]) {
      const before = attempts;
      target.dispatchEvent(new Event(event));
      await settled();
      assert.equal(attempts, before + 1);
    }
    client.close();
    document.dispatchEvent(new Event("visibilitychange"));
    await settled();
    assert.equal(attempts, 3);
  } finally {
    for (const name of ["document", ...Object.keys(listening)]) delete globalThis[name];
  }
});

test("a message that another version of a page sends ends no session", async () => {
  const { keeper, tabs, heard } = browser(ADA, 1);
  await start(tabs);
  const channel = new BroadcastChannel(`rollcall:${keeper.shared}`);
  for (const message of [{ kind: "of another version" }, {}, "text", null, { kind: "written", position: "7" }]) channel.postMessage(message);
  while (!heard.length) await new Promise(setImmediate); // the messages before it have come, too
  assert.equal(tabs[0].state.userId, ADA);
  channel.close();
  close(tabs);
});

test("the end of a session that another tab says late does not end the one that began after it", async () => {
  const { keeper } = browser(ADA, 0);
  const channel = new BroadcastChannel(`rollcall:${keeper.shared}`);
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  const request = async (_name, { ifAvailable }, run) => {
    if (ifAvailable) return run(null); // another tab has the turn
    channel.postMessage({ kind: "ended", reason: "ended" });
    return run({});
  };
  Object.defineProperty(globalThis, "navigator", { value: { locks: { request } }, configurable: true });
  try {
    const heard = [];
    const session = new Session(keeper, (position) => heard.push(position));
    await session.adopt(issued(GRACE));
    channel.postMessage({ kind: "written", position: "7" });
    while (!heard.length) await new Promise(setImmediate);
    assert.equal(session.state.userId, GRACE);
    session.close();
  } finally {
    delete globalThis.navigator;
    if (before) Object.defineProperty(globalThis, "navigator", before);
    channel.close();
  }
});

/** A WebSocket whose server accepts every connection and sends what a test says. */
class Served {
  static opened = [];
  readyState = 1;
  subscribed = [];
  constructor() {
    Served.opened.push(this);
    queueMicrotask(() => this.onopen());
  }
  send(text) {
    const { type, id } = JSON.parse(text);
    if (type === "connection_init") queueMicrotask(() => this.receive({ type: "connection_ack" }));
    if (type === "subscribe") this.subscribed.push(id);
  }
  receive(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
  close() {
    this.readyState = 3;
  }
}

test("a subscription that waits for its slow reader does not go on as another user", async () => {
  const { keeper } = browser(ADA, 0);
  const { client } = clientOf(keeper, () => ({}), { WebSocket: Served });
  const changes = client.subscribe("subscription S($after: Position) { userChanges(after: $after) { position } }", { after: "1" });
  const first = changes.next();
  while (!Served.opened[0]?.subscribed.length) await new Promise(setImmediate);
  const [socket] = Served.opened;
  const [id] = socket.subscribed;
  for (let position = 2; position < 500; position += 1) socket.receive({ id, type: "next", payload: { data: { userChanges: { position: `${position}` } } } });
  await first;
  await client.session.adopt(issued(GRACE));
  let seen = 1;
  await assert.rejects(
    async () => {
      const end = new Promise((resolve) => setTimeout(resolve, 5_000, { done: true }));
      while (!(await Promise.race([changes.next(), end])).done) seen += 1;
    },
    UnauthenticatedError,
  );
  assert.ok(seen >= 200);
  assert.equal(Served.opened.length, 1);
  client.close();
});
