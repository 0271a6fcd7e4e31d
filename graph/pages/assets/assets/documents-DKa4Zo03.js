import{c as e}from"./index-DSrIdy9B.js";var t=e(`
  query Sessions($userId: ID) {
    sessions(userId: $userId) { id current startedAt lastSeenAt expiresAt device address }
  }
`),n=e(`
  mutation EndSession($id: ID!) {
    endSession(id: $id) { loggedOut }
  }
`);export{t as n,n as t};