export { type CallOptions, type Changes, Client, type ClientOptions, createClient, type QueryResult } from "./client.js";
export type { Document, Typed } from "./documents.js";
export * from "./errors.js";
export { inCookie, inMemory, inStorage, type IssuedSession, type SessionKeeper, type Tokens, type TokenStore } from "./keepers.js";
export type { Outcome, Problem } from "./outcomes.js";
export { Session, type SessionEnd, type SessionState } from "./session.js";
export type { Connection } from "./subscriptions.js";
