/** What the pages of users and of the audit log ask the API. */
import { graphql } from "../gql";

/** Staff only. A list that is read after the head was asked for, and changes after that head, miss nothing. */
export const HEAD = graphql(`
  query Head {
    projections { name head }
  }
`);

export const USERS = graphql(`
  query Users(
    $filter: UserFilter, $orderBy: UserOrder, $first: Int, $after: String, $last: Int, $before: String
    $attributes: Boolean!
  ) {
    users(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
      totalCount
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      edges {
        node { id username email name role version createdAt updatedAt attributes @include(if: $attributes) }
      }
    }
  }
`);

export const SEARCH_USERS = graphql(`
  query SearchUsers(
    $text: String, $where: [AttributeFilter!], $filter: UserFilter, $first: Int, $after: String, $attributes: Boolean!
  ) {
    searchUsers(text: $text, where: $where, filter: $filter, first: $first, after: $after) {
      totalCount
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      edges {
        node { id username email name role version createdAt updatedAt attributes @include(if: $attributes) }
      }
    }
  }
`);

export const USER = graphql(`
  query User($id: ID!) {
    user(id: $id) { id username email name role attributes version position createdAt updatedAt }
  }
`);

export const EMAIL_VERIFIED = graphql(`
  query EmailVerified($id: ID!) {
    user(id: $id) { emailVerified }
  }
`);

export const USER_THEN = graphql(`
  query UserThen($id: ID!, $at: Position!) {
    user(id: $id, atPosition: $at) { id username email name role attributes version updatedAt }
  }
`);

export const HISTORY = graphql(`
  query UserHistory($id: ID!, $after: String) {
    user(id: $id) {
      history(first: 100, after: $after) {
        pageInfo { hasNextPage endCursor }
        edges { node { id position version type changedFields actorId recordedAt } }
      }
    }
  }
`);

export const USER_DATA = graphql(`
  query UserData($id: ID!, $after: String) {
    user(id: $id) {
      data(first: 20, after: $after) {
        totalCount
        pageInfo { hasNextPage endCursor }
        edges { node { id number name version updatedAt } }
      }
    }
  }
`);

export const EVENTS = graphql(`
  query Events($userId: ID, $types: [UserEventType!], $first: Int, $after: Position) {
    events(userId: $userId, types: $types, first: $first, after: $after) {
      pageInfo { hasNextPage endCursor }
      edges { node { id position userId dataId version type changedFields actorId recordedAt } }
    }
  }
`);

export const CREATE_USER = graphql(`
  mutation CreateUser($input: CreateUserInput!) {
    createUser(input: $input) { user { id username } position errors { code message field } }
  }
`);

export const INVITE_USER = graphql(`
  mutation InviteUser($input: InviteUserInput!) {
    inviteUser(input: $input) { user { id username } position errors { code message field } }
  }
`);

export const UPDATE_USER = graphql(`
  mutation UpdateUserByStaff($input: UpdateUserInput!) {
    updateUser(input: $input) { user { id version } position errors { code message field } }
  }
`);

export const CHANGE_ROLE = graphql(`
  mutation ChangeRole($input: ChangeRoleInput!) {
    changeRole(input: $input) { user { id role version } position errors { code message field } }
  }
`);

export const DELETE_USER = graphql(`
  mutation DeleteUserByStaff($input: DeleteUserInput!) {
    deleteUser(input: $input) { deletedUserId position errors { code message field } }
  }
`);

export const IMPORT_USERS = graphql(`
  mutation ImportUsers($input: ImportUsersInput!) {
    importUsers(input: $input) {
      imported existing refused { line message } position errors { code message field }
    }
  }
`);
