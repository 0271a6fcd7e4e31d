// Where a session is kept: the cookie of /session, storages that refuse, and browsers whose tabs cannot speak.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, beforeEach, mock, test } from "node:test";

import { createClient, inCookie, inStorage, Session, TransportError, UnavailableError } from "../dist/index.js";
import { tokensOf } from "../dist/keepers.js";
import { tabsOf } from "../dist/tabs.js";

const USER = "11111111-1111-4111-8111-111111111111";
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const issued = (sub = USER) => ({
  accessToken: `${part({ alg: "none" })}.${part({ sub, iat: 1000, exp: 1600 })}.`,
  accessTokenExpiresAt: "2030-01-01T00:00:00Z",
});

// A server that answers /session as the test says.
const seen = [];
let answer;
const server = createServer((request, response) => {
  const body = [];
  request.on("data", (some) => body.push(some));
  request.on("end", () => {
    const { method, headers } = request;
    seen.push({ method, page: headers["x-rollcall-page"], type: headers["content-type"], body: JSON.parse(Buffer.concat(body)) });
    const { status, json, text, retryAfter } = answer(method);
    response.writeHead(status, retryAfter && { "Retry-After": retryAfter });
    response.end(text ?? (json === undefined ? undefined : JSON.stringify(json)));
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${server.address().port}/session`;
after(() => server.close());
beforeEach(() => {
  seen.length = 0;
  answer = (method) => (method === "DELETE" ? { status: 204 } : { status: 200, json: issued() });
});

test("a cookie is set, used and removed by requests that only a page of this origin can send", async () => {
  const keeper = inCookie({ url });
  assert.equal((await keeper.begin({ refreshToken: "secret" })).userId, USER);
  assert.equal((await keeper.renew()).userId, USER);
  await keeper.end();
  assert.deepEqual(seen.map(({ method, body }) => [method, body]), [
    ["PUT", { refreshToken: "secret", remember: false }],
    ["POST", {}],
    ["DELETE", {}],
  ]);
  assert.deepEqual(new Set(seen.map(({ page, type }) => `${page} ${type}`)), new Set(["1 application/json"]));
});

test("a sign-in says whether the cookie outlives the browser, or the keeper does", async () => {
  const keeper = inCookie({ url, remember: true });
  for (const remember of [undefined, false, true]) await keeper.begin({ refreshToken: "secret" }, remember);
  assert.deepEqual(seen.map(({ body }) => body.remember), [true, false, true]);
});

test("a cookie without a session is told apart from a server that cannot answer", async () => {
  const keeper = inCookie({ url });
  answer = () => ({ status: 401, json: { error: {} } });
  assert.equal(await keeper.renew(), null);
  await assert.rejects(keeper.begin({ refreshToken: "used up" }), TransportError);
  answer = () => ({ status: 503, json: {}, retryAfter: "7" });
  await assert.rejects(keeper.renew(), (error) => error instanceof UnavailableError && error.retryAfter === 7);
  await assert.rejects(keeper.end(), UnavailableError);
  answer = () => ({ status: 502, text: "<html>Bad gateway" });
  await assert.rejects(keeper.renew(), TransportError);
  await assert.rejects(inCookie({ url: "http://127.0.0.1:9/session" }).renew(), TransportError);
});

test("a server that does not answer is waited for ten seconds", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  context.mock.method(globalThis, "fetch", (_, { signal }) =>
    new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))));
  const renewal = inCookie({ url }).renew();
  context.mock.timers.tick(10_000);
  await assert.rejects(renewal, TransportError);
});

test("a cookie that could not be removed leaves its user signed in, and says so", async () => {
  const client = createClient({ url, session: inCookie({ url }), retries: 0 });
  await client.session.start();
  answer = () => ({ status: 503, json: {} });
  await assert.rejects(client.signOut(), UnavailableError);
  assert.equal(client.session.state.status, "signed-in");
  answer = () => ({ status: 204 });
  await client.signOut();
  assert.deepEqual(client.session.state, { status: "signed-out", userId: null, reason: "signed-out" });
  assert.deepEqual(new Set(seen.map(({ method }) => method)), new Set(["POST", "DELETE"])); // no `logout`
  client.close();
});

class Items {
  kept = new Map();
  getItem = (key) => this.kept.get(key) ?? null;
  setItem = (key, value) => void this.kept.set(key, value);
  removeItem = (key) => void this.kept.delete(key);
}
const refusal = () => {
  throw new DOMException("denied", "SecurityError");
};

test("a full storage keeps no token that is used up, and the session goes on in memory", () => {
  const items = new Items();
  const store = inStorage(items, "key");
  store.save("first");
  assert.equal(items.getItem("key"), "first");
  const { setItem } = items;
  items.setItem = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  store.save("second");
  assert.deepEqual([store.load(), items.getItem("key")], ["second", null]);
  items.setItem = setItem;
  store.save("third");
  assert.deepEqual([store.load(), items.getItem("key")], ["third", "third"]);
  store.save(null);
  assert.deepEqual([store.load(), items.getItem("key")], [null, null]);
});

test("a browser that keeps nothing keeps the session in memory", () => {
  for (const storage of [refusal, { ...new Items(), getItem: refusal, setItem: refusal }]) {
    const store = inStorage(storage);
    assert.equal(store.load(), null);
    store.save("token");
    assert.equal(store.load(), "token");
  }
  assert.equal(inStorage(refusal).shared, null); // no other tab has it
});

test("the storage of one tab is shared with none", () => {
  const [local, session] = [new Items(), new Items()];
  globalThis.sessionStorage = session;
  try {
    assert.deepEqual([inStorage(local).shared, inStorage(session).shared], ["rollcall", null]);
    Object.defineProperty(globalThis, "sessionStorage", { get: refusal, configurable: true });
    assert.equal(inStorage(local).shared, "rollcall");
  } finally {
    delete globalThis.sessionStorage;
  }
});

/** A session that other tabs would share. */
const shared = () => {
  const renew = mock.fn(async () => tokensOf(issued()));
  const keeper = { shared: "tests", begin: async () => tokensOf(issued()), renew, end: async () => {} };
  return { session: new Session(keeper, () => {}), renew };
};
const withLocks = async (request, run) => {
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { locks: request && { request } }, configurable: true });
  try {
    await run();
  } finally {
    delete globalThis.navigator;
    if (before) Object.defineProperty(globalThis, "navigator", before);
  }
};

for (const [name, request] of [
  ["refuses locks", () => Promise.reject(new DOMException("denied", "SecurityError"))],
  ["throws when it is asked for a lock", refusal],
  ["has no locks", undefined],
]) {
  test(`a browser that ${name} renews without a turn`, () =>
    withLocks(request, async () => {
      const { session, renew } = shared();
      assert.equal((await session.start()).userId, USER);
      assert.equal(renew.mock.callCount(), 1);
      session.close();
    }));
}

test("what fails in a turn is not done a second time", () =>
  withLocks((...given) => given.at(-1)({}), async () => {
    const { session, renew } = shared();
    renew.mock.mockImplementation(async () => {
      throw new TransportError("away");
    });
    await assert.rejects(session.start(), TransportError);
    assert.equal(renew.mock.callCount(), 1);
    session.close();
  }));

test("a tab that is frozen in its turn is waited for ten seconds", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const request = async (_, { ifAvailable, signal }, run) => {
    if (ifAvailable) return run(null);
    return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  };
  await withLocks(request, async () => {
    const { session, renew } = shared();
    const starting = session.start();
    for (const milliseconds of [10_000, 2_000]) {
      for (let turns = 0; turns < 20; turns += 1) await null; // until it waits
      assert.equal(renew.mock.callCount(), 0);
      context.mock.timers.tick(milliseconds);
    }
    assert.equal((await starting).userId, USER);
    session.close();
  });
});

test("a browser that refuses channels keeps its tabs' sessions apart", async () => {
  const { BroadcastChannel } = globalThis;
  for (const lacking of [class { constructor() { refusal(); } }, undefined]) {
    globalThis.BroadcastChannel = lacking;
    try {
      const { session } = shared();
      assert.equal((await session.start()).userId, USER);
      await session.end();
      assert.equal(session.state.status, "signed-out");
      session.close();
      tabsOf("tests", () => {}).send({ kind: "ended", reason: "ended" });
    } finally {
      globalThis.BroadcastChannel = BroadcastChannel;
    }
  }
});
