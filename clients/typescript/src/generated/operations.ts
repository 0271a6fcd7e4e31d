/* eslint-disable */
/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
import type { Typed } from "../documents.js";
/** A test on one path of the MongoDB view, such as {path: "address.city", eq: "Kuala Lumpur"}. */
export type AttributeFilter = {
  /** Is this value, or a list that holds it; null matches a missing path too. */
  eq?: unknown;
  /** Whether the path exists. */
  exists?: boolean | null | undefined;
  /** Is greater. */
  gt?: unknown;
  /** Is greater or equal. */
  gte?: unknown;
  /** Is one of these values. */
  in?: Array<unknown> | null | undefined;
  /** Is less. */
  lt?: unknown;
  /** Is less or equal. */
  lte?: unknown;
  /** Is not this value, or is missing. */
  ne?: unknown;
  /** Names inside attributes, joined by dots. */
  path: string;
};

/** A new password for the viewer. */
export type ChangePasswordInput = {
  /** The password in force. */
  currentPassword: string;
  /** At least 8 characters. */
  newPassword: string;
};

/** Another role for a user. */
export type ChangeRoleInput = {
  /** Refuse with STALE_VERSION unless the user is at this version. */
  expectedVersion?: number | null | undefined;
  /** The user to change. */
  id: string;
  /** 1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, and nothing is written. */
  idempotencyKey?: string | null | undefined;
  /** The new role. */
  role: Role;
};

/** A new data object. */
export type CreateDataInput = {
  /**
   * Free-form data: a JSON object of at most 1 MiB, 32,000 values, 32 levels, and 128 characters a key.
   * Keys keep their order.
   */
  content: unknown;
  /** 1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, and nothing is written. */
  idempotencyKey?: string | null | undefined;
  /** 1 to 200 characters of any script. */
  name: string;
  /** Oneself if absent; anyone for ADMIN. */
  ownerId?: string | null | undefined;
};

/** A new user of any role, created by an ADMIN. */
export type CreateUserInput = {
  /**
   * Free-form data: a JSON object of at most 64 KiB, 2,000 values, 32 levels, and 128 characters a key.
   * Keys keep their order.
   */
  attributes?: unknown;
  /** An email address. */
  email: string;
  /** 1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, and nothing is written. */
  idempotencyKey?: string | null | undefined;
  /** 1 to 200 characters of any script. */
  name: string;
  /** At least 8 characters. */
  password: string;
  /** What the user may do. */
  role: Role;
  /** 1 to 64 letters, digits and punctuation, without @ and spaces. */
  username: string;
};

/** A new webhook. It gets what happens from now on. */
export type CreateWebhookInput = {
  /** Whether requests also carry an Ed25519 signature, `v1a`, which `publicKey` verifies. */
  ed25519?: boolean;
  /** Only changes of users who have one of these roles before or after the change; null for all. */
  roles?: Array<Role> | null | undefined;
  /** Only these types; null for all. */
  types?: Array<UserEventType> | null | undefined;
  /** An https URL without a user or a password, at a public address, of at most 2,048 characters. */
  url: string;
};

/** Tests on data objects. All that are given must hold. */
export type DataFilter = {
  /** All of these hold. */
  and?: Array<DataFilter> | null | undefined;
  /** Tests on the creation's time. */
  createdAt?: DateTimeFilter | null | undefined;
  /** Tests on the name. */
  name?: StringFilter | null | undefined;
  /** This does not hold. */
  not?: DataFilter | null | undefined;
  /** Tests on the number. */
  number?: IntFilter | null | undefined;
  /** At least one of these holds. */
  or?: Array<DataFilter> | null | undefined;
  /** Belongs to this user. */
  ownerId?: string | null | undefined;
  /** Tests on the last change's time. */
  updatedAt?: DateTimeFilter | null | undefined;
};

/** The order of the data objects; the id decides between equals. */
export type DataOrder = {
  /** Ascending or descending. */
  direction?: OrderDirection;
  /** The field to order by. */
  field?: DataOrderField;
};

/** Fields that data objects can be ordered by. */
export type DataOrderField =
  /** When the object was created. */
  | 'CREATED_AT'
  /** The name, without regard to case. */
  | 'NAME'
  /** The number. */
  | 'NUMBER'
  /** When the object last changed. */
  | 'UPDATED_AT';

/** Tests on an instant. All that are given must hold. */
export type DateTimeFilter = {
  /** At this instant or later. */
  gte?: string | null | undefined;
  /** Before this instant. */
  lt?: string | null | undefined;
};

/** The data object to delete. */
export type DeleteDataInput = {
  /** Refuse with STALE_VERSION unless the data object is at this version. */
  expectedVersion?: number | null | undefined;
  /** The data object to delete. */
  id: string;
  /** 1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, and nothing is written. */
  idempotencyKey?: string | null | undefined;
};

/** The user to delete. */
export type DeleteUserInput = {
  /** Refuse with STALE_VERSION unless the user is at this version. */
  expectedVersion?: number | null | undefined;
  /** The user to delete. */
  id: string;
  /** 1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, and nothing is written. */
  idempotencyKey?: string | null | undefined;
};

/** Why something was refused. */
export type ErrorCode =
  /** The value cannot be accepted; message says why. */
  | 'INVALID'
  /** Registration requires an invitation; this one is missing, forged, expired or already used. */
  | 'INVALID_INVITATION'
  /** A refresh token or a mailed link that is unknown, expired, revoked or already used. */
  | 'INVALID_TOKEN'
  /** Too many failures; message says when to try again. */
  | 'LOCKED'
  /** There is no such user or data object. */
  | 'NOT_FOUND'
  /** Nobody can register here; an administrator creates accounts. */
  | 'REGISTRATION_CLOSED'
  /** expectedVersion is not the current version. */
  | 'STALE_VERSION'
  /** The username or email belongs to someone else, or the username looks like another. */
  | 'TAKEN'
  /** The password is right, but the email must be confirmed first; a mail with a link was sent to it. */
  | 'UNVERIFIED_EMAIL'
  /** Choose a better password; message says why. */
  | 'WEAK_PASSWORD'
  /** The same answer whether the account exists or not. */
  | 'WRONG_CREDENTIALS';

/** Tests on an id. All that are given must hold. A text that is no id is nobody's. */
export type IdFilter = {
  /** Is this id. */
  eq?: string | null | undefined;
  /** Is one of these ids. */
  in?: Array<string> | null | undefined;
};

/** Rows of users to register. */
export type ImportUsersInput = {
  /**
   * Whole rows of a file, at most 5,000 and 1,000,000 bytes: JSON lines, a JSON array, or CSV with its
   * header line.
   */
  content: string;
  /** The number of the first line of the content in the file, for the report. */
  firstLine?: number | null | undefined;
  /** JSONL, JSON or CSV; recognised by the content if absent. */
  format?: string | null | undefined;
  /**
   * The file's fields for username, email, name, role and password_hash, where the names differ, such as
   * username=login. All other fields become attributes.
   */
  map?: Array<string> | null | undefined;
};

/** Tests on a number. All that are given must hold. */
export type IntFilter = {
  /** Is this number. */
  eq?: number | null | undefined;
  /** Is this number or greater. */
  gte?: number | null | undefined;
  /** Is one of these numbers. */
  in?: Array<number> | null | undefined;
  /** Is less than this number. */
  lt?: number | null | undefined;
};

/** A new user of any role, who gets a mail and chooses a password by its link. */
export type InviteUserInput = {
  /**
   * Free-form data: a JSON object of at most 64 KiB, 2,000 values, 32 levels, and 128 characters a key.
   * Keys keep their order.
   */
  attributes?: unknown;
  /** An email address. */
  email: string;
  /** 1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, and nothing is written. */
  idempotencyKey?: string | null | undefined;
  /** 1 to 200 characters of any script. */
  name: string;
  /** What the user may do. */
  role: Role;
  /** 1 to 64 letters, digits and punctuation, without @ and spaces. */
  username: string;
};

/** The credentials of a user. */
export type LoginInput = {
  /** Username or email. */
  login: string;
  /** The password. */
  password: string;
};

/** Which way an order goes. */
export type OrderDirection =
  /** Smallest, oldest or first in the alphabet first. */
  | 'ASC'
  /** The other way round. */
  | 'DESC';

/** What a projection is doing. */
export type ProjectionState =
  /** Behind the log and working, or waiting for a database. */
  | 'CATCHING_UP'
  /** Something is wrong that waiting does not repair; lastError says what. */
  | 'FAULTED'
  /** The view holds everything that the log held when the projector last polled it. */
  | 'LIVE'
  /** A staging copy is being filled from the log; the view goes on serving. */
  | 'REBUILDING'
  /** No projector has reported for a while: it was stopped, or it died. */
  | 'STOPPED';

/** A new user, who signs up. */
export type RegisterInput = {
  /**
   * Free-form data: a JSON object of at most 64 KiB, 2,000 values, 32 levels, and 128 characters a key.
   * Keys keep their order.
   */
  attributes?: unknown;
  /** An email address. */
  email: string;
  /** 1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, and nothing is written. */
  idempotencyKey?: string | null | undefined;
  /** An invitation, if registration requires one: see INVALID_INVITATION. */
  invitation?: string | null | undefined;
  /** 1 to 200 characters of any script. */
  name: string;
  /** At least 8 characters. */
  password: string;
  /** The answer to the challenge of PROOF_OF_WORK_REQUIRED: the challenge, a dot, and the number found. */
  proofOfWork?: string | null | undefined;
  /** 1 to 64 letters, digits and punctuation, without @ and spaces. */
  username: string;
};

/** What a user may do. Everyone may read, update and delete oneself. */
export type Role =
  /** All that the others may; creates, updates and deletes users and changes their roles. */
  | 'ADMIN'
  /** Nothing about others. */
  | 'CUSTOMER'
  /** Reads all users, events, projections and statistics. */
  | 'SENIOR_MANAGEMENT'
  /** Reads all users, events and projections; may rebuild a projection. */
  | 'TECHNICAL_WORKER';

/** Tests on a role. All that are given must hold. */
export type RoleFilter = {
  /** Is this role. */
  eq?: Role | null | undefined;
  /** Is one of these roles. */
  in?: Array<Role> | null | undefined;
};

/** Tests on a text, without regard to case. All that are given must hold. */
export type StringFilter = {
  /** This text occurs in it. */
  contains?: string | null | undefined;
  /** Is this text. */
  eq?: string | null | undefined;
  /** Is one of these texts. */
  in?: Array<string> | null | undefined;
  /** Begins with this text. */
  startsWith?: string | null | undefined;
};

/** Another owner for a data object. */
export type TransferDataInput = {
  /** Refuse with STALE_VERSION unless the data object is at this version. */
  expectedVersion?: number | null | undefined;
  /** The data object to hand over. */
  id: string;
  /** 1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, and nothing is written. */
  idempotencyKey?: string | null | undefined;
  /** The new owner. */
  ownerId: string;
};

/** Fields left out, or null, stay as they are; content is a JSON merge patch (RFC 7396). */
export type UpdateDataInput = {
  /** Merged into the content. */
  content?: unknown;
  /** Refuse with STALE_VERSION unless the data object is at this version. */
  expectedVersion?: number | null | undefined;
  /** The data object to change. */
  id: string;
  /** 1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, and nothing is written. */
  idempotencyKey?: string | null | undefined;
  /** The new name. */
  name?: string | null | undefined;
};

/** Fields left out, or null, stay as they are; attributes is a JSON merge patch (RFC 7396). */
export type UpdateUserInput = {
  /** Merged into the attributes. */
  attributes?: unknown;
  /** The new email. */
  email?: string | null | undefined;
  /** Refuse with STALE_VERSION unless the user is at this version. */
  expectedVersion?: number | null | undefined;
  /** The user to change. */
  id: string;
  /** 1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, and nothing is written. */
  idempotencyKey?: string | null | undefined;
  /** The new name. */
  name?: string | null | undefined;
  /** The new username. */
  username?: string | null | undefined;
};

/** Changes of a webhook; what is left out, or null, stays. */
export type UpdateWebhookInput = {
  /** Whether requests also carry an Ed25519 signature, `v1a`, which `publicKey` verifies. */
  ed25519?: boolean | null | undefined;
  /** False: it gets nothing. True: it gets all that it has missed, and then what is new. */
  enabled?: boolean | null | undefined;
  /** The webhook to change. */
  id: string;
  /** Only changes of users who have one of these roles; [] for all. */
  roles?: Array<Role> | null | undefined;
  /** True: a new secret; the old one signs beside it for a day. */
  rotateSecret?: boolean | null | undefined;
  /** Only these types; [] for all. */
  types?: Array<UserEventType> | null | undefined;
  /** An https URL without a user or a password, at a public address, of at most 2,048 characters. */
  url?: string | null | undefined;
};

/** What happened to a user or to a data object. */
export type UserEventType =
  /** A data object of the user was created. */
  | 'DATA_CREATED'
  /** A data object of the user was deleted. */
  | 'DATA_DELETED'
  /** The user got a data object from another one. */
  | 'DATA_TRANSFERRED'
  /** Name or content of a data object were set. */
  | 'DATA_UPDATED'
  /** The email was confirmed by a link that was mailed to it. */
  | 'EMAIL_VERIFIED'
  /** There is another password, or the same one with a better hash. */
  | 'PASSWORD_CHANGED'
  /** The user has another role. */
  | 'ROLE_CHANGED'
  /** The log's event is damaged and does not say. */
  | 'UNKNOWN'
  /** The user was deleted. */
  | 'USER_DELETED'
  /** The user was registered. */
  | 'USER_REGISTERED'
  /** Username, email, name or attributes were set. */
  | 'USER_UPDATED';

/** Tests on users. All that are given must hold. */
export type UserFilter = {
  /** All of these hold. */
  and?: Array<UserFilter> | null | undefined;
  /** Tests on the registration's time. */
  createdAt?: DateTimeFilter | null | undefined;
  /** Tests on the email; eq and in find whom a sign-in finds. */
  email?: StringFilter | null | undefined;
  /** Tests on the id. */
  id?: IdFilter | null | undefined;
  /** Tests on the name. */
  name?: StringFilter | null | undefined;
  /** This does not hold. */
  not?: UserFilter | null | undefined;
  /** At least one of these holds. */
  or?: Array<UserFilter> | null | undefined;
  /** Tests on the role. */
  role?: RoleFilter | null | undefined;
  /** Tests on the last change's time. */
  updatedAt?: DateTimeFilter | null | undefined;
  /** Tests on the username; eq and in find whom a sign-in finds. */
  username?: StringFilter | null | undefined;
};

/** The order of the users; the id decides between equals. */
export type UserOrder = {
  /** Ascending or descending. */
  direction?: OrderDirection;
  /** The field to order by. */
  field?: UserOrderField;
};

/** Fields that users can be ordered by. */
export type UserOrderField =
  /** When the user was registered. */
  | 'CREATED_AT'
  /** The email, without regard to case. */
  | 'EMAIL'
  /** The name, without regard to case. */
  | 'NAME'
  /** When the user last changed. */
  | 'UPDATED_AT'
  /** The username, without regard to case. */
  | 'USERNAME';

/** State of a webhook. */
export type WebhookState =
  /** It is behind, and no attempt has failed. */
  | 'CATCHING_UP'
  /** It gets nothing until an administrator enables it. */
  | 'DISABLED'
  /** The endpoint has accepted everything, or lacks nothing older than 2 s. */
  | 'LIVE'
  /** An attempt has failed, and is repeated after a pause. */
  | 'RETRYING';

export type UserFieldsFragment = { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string };

export type DataFieldsFragment = { id: string, number: number, name: string, content: unknown, version: number, position: string, createdAt: string, updatedAt: string, owner: { id: string, username: string } };

export type ProblemFragment = { code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null };

export type TokensFragment = { accessToken: string, accessTokenExpiresAt: string, refreshToken: string, refreshTokenExpiresAt: string };

export type EventFieldsFragment = { id: string, position: string, userId: string, dataId: string | null, version: number, type: UserEventType, changedFields: Array<string>, actorId: string | null, recordedAt: string };

export type ProjectionFieldsFragment = { name: string, state: ProjectionState, position: string, head: string, lag: number, lagSeconds: number, eventsPerSecond: number, quarantined: number, rebuildProgress: number | null, lastError: string | null, updatedAt: string | null };

export type WebhookFieldsFragment = { id: string, url: string, types: Array<UserEventType> | null, roles: Array<Role> | null, enabled: boolean, disabledReason: string | null, publicKey: string | null, position: string, lag: number, state: WebhookState, lagSeconds: number, pending: number, dead: number, lastError: string | null, createdAt: string };

export type MeQueryVariables = Exact<{ [key: string]: never; }>;


export type MeQuery = { me: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null };

export type UserQueryVariables = Exact<{
  id: string;
  asOf?: string | null | undefined;
  atPosition?: string | null | undefined;
}>;


export type UserQuery = { user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null };

export type UserHistoryQueryVariables = Exact<{
  id: string;
  first?: number | null | undefined;
  after?: string | null | undefined;
}>;


export type UserHistoryQuery = { user: { history: { edges: Array<{ cursor: string, node: { id: string, position: string, userId: string, dataId: string | null, version: number, type: UserEventType, changedFields: Array<string>, actorId: string | null, recordedAt: string } }>, pageInfo: { hasNextPage: boolean, hasPreviousPage: boolean, startCursor: string | null, endCursor: string | null } } } | null };

export type UsersByIdsQueryVariables = Exact<{
  ids: Array<string> | string;
}>;


export type UsersByIdsQuery = { usersByIds: Array<{ id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null> };

export type UsersQueryVariables = Exact<{
  filter?: UserFilter | null | undefined;
  orderBy?: UserOrder | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
}>;


export type UsersQuery = { users: { edges: Array<{ cursor: string, node: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } }>, pageInfo: { hasNextPage: boolean, hasPreviousPage: boolean, startCursor: string | null, endCursor: string | null } } };

export type CountUsersQueryVariables = Exact<{
  filter?: UserFilter | null | undefined;
}>;


export type CountUsersQuery = { users: { totalCount: number } };

export type SearchUsersQueryVariables = Exact<{
  text?: string | null | undefined;
  where?: Array<AttributeFilter> | AttributeFilter | null | undefined;
  filter?: UserFilter | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
}>;


export type SearchUsersQuery = { searchUsers: { edges: Array<{ cursor: string, node: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } }>, pageInfo: { hasNextPage: boolean, hasPreviousPage: boolean, startCursor: string | null, endCursor: string | null } } };

export type DataQueryVariables = Exact<{
  id?: string | null | undefined;
  number?: number | null | undefined;
  asOf?: string | null | undefined;
  atPosition?: string | null | undefined;
}>;


export type DataQuery = { data: { id: string, number: number, name: string, content: unknown, version: number, position: string, createdAt: string, updatedAt: string, owner: { id: string, username: string } } | null };

export type DataObjectsQueryVariables = Exact<{
  filter?: DataFilter | null | undefined;
  orderBy?: DataOrder | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
}>;


export type DataObjectsQuery = { dataObjects: { edges: Array<{ cursor: string, node: { id: string, number: number, name: string, content: unknown, version: number, position: string, createdAt: string, updatedAt: string, owner: { id: string, username: string } } }>, pageInfo: { hasNextPage: boolean, hasPreviousPage: boolean, startCursor: string | null, endCursor: string | null } } };

export type SearchDataQueryVariables = Exact<{
  text?: string | null | undefined;
  where?: Array<AttributeFilter> | AttributeFilter | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
}>;


export type SearchDataQuery = { searchData: { edges: Array<{ cursor: string, node: { id: string, number: number, name: string, content: unknown, version: number, position: string, createdAt: string, updatedAt: string, owner: { id: string, username: string } } }>, pageInfo: { hasNextPage: boolean, hasPreviousPage: boolean, startCursor: string | null, endCursor: string | null } } };

export type NodeQueryVariables = Exact<{
  id: string;
}>;


export type NodeQuery = { node:
    | { __typename: 'DataObject', id: string, number: number, name: string, content: unknown, version: number, position: string, createdAt: string, updatedAt: string, owner: { id: string, username: string } }
    | { __typename: 'User', id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string }
   | null };

export type NodesQueryVariables = Exact<{
  ids: Array<string> | string;
}>;


export type NodesQuery = { nodes: Array<
    | { __typename: 'DataObject', id: string, number: number, name: string, content: unknown, version: number, position: string, createdAt: string, updatedAt: string, owner: { id: string, username: string } }
    | { __typename: 'User', id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string }
   | null> };

export type EventsQueryVariables = Exact<{
  userId?: string | null | undefined;
  types?: Array<UserEventType> | UserEventType | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
}>;


export type EventsQuery = { events: { edges: Array<{ cursor: string, node: { id: string, position: string, userId: string, dataId: string | null, version: number, type: UserEventType, changedFields: Array<string>, actorId: string | null, recordedAt: string } }>, pageInfo: { hasNextPage: boolean, hasPreviousPage: boolean, startCursor: string | null, endCursor: string | null } } };

export type ProjectionsQueryVariables = Exact<{ [key: string]: never; }>;


export type ProjectionsQuery = { projections: Array<{ name: string, state: ProjectionState, position: string, head: string, lag: number, lagSeconds: number, eventsPerSecond: number, quarantined: number, rebuildProgress: number | null, lastError: string | null, updatedAt: string | null }> };

export type StatisticsQueryVariables = Exact<{
  days?: number | null | undefined;
}>;


export type StatisticsQuery = { statistics: { total: number, activeSessions: number, byRole: Array<{ role: Role, count: number }>, registrationsByDay: Array<{ day: string, count: number }> } };

export type SessionsQueryVariables = Exact<{
  userId?: string | null | undefined;
}>;


export type SessionsQuery = { sessions: Array<{ id: string, current: boolean, startedAt: string, lastSeenAt: string, expiresAt: string, device: string, address: string | null }> };

export type PersonalDataQueryVariables = Exact<{
  userId?: string | null | undefined;
  after?: string | null | undefined;
}>;


export type PersonalDataQuery = { personalData: { kind: string, content: unknown, next: string | null } };

export type WebhooksQueryVariables = Exact<{ [key: string]: never; }>;


export type WebhooksQuery = { webhooks: Array<{ id: string, url: string, types: Array<UserEventType> | null, roles: Array<Role> | null, enabled: boolean, disabledReason: string | null, publicKey: string | null, position: string, lag: number, state: WebhookState, lagSeconds: number, pending: number, dead: number, lastError: string | null, createdAt: string }> };

export type WebhookDeliveriesQueryVariables = Exact<{
  id: string;
  first?: number | null | undefined;
  after?: string | null | undefined;
}>;


export type WebhookDeliveriesQuery = { webhookDeliveries: { edges: Array<{ cursor: string, node: { id: string, position: string, status: number | null, attempts: number, durationMs: number | null, error: string | null, deliveredAt: string | null, nextAttemptAt: string | null } }>, pageInfo: { hasNextPage: boolean, hasPreviousPage: boolean, startCursor: string | null, endCursor: string | null } } };

export type HereQueryVariables = Exact<{ [key: string]: never; }>;


export type HereQuery = { usersByIds: Array<{ id: string } | null> };

export type LoginMutationVariables = Exact<{
  input: LoginInput;
}>;


export type LoginMutation = { login: { session: { accessToken: string, accessTokenExpiresAt: string, refreshToken: string, refreshTokenExpiresAt: string } | null, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type RefreshSessionMutationVariables = Exact<{
  refreshToken: string;
}>;


export type RefreshSessionMutation = { refreshSession: { session: { accessToken: string, accessTokenExpiresAt: string, refreshToken: string, refreshTokenExpiresAt: string } | null, user: { id: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type LogoutMutationVariables = Exact<{
  everywhere?: boolean | null | undefined;
}>;


export type LogoutMutation = { logout: { loggedOut: boolean } };

export type EndSessionMutationVariables = Exact<{
  id: string;
}>;


export type EndSessionMutation = { endSession: { loggedOut: boolean } };

export type RegisterMutationVariables = Exact<{
  input: RegisterInput;
}>;


export type RegisterMutation = { register: { position: string | null, session: { accessToken: string, accessTokenExpiresAt: string, refreshToken: string, refreshTokenExpiresAt: string } | null, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type ChangePasswordMutationVariables = Exact<{
  input: ChangePasswordInput;
}>;


export type ChangePasswordMutation = { changePassword: { position: string | null, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type RequestPasswordResetMutationVariables = Exact<{
  login: string;
}>;


export type RequestPasswordResetMutation = { requestPasswordReset: { accepted: boolean, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type ResetPasswordMutationVariables = Exact<{
  token: string;
  newPassword: string;
}>;


export type ResetPasswordMutation = { resetPassword: { session: { accessToken: string, accessTokenExpiresAt: string, refreshToken: string, refreshTokenExpiresAt: string } | null, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type RequestEmailVerificationMutationVariables = Exact<{ [key: string]: never; }>;


export type RequestEmailVerificationMutation = { requestEmailVerification: { accepted: boolean, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type VerifyEmailMutationVariables = Exact<{
  token: string;
}>;


export type VerifyEmailMutation = { verifyEmail: { position: string | null, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type CreateUserMutationVariables = Exact<{
  input: CreateUserInput;
}>;


export type CreateUserMutation = { createUser: { position: string | null, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type InviteUserMutationVariables = Exact<{
  input: InviteUserInput;
}>;


export type InviteUserMutation = { inviteUser: { position: string | null, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type CreateInvitationMutationVariables = Exact<{
  days: number;
}>;


export type CreateInvitationMutation = { createInvitation: { invitation: string | null, expiresAt: string | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type ImportUsersMutationVariables = Exact<{
  input: ImportUsersInput;
}>;


export type ImportUsersMutation = { importUsers: { imported: number, existing: number, position: string | null, refused: Array<{ line: number, message: string }>, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type UpdateUserMutationVariables = Exact<{
  input: UpdateUserInput;
}>;


export type UpdateUserMutation = { updateUser: { position: string | null, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type UpdateUsersMutationVariables = Exact<{
  input: Array<UpdateUserInput> | UpdateUserInput;
}>;


export type UpdateUsersMutation = { updateUsers: Array<{ position: string | null, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> }> };

export type ChangeRoleMutationVariables = Exact<{
  input: ChangeRoleInput;
}>;


export type ChangeRoleMutation = { changeRole: { position: string | null, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type DeleteUserMutationVariables = Exact<{
  input: DeleteUserInput;
}>;


export type DeleteUserMutation = { deleteUser: { deletedUserId: string | null, position: string | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type CreateDataMutationVariables = Exact<{
  input: CreateDataInput;
}>;


export type CreateDataMutation = { createData: { position: string | null, data: { id: string, number: number, name: string, content: unknown, version: number, position: string, createdAt: string, updatedAt: string, owner: { id: string, username: string } } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type UpdateDataMutationVariables = Exact<{
  input: UpdateDataInput;
}>;


export type UpdateDataMutation = { updateData: { position: string | null, data: { id: string, number: number, name: string, content: unknown, version: number, position: string, createdAt: string, updatedAt: string, owner: { id: string, username: string } } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type TransferDataMutationVariables = Exact<{
  input: TransferDataInput;
}>;


export type TransferDataMutation = { transferData: { position: string | null, data: { id: string, number: number, name: string, content: unknown, version: number, position: string, createdAt: string, updatedAt: string, owner: { id: string, username: string } } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type DeleteDataMutationVariables = Exact<{
  input: DeleteDataInput;
}>;


export type DeleteDataMutation = { deleteData: { deletedDataId: string | null, position: string | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type RebuildProjectionMutationVariables = Exact<{
  name: string;
  idempotencyKey?: string | null | undefined;
}>;


export type RebuildProjectionMutation = { rebuildProjection: { projection: { name: string, state: ProjectionState, position: string, head: string, lag: number, lagSeconds: number, eventsPerSecond: number, quarantined: number, rebuildProgress: number | null, lastError: string | null, updatedAt: string | null } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type CreateWebhookMutationVariables = Exact<{
  input: CreateWebhookInput;
}>;


export type CreateWebhookMutation = { createWebhook: { secret: string | null, webhook: { id: string, url: string, types: Array<UserEventType> | null, roles: Array<Role> | null, enabled: boolean, disabledReason: string | null, publicKey: string | null, position: string, lag: number, state: WebhookState, lagSeconds: number, pending: number, dead: number, lastError: string | null, createdAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type UpdateWebhookMutationVariables = Exact<{
  input: UpdateWebhookInput;
}>;


export type UpdateWebhookMutation = { updateWebhook: { secret: string | null, webhook: { id: string, url: string, types: Array<UserEventType> | null, roles: Array<Role> | null, enabled: boolean, disabledReason: string | null, publicKey: string | null, position: string, lag: number, state: WebhookState, lagSeconds: number, pending: number, dead: number, lastError: string | null, createdAt: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type DeleteWebhookMutationVariables = Exact<{
  id: string;
}>;


export type DeleteWebhookMutation = { deleteWebhook: { webhook: { id: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type RedeliverMutationVariables = Exact<{
  deliveryId: string;
}>;


export type RedeliverMutation = { redeliver: { webhook: { id: string } | null, errors: Array<{ code: ErrorCode, message: string, field: Array<string> | null, retryAfter: number | null }> } };

export type UserChangesSubscriptionVariables = Exact<{
  userId?: string | null | undefined;
  types?: Array<UserEventType> | UserEventType | null | undefined;
  after?: string | null | undefined;
  cursor?: string | null | undefined;
}>;


export type UserChangesSubscription = { userChanges: { position: string, cursor: string, type: UserEventType, userId: string, version: number, changedFields: Array<string>, recordedAt: string, user: { id: string, username: string, email: string, name: string, role: Role, attributes: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null } };

export type DataChangesSubscriptionVariables = Exact<{
  ownerId?: string | null | undefined;
  after?: string | null | undefined;
  cursor?: string | null | undefined;
}>;


export type DataChangesSubscription = { dataChanges: { position: string, cursor: string, type: UserEventType, dataId: string, ownerId: string, version: number, changedFields: Array<string>, recordedAt: string, data: { id: string, number: number, name: string, content: unknown, version: number, position: string, createdAt: string, updatedAt: string } | null } };

export type ProjectionStatusSubscriptionVariables = Exact<{ [key: string]: never; }>;


export type ProjectionStatusSubscription = { projectionStatus: Array<{ name: string, state: ProjectionState, position: string, head: string, lag: number, lagSeconds: number, eventsPerSecond: number, quarantined: number, rebuildProgress: number | null, lastError: string | null, updatedAt: string | null }> };

export class TypedDocumentString<TResult, TVariables>
  extends String
  implements Typed<TResult, TVariables>
{
  __apiType?: NonNullable<Typed<TResult, TVariables>['__apiType']>;
  private value: string;
  public __meta__?: Record<string, any> | undefined;

  constructor(value: string, __meta__?: Record<string, any> | undefined) {
    super(value);
    this.value = value;
    this.__meta__ = __meta__;
  }

  override toString(): string & Typed<TResult, TVariables> {
    return this.value;
  }
}
export const UserFieldsFragmentDoc = /* @__PURE__ */ new TypedDocumentString(`
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
    `, {"fragmentName":"UserFields"}) as TypedDocumentString<UserFieldsFragment, unknown>;
export const DataFieldsFragmentDoc = /* @__PURE__ */ new TypedDocumentString(`
    fragment DataFields on DataObject {
  id
  number
  name
  content
  version
  position
  createdAt
  updatedAt
  owner {
    id
    username
  }
}
    `, {"fragmentName":"DataFields"}) as TypedDocumentString<DataFieldsFragment, unknown>;
export const ProblemFragmentDoc = /* @__PURE__ */ new TypedDocumentString(`
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}
    `, {"fragmentName":"Problem"}) as TypedDocumentString<ProblemFragment, unknown>;
export const TokensFragmentDoc = /* @__PURE__ */ new TypedDocumentString(`
    fragment Tokens on Session {
  accessToken
  accessTokenExpiresAt
  refreshToken
  refreshTokenExpiresAt
}
    `, {"fragmentName":"Tokens"}) as TypedDocumentString<TokensFragment, unknown>;
export const EventFieldsFragmentDoc = /* @__PURE__ */ new TypedDocumentString(`
    fragment EventFields on UserEvent {
  id
  position
  userId
  dataId
  version
  type
  changedFields
  actorId
  recordedAt
}
    `, {"fragmentName":"EventFields"}) as TypedDocumentString<EventFieldsFragment, unknown>;
export const ProjectionFieldsFragmentDoc = /* @__PURE__ */ new TypedDocumentString(`
    fragment ProjectionFields on Projection {
  name
  state
  position
  head
  lag
  lagSeconds
  eventsPerSecond
  quarantined
  rebuildProgress
  lastError
  updatedAt
}
    `, {"fragmentName":"ProjectionFields"}) as TypedDocumentString<ProjectionFieldsFragment, unknown>;
export const WebhookFieldsFragmentDoc = /* @__PURE__ */ new TypedDocumentString(`
    fragment WebhookFields on Webhook {
  id
  url
  types
  roles
  enabled
  disabledReason
  publicKey
  position
  lag
  state
  lagSeconds
  pending
  dead
  lastError
  createdAt
}
    `, {"fragmentName":"WebhookFields"}) as TypedDocumentString<WebhookFieldsFragment, unknown>;
export const MeDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Me {
  me {
    ...UserFields
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}`, {"hash":"sha256:6cc1cf51e69bb373ad684740202aee5779db0b7f0ecaa927d206e3181ab6c528"}) as TypedDocumentString<MeQuery, MeQueryVariables>;
export const UserDocument = /* @__PURE__ */ new TypedDocumentString(`
    query User($id: ID!, $asOf: DateTime, $atPosition: Position) {
  user(id: $id, asOf: $asOf, atPosition: $atPosition) {
    ...UserFields
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}`, {"hash":"sha256:f27d9be6c186714fc360d28d49a1a88acefe0259ad0c7f2942102a0ba2369477"}) as TypedDocumentString<UserQuery, UserQueryVariables>;
export const UserHistoryDocument = /* @__PURE__ */ new TypedDocumentString(`
    query UserHistory($id: ID!, $first: Int, $after: String) {
  user(id: $id) {
    history(first: $first, after: $after) {
      edges {
        cursor
        node {
          ...EventFields
        }
      }
      pageInfo {
        hasNextPage
        hasPreviousPage
        startCursor
        endCursor
      }
    }
  }
}
    fragment EventFields on UserEvent {
  id
  position
  userId
  dataId
  version
  type
  changedFields
  actorId
  recordedAt
}`, {"hash":"sha256:bcb9818be617aa055a49e02673a4da4f90a0a897f2cf7ca504e1a74d4278a9a7"}) as TypedDocumentString<UserHistoryQuery, UserHistoryQueryVariables>;
export const UsersByIdsDocument = /* @__PURE__ */ new TypedDocumentString(`
    query UsersByIds($ids: [ID!]!) {
  usersByIds(ids: $ids) {
    ...UserFields
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}`, {"hash":"sha256:eefe269c8a75ed3b113b32b13e48506237508f6d9b44edc186f57c36a1adc7a5"}) as TypedDocumentString<UsersByIdsQuery, UsersByIdsQueryVariables>;
export const UsersDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Users($filter: UserFilter, $orderBy: UserOrder, $first: Int, $after: String, $last: Int, $before: String) {
  users(
    filter: $filter
    orderBy: $orderBy
    first: $first
    after: $after
    last: $last
    before: $before
  ) {
    edges {
      cursor
      node {
        ...UserFields
      }
    }
    pageInfo {
      hasNextPage
      hasPreviousPage
      startCursor
      endCursor
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}`, {"hash":"sha256:e95126bf6f6ea6a40b5ebfa36431166628c6cc659284a7398cc31272f9e9cd13"}) as TypedDocumentString<UsersQuery, UsersQueryVariables>;
export const CountUsersDocument = /* @__PURE__ */ new TypedDocumentString(`
    query CountUsers($filter: UserFilter) {
  users(filter: $filter, first: 0) {
    totalCount
  }
}
    `, {"hash":"sha256:dd9fd5aa2408532df9c9b64737c3f26de3346978b837c53f7d3f3a03f56e3fd3"}) as TypedDocumentString<CountUsersQuery, CountUsersQueryVariables>;
export const SearchUsersDocument = /* @__PURE__ */ new TypedDocumentString(`
    query SearchUsers($text: String, $where: [AttributeFilter!], $filter: UserFilter, $first: Int, $after: String) {
  searchUsers(
    text: $text
    where: $where
    filter: $filter
    first: $first
    after: $after
  ) {
    edges {
      cursor
      node {
        ...UserFields
      }
    }
    pageInfo {
      hasNextPage
      hasPreviousPage
      startCursor
      endCursor
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}`, {"hash":"sha256:d439db513456a2542c758ede3a18059eab6d6242380a53a69ee2628788644047"}) as TypedDocumentString<SearchUsersQuery, SearchUsersQueryVariables>;
export const DataDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Data($id: ID, $number: Int, $asOf: DateTime, $atPosition: Position) {
  data(id: $id, number: $number, asOf: $asOf, atPosition: $atPosition) {
    ...DataFields
  }
}
    fragment DataFields on DataObject {
  id
  number
  name
  content
  version
  position
  createdAt
  updatedAt
  owner {
    id
    username
  }
}`, {"hash":"sha256:210e3888204741a720e35be4e8055b8c32ae2f921b56baed7aca749f146b74a0"}) as TypedDocumentString<DataQuery, DataQueryVariables>;
export const DataObjectsDocument = /* @__PURE__ */ new TypedDocumentString(`
    query DataObjects($filter: DataFilter, $orderBy: DataOrder, $first: Int, $after: String, $last: Int, $before: String) {
  dataObjects(
    filter: $filter
    orderBy: $orderBy
    first: $first
    after: $after
    last: $last
    before: $before
  ) {
    edges {
      cursor
      node {
        ...DataFields
      }
    }
    pageInfo {
      hasNextPage
      hasPreviousPage
      startCursor
      endCursor
    }
  }
}
    fragment DataFields on DataObject {
  id
  number
  name
  content
  version
  position
  createdAt
  updatedAt
  owner {
    id
    username
  }
}`, {"hash":"sha256:6fb3a705e330cc84811e88fd4ff546452f09d095f9a55c0f6d2e9fdab5493ea4"}) as TypedDocumentString<DataObjectsQuery, DataObjectsQueryVariables>;
export const SearchDataDocument = /* @__PURE__ */ new TypedDocumentString(`
    query SearchData($text: String, $where: [AttributeFilter!], $first: Int, $after: String) {
  searchData(text: $text, where: $where, first: $first, after: $after) {
    edges {
      cursor
      node {
        ...DataFields
      }
    }
    pageInfo {
      hasNextPage
      hasPreviousPage
      startCursor
      endCursor
    }
  }
}
    fragment DataFields on DataObject {
  id
  number
  name
  content
  version
  position
  createdAt
  updatedAt
  owner {
    id
    username
  }
}`, {"hash":"sha256:c92c9b104f39b8d9dd973aba3cdac5c38453ae9c69a7093e24107df047964885"}) as TypedDocumentString<SearchDataQuery, SearchDataQueryVariables>;
export const NodeDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Node($id: ID!) {
  node(id: $id) {
    __typename
    ... on User {
      ...UserFields
    }
    ... on DataObject {
      ...DataFields
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment DataFields on DataObject {
  id
  number
  name
  content
  version
  position
  createdAt
  updatedAt
  owner {
    id
    username
  }
}`, {"hash":"sha256:7a168653406e7d91b5d572d8c62427a52b8d40402e1af8c62293105c0adb13bc"}) as TypedDocumentString<NodeQuery, NodeQueryVariables>;
export const NodesDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Nodes($ids: [ID!]!) {
  nodes(ids: $ids) {
    __typename
    ... on User {
      ...UserFields
    }
    ... on DataObject {
      ...DataFields
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment DataFields on DataObject {
  id
  number
  name
  content
  version
  position
  createdAt
  updatedAt
  owner {
    id
    username
  }
}`, {"hash":"sha256:ace62d461bb13fe2e58834945ac312599233a42b0b5b20353dba980a68af1f72"}) as TypedDocumentString<NodesQuery, NodesQueryVariables>;
export const EventsDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Events($userId: ID, $types: [UserEventType!], $first: Int, $after: Position) {
  events(userId: $userId, types: $types, first: $first, after: $after) {
    edges {
      cursor
      node {
        ...EventFields
      }
    }
    pageInfo {
      hasNextPage
      hasPreviousPage
      startCursor
      endCursor
    }
  }
}
    fragment EventFields on UserEvent {
  id
  position
  userId
  dataId
  version
  type
  changedFields
  actorId
  recordedAt
}`, {"hash":"sha256:d80dd7780154843aaafb335e570f430a868b2f58e78422b9813abbc7252b1641"}) as TypedDocumentString<EventsQuery, EventsQueryVariables>;
export const ProjectionsDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Projections {
  projections {
    ...ProjectionFields
  }
}
    fragment ProjectionFields on Projection {
  name
  state
  position
  head
  lag
  lagSeconds
  eventsPerSecond
  quarantined
  rebuildProgress
  lastError
  updatedAt
}`, {"hash":"sha256:6945d82755dbe07648ef76a4141ac5e6f6fc3414a03bb8572f5f10df018cc24b"}) as TypedDocumentString<ProjectionsQuery, ProjectionsQueryVariables>;
export const StatisticsDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Statistics($days: Int) {
  statistics {
    total
    activeSessions
    byRole {
      role
      count
    }
    registrationsByDay(days: $days) {
      day
      count
    }
  }
}
    `, {"hash":"sha256:066486e5e49c2f46de04301ff99e897a23c33ec1bfe11c1c6de10d5997b685aa"}) as TypedDocumentString<StatisticsQuery, StatisticsQueryVariables>;
export const SessionsDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Sessions($userId: ID) {
  sessions(userId: $userId) {
    id
    current
    startedAt
    lastSeenAt
    expiresAt
    device
    address
  }
}
    `, {"hash":"sha256:63f90575d905b2ac481c9314eaf0a220d3aa3f95af8b4373cf407e0d9af52b9b"}) as TypedDocumentString<SessionsQuery, SessionsQueryVariables>;
export const PersonalDataDocument = /* @__PURE__ */ new TypedDocumentString(`
    query PersonalData($userId: ID, $after: String) {
  personalData(userId: $userId, after: $after) {
    kind
    content
    next
  }
}
    `, {"hash":"sha256:f24692eb5f81e5870b90321aca3966e4888d57d9d2e515508e9180a2fefc12bd"}) as TypedDocumentString<PersonalDataQuery, PersonalDataQueryVariables>;
export const WebhooksDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Webhooks {
  webhooks {
    ...WebhookFields
  }
}
    fragment WebhookFields on Webhook {
  id
  url
  types
  roles
  enabled
  disabledReason
  publicKey
  position
  lag
  state
  lagSeconds
  pending
  dead
  lastError
  createdAt
}`, {"hash":"sha256:081ab53d3e9d3cbd570e65c3858aa5ffc037fa98bfae703a83b05a3e6084eaa1"}) as TypedDocumentString<WebhooksQuery, WebhooksQueryVariables>;
export const WebhookDeliveriesDocument = /* @__PURE__ */ new TypedDocumentString(`
    query WebhookDeliveries($id: ID!, $first: Int, $after: String) {
  webhookDeliveries(id: $id, first: $first, after: $after) {
    edges {
      cursor
      node {
        id
        position
        status
        attempts
        durationMs
        error
        deliveredAt
        nextAttemptAt
      }
    }
    pageInfo {
      hasNextPage
      hasPreviousPage
      startCursor
      endCursor
    }
  }
}
    `, {"hash":"sha256:8862e2263472a1905f36858c0d5ec4d71ccdba0301f1110c09bd4023164e0472"}) as TypedDocumentString<WebhookDeliveriesQuery, WebhookDeliveriesQueryVariables>;
export const HereDocument = /* @__PURE__ */ new TypedDocumentString(`
    query Here {
  usersByIds(ids: []) {
    id
  }
}
    `, {"hash":"sha256:4979f13be967832f5789dd2377b87bb0b69ab834f45abf6c27a4fc7bc398cdf1"}) as TypedDocumentString<HereQuery, HereQueryVariables>;
export const LoginDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation Login($input: LoginInput!) {
  login(input: $input) {
    session {
      ...Tokens
    }
    user {
      ...UserFields
    }
    errors {
      ...Problem
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}
fragment Tokens on Session {
  accessToken
  accessTokenExpiresAt
  refreshToken
  refreshTokenExpiresAt
}`, {"hash":"sha256:29b215f2d6503904547fa5675eeabdb08a8d9d304346780cb151c66f13cf0f3d"}) as TypedDocumentString<LoginMutation, LoginMutationVariables>;
export const RefreshSessionDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation RefreshSession($refreshToken: String!) {
  refreshSession(refreshToken: $refreshToken) {
    session {
      ...Tokens
    }
    user {
      id
    }
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}
fragment Tokens on Session {
  accessToken
  accessTokenExpiresAt
  refreshToken
  refreshTokenExpiresAt
}`, {"hash":"sha256:c13978fe4f44476dd1f171de8fd3ba513ead63d5d8aadb6f7749505b04642259"}) as TypedDocumentString<RefreshSessionMutation, RefreshSessionMutationVariables>;
export const LogoutDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation Logout($everywhere: Boolean) {
  logout(everywhere: $everywhere) {
    loggedOut
  }
}
    `, {"hash":"sha256:2d502c63aecc504372078b7e290ba9310af5886e42315523b9e39d965d0850a5"}) as TypedDocumentString<LogoutMutation, LogoutMutationVariables>;
export const EndSessionDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation EndSession($id: ID!) {
  endSession(id: $id) {
    loggedOut
  }
}
    `, {"hash":"sha256:9531de9c9ea7fb94871857521b2a19bf01ad7a303fb5e988efa8024dfbddd98c"}) as TypedDocumentString<EndSessionMutation, EndSessionMutationVariables>;
export const RegisterDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation Register($input: RegisterInput!) {
  register(input: $input) {
    session {
      ...Tokens
    }
    user {
      ...UserFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}
fragment Tokens on Session {
  accessToken
  accessTokenExpiresAt
  refreshToken
  refreshTokenExpiresAt
}`, {"hash":"sha256:26db4163e718635e73a51b91484bcce7843b1d26ed2b85a093b040a92e061eff"}) as TypedDocumentString<RegisterMutation, RegisterMutationVariables>;
export const ChangePasswordDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation ChangePassword($input: ChangePasswordInput!) {
  changePassword(input: $input) {
    user {
      ...UserFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:fafc15b91e43033dbe19a5356b6113824ac4a0e85bca9eb84419d34813a64016"}) as TypedDocumentString<ChangePasswordMutation, ChangePasswordMutationVariables>;
export const RequestPasswordResetDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation RequestPasswordReset($login: String!) {
  requestPasswordReset(login: $login) {
    accepted
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:154689772447e324c626b5369beb564c588277d4611a9f5f841983fdd2cb5638"}) as TypedDocumentString<RequestPasswordResetMutation, RequestPasswordResetMutationVariables>;
export const ResetPasswordDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation ResetPassword($token: String!, $newPassword: String!) {
  resetPassword(token: $token, newPassword: $newPassword) {
    session {
      ...Tokens
    }
    user {
      ...UserFields
    }
    errors {
      ...Problem
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}
fragment Tokens on Session {
  accessToken
  accessTokenExpiresAt
  refreshToken
  refreshTokenExpiresAt
}`, {"hash":"sha256:9bc195db17ca69c2278074462bbb3de1854ac8b26612c47a54801c4952565d7f"}) as TypedDocumentString<ResetPasswordMutation, ResetPasswordMutationVariables>;
export const RequestEmailVerificationDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation RequestEmailVerification {
  requestEmailVerification {
    accepted
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:276db5437122d9f4fc551d90df3dc47398ad1dd99eb44f1c596b4d3bcf0a9597"}) as TypedDocumentString<RequestEmailVerificationMutation, RequestEmailVerificationMutationVariables>;
export const VerifyEmailDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation VerifyEmail($token: String!) {
  verifyEmail(token: $token) {
    user {
      ...UserFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:c3689d8b0b26252b0cafce5f6f2f66bb3ceeabaf81ddbf6a13aa8827485df504"}) as TypedDocumentString<VerifyEmailMutation, VerifyEmailMutationVariables>;
export const CreateUserDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation CreateUser($input: CreateUserInput!) {
  createUser(input: $input) {
    user {
      ...UserFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:d8a61f428aafff9ba471a88a4c2fd2c33b97d0c66b8911c21a87b325409026a3"}) as TypedDocumentString<CreateUserMutation, CreateUserMutationVariables>;
export const InviteUserDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation InviteUser($input: InviteUserInput!) {
  inviteUser(input: $input) {
    user {
      ...UserFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:0f2323d3c27d45f8cb15d6add9cf2aa6c4119f992ce773110b42e513fa7d3de0"}) as TypedDocumentString<InviteUserMutation, InviteUserMutationVariables>;
export const CreateInvitationDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation CreateInvitation($days: Int!) {
  createInvitation(days: $days) {
    invitation
    expiresAt
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:b601f2542acba6976d7bb5737c490c842ac4c5a1ed328b9dba30946a32011bf7"}) as TypedDocumentString<CreateInvitationMutation, CreateInvitationMutationVariables>;
export const ImportUsersDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation ImportUsers($input: ImportUsersInput!) {
  importUsers(input: $input) {
    imported
    existing
    refused {
      line
      message
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:45cce0bfa804b84027d17875d873058f2104f3e5905b30635f8922e7a4368da5"}) as TypedDocumentString<ImportUsersMutation, ImportUsersMutationVariables>;
export const UpdateUserDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation UpdateUser($input: UpdateUserInput!) {
  updateUser(input: $input) {
    user {
      ...UserFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:b7ad12aac33b0fc9fdcdb5d9ce650c8155c59e073ed08e4d17438a80e33f5a23"}) as TypedDocumentString<UpdateUserMutation, UpdateUserMutationVariables>;
export const UpdateUsersDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation UpdateUsers($input: [UpdateUserInput!]!) {
  updateUsers(input: $input) {
    user {
      ...UserFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:dccb86c0c0cd76a699e4d0a7ddaa7252d40b0df25f49600506343a17f80911fe"}) as TypedDocumentString<UpdateUsersMutation, UpdateUsersMutationVariables>;
export const ChangeRoleDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation ChangeRole($input: ChangeRoleInput!) {
  changeRole(input: $input) {
    user {
      ...UserFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:407495ade4a7e5233a1e0054a179d69ddb6607e85401e0f24e8c050b18171b7f"}) as TypedDocumentString<ChangeRoleMutation, ChangeRoleMutationVariables>;
export const DeleteUserDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation DeleteUser($input: DeleteUserInput!) {
  deleteUser(input: $input) {
    deletedUserId
    position
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:615ab297479dcd15ad4f431765f2edbdf3f4aa71895b5434bd36ee815d40408e"}) as TypedDocumentString<DeleteUserMutation, DeleteUserMutationVariables>;
export const CreateDataDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation CreateData($input: CreateDataInput!) {
  createData(input: $input) {
    data {
      ...DataFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment DataFields on DataObject {
  id
  number
  name
  content
  version
  position
  createdAt
  updatedAt
  owner {
    id
    username
  }
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:e1a8e9adfa6912a4c29e731d5fed6766b907c3416bb62a39fefb162d087493a5"}) as TypedDocumentString<CreateDataMutation, CreateDataMutationVariables>;
export const UpdateDataDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation UpdateData($input: UpdateDataInput!) {
  updateData(input: $input) {
    data {
      ...DataFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment DataFields on DataObject {
  id
  number
  name
  content
  version
  position
  createdAt
  updatedAt
  owner {
    id
    username
  }
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:8ce41ed5bf49398611d3676fc441ed9dd60a35236fbd41268e3921808dc4dd37"}) as TypedDocumentString<UpdateDataMutation, UpdateDataMutationVariables>;
export const TransferDataDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation TransferData($input: TransferDataInput!) {
  transferData(input: $input) {
    data {
      ...DataFields
    }
    position
    errors {
      ...Problem
    }
  }
}
    fragment DataFields on DataObject {
  id
  number
  name
  content
  version
  position
  createdAt
  updatedAt
  owner {
    id
    username
  }
}
fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:0eb4775bb8cc75bedbfdf837b03c9d54979e6081d5a6b0d539b6958b0857956d"}) as TypedDocumentString<TransferDataMutation, TransferDataMutationVariables>;
export const DeleteDataDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation DeleteData($input: DeleteDataInput!) {
  deleteData(input: $input) {
    deletedDataId
    position
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:b6fe4fa97452ab7417d1f64d912a961309b670de8ff393efd82934f4e5e69416"}) as TypedDocumentString<DeleteDataMutation, DeleteDataMutationVariables>;
export const RebuildProjectionDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation RebuildProjection($name: String!, $idempotencyKey: String) {
  rebuildProjection(name: $name, idempotencyKey: $idempotencyKey) {
    projection {
      ...ProjectionFields
    }
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}
fragment ProjectionFields on Projection {
  name
  state
  position
  head
  lag
  lagSeconds
  eventsPerSecond
  quarantined
  rebuildProgress
  lastError
  updatedAt
}`, {"hash":"sha256:d5e65fecc9c88824e7fa38d31143715abf6497841aeabad1b2a744554bb89390"}) as TypedDocumentString<RebuildProjectionMutation, RebuildProjectionMutationVariables>;
export const CreateWebhookDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation CreateWebhook($input: CreateWebhookInput!) {
  createWebhook(input: $input) {
    webhook {
      ...WebhookFields
    }
    secret
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}
fragment WebhookFields on Webhook {
  id
  url
  types
  roles
  enabled
  disabledReason
  publicKey
  position
  lag
  state
  lagSeconds
  pending
  dead
  lastError
  createdAt
}`, {"hash":"sha256:89caee0d72fa46f3fb3387d1213f1305b9bdf37f0def435f9a5ad826d4d07161"}) as TypedDocumentString<CreateWebhookMutation, CreateWebhookMutationVariables>;
export const UpdateWebhookDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation UpdateWebhook($input: UpdateWebhookInput!) {
  updateWebhook(input: $input) {
    webhook {
      ...WebhookFields
    }
    secret
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}
fragment WebhookFields on Webhook {
  id
  url
  types
  roles
  enabled
  disabledReason
  publicKey
  position
  lag
  state
  lagSeconds
  pending
  dead
  lastError
  createdAt
}`, {"hash":"sha256:8c3496a99714af0055f741f7bbf4d0b0a0c75abbd2ba4672e9440c4a1c4d2cc8"}) as TypedDocumentString<UpdateWebhookMutation, UpdateWebhookMutationVariables>;
export const DeleteWebhookDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation DeleteWebhook($id: ID!) {
  deleteWebhook(id: $id) {
    webhook {
      id
    }
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:31fa4571f9336626b176cc6c3c3d3b9b0473fbfa2d8f26bbfc4c8b96c5926507"}) as TypedDocumentString<DeleteWebhookMutation, DeleteWebhookMutationVariables>;
export const RedeliverDocument = /* @__PURE__ */ new TypedDocumentString(`
    mutation Redeliver($deliveryId: ID!) {
  redeliver(deliveryId: $deliveryId) {
    webhook {
      id
    }
    errors {
      ...Problem
    }
  }
}
    fragment Problem on UserError {
  code
  message
  field
  retryAfter
}`, {"hash":"sha256:9b916673cfb5ad6dccb9008f30b903057e0fb31a6ac867b1405fd004ec02caee"}) as TypedDocumentString<RedeliverMutation, RedeliverMutationVariables>;
export const UserChangesDocument = /* @__PURE__ */ new TypedDocumentString(`
    subscription UserChanges($userId: ID, $types: [UserEventType!], $after: Position, $cursor: String) {
  userChanges(userId: $userId, types: $types, after: $after, cursor: $cursor) {
    position
    cursor
    type
    userId
    version
    changedFields
    recordedAt
    user {
      ...UserFields
    }
  }
}
    fragment UserFields on User {
  id
  username
  email
  name
  role
  attributes
  version
  position
  createdAt
  updatedAt
}`, {"hash":"sha256:8bada5f93f308708124a1f9fd1ee9f17355513ec07b2f4657b2649a3bb2e172b"}) as TypedDocumentString<UserChangesSubscription, UserChangesSubscriptionVariables>;
export const DataChangesDocument = /* @__PURE__ */ new TypedDocumentString(`
    subscription DataChanges($ownerId: ID, $after: Position, $cursor: String) {
  dataChanges(ownerId: $ownerId, after: $after, cursor: $cursor) {
    position
    cursor
    type
    dataId
    ownerId
    version
    changedFields
    recordedAt
    data {
      id
      number
      name
      content
      version
      position
      createdAt
      updatedAt
    }
  }
}
    `, {"hash":"sha256:127dd2a1b79776d2e8f00033596528e73a2eeb8f3412c5ca3ea88f45a8769daf"}) as TypedDocumentString<DataChangesSubscription, DataChangesSubscriptionVariables>;
export const ProjectionStatusDocument = /* @__PURE__ */ new TypedDocumentString(`
    subscription ProjectionStatus {
  projectionStatus {
    ...ProjectionFields
  }
}
    fragment ProjectionFields on Projection {
  name
  state
  position
  head
  lag
  lagSeconds
  eventsPerSecond
  quarantined
  rebuildProgress
  lastError
  updatedAt
}`, {"hash":"sha256:8dc6198e0f1f21b2f4c297b19dbe64b0c77a933c7301210f1f23fb4e2beb6643"}) as TypedDocumentString<ProjectionStatusSubscription, ProjectionStatusSubscriptionVariables>;