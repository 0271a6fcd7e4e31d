import { graphql } from "../gql";

export const ME = graphql(`
  query Me {
    me { id username email name role attributes version position createdAt updatedAt emailVerified }
  }
`);

export const UPDATE = graphql(`
  mutation UpdateSelf($input: UpdateUserInput!) {
    updateUser(input: $input) {
      user { id username email name role attributes version position createdAt updatedAt emailVerified }
      position
      errors { code message field }
    }
  }
`);

export const VERIFICATION = graphql(`
  mutation RequestEmailVerification {
    requestEmailVerification { accepted errors { code message field } }
  }
`);

export const CHANGE_PASSWORD = graphql(`
  mutation ChangePassword($input: ChangePasswordInput!) {
    changePassword(input: $input) { position errors { code message field } }
  }
`);

export const OWN_HISTORY = graphql(`
  query OwnHistory($first: Int!, $after: String) {
    me {
      id
      history(first: $first, after: $after) {
        edges { node { id position type version dataId changedFields actorId recordedAt } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
`);

export const PERSONAL_DATA = graphql(`
  query PersonalData($after: String) {
    personalData(after: $after) { kind content next }
  }
`);

export const CHECK_PASSWORD = graphql(`
  mutation CheckPassword($input: LoginInput!) {
    login(input: $input) { user { id } errors { code message field } }
  }
`);

export const DELETE_SELF = graphql(`
  mutation DeleteSelf($input: DeleteUserInput!) {
    deleteUser(input: $input) { deletedUserId position errors { code message field } }
  }
`);
