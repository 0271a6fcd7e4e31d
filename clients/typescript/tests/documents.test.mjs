// What the client reads in a document: a mutation is repeated only if each of its fields has an idempotency key.
import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "graphql";

import { operationOf, withKeys } from "../dist/documents.js";
import * as operations from "../dist/operations.js";

const newKey = () => "key";
const UPDATE = "mutation M($input: UpdateUserInput!) { updateUser(input: $input) { position errors { code } } }";

test("an input gets a key, and keeps its own", () => {
  const operation = operationOf(UPDATE);
  assert.equal(operation.repeatable, true);
  assert.deepEqual(withKeys(operation, { input: { id: "1" } }, newKey), { input: { id: "1", idempotencyKey: "key" } });
  const own = { input: { id: "1", idempotencyKey: "own" } };
  assert.deepEqual(withKeys(operation, own, newKey), own);
});

test("each input of a list gets a key of its own", () => {
  const operation = operationOf("mutation($all: [UpdateUserInput!]!) { updateUsers(input: $all) { position } }");
  let number = 0;
  const { all } = withKeys(operation, { all: [{ id: "1" }, { id: "2" }] }, () => String((number += 1)));
  assert.deepEqual(all.map(({ idempotencyKey }) => idempotencyKey), ["1", "2"]);
});

test("a variable for the key alone is filled", () => {
  for (const operation of [
    operationOf("mutation($k: String) { rebuildProjection(name: \"mysql_users\", idempotencyKey: $k) { errors { code } } }"),
    operationOf("mutation($k: String) { deleteUser(input: {id: \"1\", idempotencyKey: $k}) { position } }"),
  ]) {
    assert.equal(operation.repeatable, true);
    assert.deepEqual(withKeys(operation, {}, newKey), { k: "key" });
  }
});

test("what has no key is not repeated", () => {
  for (const text of [
    "mutation { createInvitation(days: 1) { invitation } }",
    'mutation { updateUser(input: {id: "1", name: "A"}) { position } }',
    "mutation M($input: UpdateUserInput!) { updateUser(input: $input) { position } createInvitation(days: 1) { invitation } }",
    "mutation M($input: UpdateUserInput!) { createInvitation(days: 1) { invitation } again: updateUser(input: $input) { position } }",
    "mutation M($input: LoginInput!) { login(input: $input) { errors { code } } }",
    "mutation M($input: UpdateUserInput!) { ...F } fragment F on Mutation { updateUser(input: $input) { position } }",
  ]) {
    assert.equal(operationOf(text).repeatable, false, text);
  }
});

test("comments, texts, directives and fragments do not mislead", () => {
  const operation = operationOf(`
    fragment F on UserPayload { errors { code } }
    # mutation { createInvitation }
    mutation M($input: UpdateUserInput! = {id: "}) { query"}, $with: Boolean = true) @a(b: "{") {
      done: updateUser(input: $input) @include(if: $with) { position ...F user { mutation: name } }
    }`);
  assert.deepEqual([operation.kind, operation.repeatable, [...operation.variables]], ["mutation", true, ["input", "with"]]);
  assert.equal(operationOf("{ me { subscription: id } }").kind, "query");
  assert.throws(() => operationOf("query A { me { id } } query B { me { id } }"), TypeError);
});

test("a parsed document is read like its text", () => {
  const { kind, keyed, repeatable, variables } = operationOf(parse(UPDATE));
  assert.deepEqual([kind, [...keyed], repeatable, [...variables]], ["mutation", ["input"], true, ["input"]]);
});

test("of the package's mutations those with a key, and those that do no harm twice, are repeated", () => {
  const not = Object.entries(operations)
    .filter(([name, document]) => name.endsWith("Document") && operationOf(document).kind === "mutation")
    .filter(([, document]) => !operationOf(document).repeatable)
    .map(([name]) => name.replace("Document", ""));
  assert.deepEqual(not.sort(), [
    "ChangePassword", "CreateInvitation", "CreateWebhook", "DeleteWebhook", "Login", "Redeliver",
    "RequestEmailVerification", "RequestPasswordReset", "ResetPassword", "UpdateWebhook", "VerifyEmail",
  ]);
});
