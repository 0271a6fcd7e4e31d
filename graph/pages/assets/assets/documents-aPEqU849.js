import{c as e}from"./index-DSrIdy9B.js";var t=e(`
  query Head {
    projections { name head }
  }
`),n=e(`
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
`),r=e(`
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
`),i=e(`
  query User($id: ID!) {
    user(id: $id) { id username email name role attributes version position createdAt updatedAt }
  }
`),a=e(`
  query EmailVerified($id: ID!) {
    user(id: $id) { emailVerified }
  }
`),o=e(`
  query UserThen($id: ID!, $at: Position!) {
    user(id: $id, atPosition: $at) { id username email name role attributes version updatedAt }
  }
`),s=e(`
  query UserHistory($id: ID!, $after: String) {
    user(id: $id) {
      history(first: 100, after: $after) {
        pageInfo { hasNextPage endCursor }
        edges { node { id position version type changedFields actorId recordedAt } }
      }
    }
  }
`),c=e(`
  query UserData($id: ID!, $after: String) {
    user(id: $id) {
      data(first: 20, after: $after) {
        totalCount
        pageInfo { hasNextPage endCursor }
        edges { node { id number name version updatedAt } }
      }
    }
  }
`),l=e(`
  query Events($userId: ID, $types: [UserEventType!], $first: Int, $after: Position) {
    events(userId: $userId, types: $types, first: $first, after: $after) {
      pageInfo { hasNextPage endCursor }
      edges { node { id position userId dataId version type changedFields actorId recordedAt } }
    }
  }
`),u=e(`
  mutation CreateUser($input: CreateUserInput!) {
    createUser(input: $input) { user { id username } position errors { code message field } }
  }
`),d=e(`
  mutation InviteUser($input: InviteUserInput!) {
    inviteUser(input: $input) { user { id username } position errors { code message field } }
  }
`),f=e(`
  mutation UpdateUserByStaff($input: UpdateUserInput!) {
    updateUser(input: $input) { user { id version } position errors { code message field } }
  }
`),p=e(`
  mutation ChangeRole($input: ChangeRoleInput!) {
    changeRole(input: $input) { user { id role version } position errors { code message field } }
  }
`),m=e(`
  mutation DeleteUserByStaff($input: DeleteUserInput!) {
    deleteUser(input: $input) { deletedUserId position errors { code message field } }
  }
`),h=e(`
  mutation ImportUsers($input: ImportUsersInput!) {
    importUsers(input: $input) {
      imported existing refused { line message } position errors { code message field }
    }
  }
`);export{l as a,h as c,f as d,i as f,o as h,a as i,d as l,c as m,u as n,t as o,n as p,m as r,s,p as t,r as u};