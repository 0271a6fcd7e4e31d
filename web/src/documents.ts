/** Operations that several pages send. */
import { graphql } from "./gql";

export const SESSIONS = graphql(`
  query Sessions($userId: ID) {
    sessions(userId: $userId) { id current startedAt lastSeenAt expiresAt device address }
  }
`);

export const END_SESSION = graphql(`
  mutation EndSession($id: ID!) {
    endSession(id: $id) { loggedOut }
  }
`);
