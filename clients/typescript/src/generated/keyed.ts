/** Inputs that have a field `idempotencyKey`. */
export const KEYED_INPUTS: ReadonlySet<string> = /* @__PURE__ */ new Set([
  "ChangeRoleInput",
  "CreateDataInput",
  "CreateUserInput",
  "DeleteDataInput",
  "DeleteUserInput",
  "InviteUserInput",
  "RegisterInput",
  "TransferDataInput",
  "UpdateDataInput",
  "UpdateUserInput",
]);
