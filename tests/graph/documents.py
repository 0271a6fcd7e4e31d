"""The operations that the tests send, as a client would keep them."""

USER = "id username email name role attributes version position createdAt updatedAt"
ERRORS = "errors { code message field }"
SESSION = "session { accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt }"
PAGE = (
    f"totalCount pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} edges {{ cursor node {{ {USER} }} }}"
)

ME = f"query Me {{ me {{ {USER} }} }}"
ONE = f"query One($id: ID!) {{ user(id: $id) {{ {USER} }} }}"
BY_IDS = f"query ByIds($ids: [ID!]!) {{ usersByIds(ids: $ids) {{ {USER} }} }}"
NODES = """
query Nodes($ids: [ID!]!) {
  nodes(ids: $ids) { __typename id ... on User { username } ... on DataObject { number } }
}
"""
NODE = f"query Node($id: ID!) {{ node(id: $id) {{ __typename id ... on User {{ {USER} }} }} }}"
LIST = f"""
query List($filter: UserFilter, $orderBy: UserOrder, $first: Int, $after: String, $last: Int, $before: String) {{
  users(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {{ {PAGE} }}
}}
"""
SEARCH = f"""
query Search($text: String, $where: [AttributeFilter!], $first: Int = 20, $after: String) {{
  searchUsers(text: $text, where: $where, first: $first, after: $after) {{ {PAGE} }}
}}
"""
EVENT = "id position userId dataId version type changedFields actorId recordedAt"
EVENT_PAGE = f"pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} edges {{ cursor node {{ {EVENT} }} }}"

THEN = f"""
query Then($id: ID!, $asOf: DateTime, $atPosition: Position) {{
  user(id: $id, asOf: $asOf, atPosition: $atPosition) {{ {USER} }}
}}
"""
EVENTS = f"""
query Events($userId: ID, $types: [UserEventType!], $first: Int = 100, $after: Position) {{
  events(userId: $userId, types: $types, first: $first, after: $after) {{ {EVENT_PAGE} }}
}}
"""
HISTORY = f"""
query History($id: ID!, $first: Int = 20, $after: String) {{
  user(id: $id) {{ history(first: $first, after: $after) {{ {EVENT_PAGE} }} }}
}}
"""
HISTORIES = f"""
query Histories($filter: UserFilter) {{
  users(filter: $filter, first: 100) {{ edges {{ node {{ id history(first: 2) {{ {EVENT_PAGE} }} }} }} }}
}}
"""
STATISTICS = """
query Statistics($days: Int = 30) {
  statistics { total byRole { role count } registrationsByDay(days: $days) { day count } }
}
"""
PROJECTIONS = """
query Projections {
  projections {
    name state position head lag lagSeconds eventsPerSecond rebuildProgress lastError updatedAt
  }
}
"""

REGISTER = f"""
mutation Register($input: RegisterInput!) {{
  register(input: $input) {{ user {{ {USER} }} {SESSION} position {ERRORS} }}
}}
"""
CREATE = f"""
mutation Create($input: CreateUserInput!) {{ createUser(input: $input) {{ user {{ {USER} }} position {ERRORS} }} }}
"""
IMPORT = "mutation($input: ImportUsersInput!) { importUsers(input: $input) { imported errors { message } } }"
INVITE = f"""
mutation Invite($days: Int! = 7) {{ createInvitation(days: $days) {{ invitation expiresAt {ERRORS} }} }}
"""
LOGIN = f"""
mutation Login($input: LoginInput!) {{ login(input: $input) {{ {SESSION} user {{ {USER} }} {ERRORS} }} }}
"""
REFRESH = f"""
mutation Refresh($token: String!) {{
  refreshSession(refreshToken: $token) {{ {SESSION} user {{ {USER} }} {ERRORS} }}
}}
"""
LOGOUT = "mutation Logout($everywhere: Boolean = false) { logout(everywhere: $everywhere) { loggedOut } }"
UPDATE_SEVERAL = f"""
mutation UpdateSeveral($input: [UpdateUserInput!]!) {{
  updateUsers(input: $input) {{ user {{ {USER} }} position {ERRORS} }}
}}
"""
UPDATE = f"""
mutation Update($input: UpdateUserInput!) {{ updateUser(input: $input) {{ user {{ {USER} }} position {ERRORS} }} }}
"""
CHANGE_PASSWORD = f"""
mutation ChangePassword($input: ChangePasswordInput!) {{
  changePassword(input: $input) {{ user {{ {USER} }} position {ERRORS} }}
}}
"""
CHANGE_ROLE = f"""
mutation ChangeRole($input: ChangeRoleInput!) {{ changeRole(input: $input) {{ user {{ {USER} }} position {ERRORS} }} }}
"""
DELETE = f"""
mutation Delete($input: DeleteUserInput!) {{ deleteUser(input: $input) {{ deletedUserId position {ERRORS} }} }}
"""
REBUILD = """
mutation Rebuild($name: String!, $key: String) {
  rebuildProjection(name: $name, idempotencyKey: $key) {
    projection { name state rebuildProgress lastError } errors { code message field }
  }
}
"""

DATA = "id number owner { id username } name content version position createdAt updatedAt"
DATA_PAGE = (
    f"totalCount pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} edges {{ cursor node {{ {DATA} }} }}"
)
ONE_DATA = f"""
query OneData($id: ID, $number: Int, $asOf: DateTime, $atPosition: Position) {{
  data(id: $id, number: $number, asOf: $asOf, atPosition: $atPosition) {{ {DATA} }}
}}
"""
DATA_HISTORY = f"""
query DataHistory($id: ID!, $first: Int = 20, $after: String) {{
  data(id: $id) {{ history(first: $first, after: $after) {{ {EVENT_PAGE} }} }}
}}
"""
LIST_DATA = f"""
query ListData($filter: DataFilter, $orderBy: DataOrder, $first: Int, $after: String, $last: Int, $before: String) {{
  dataObjects(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {{
    {DATA_PAGE}
  }}
}}
"""
SEARCH_DATA = f"""
query SearchData($text: String, $where: [AttributeFilter!], $first: Int = 20, $after: String) {{
  searchData(text: $text, where: $where, first: $first, after: $after) {{ {DATA_PAGE} }}
}}
"""
OWNED_DATA = f"""
query OwnedData($id: ID!, $first: Int = 20, $after: String) {{
  user(id: $id) {{ dataIds data(first: $first, after: $after) {{ {DATA_PAGE} }} }}
}}
"""
CREATE_DATA = f"""
mutation CreateData($input: CreateDataInput!) {{ createData(input: $input) {{ data {{ {DATA} }} position {ERRORS} }} }}
"""
UPDATE_DATA = f"""
mutation UpdateData($input: UpdateDataInput!) {{ updateData(input: $input) {{ data {{ {DATA} }} position {ERRORS} }} }}
"""
TRANSFER_DATA = f"""
mutation TransferData($input: TransferDataInput!) {{
  transferData(input: $input) {{ data {{ {DATA} }} position {ERRORS} }}
}}
"""
DELETE_DATA = f"""
mutation DeleteData($input: DeleteDataInput!) {{ deleteData(input: $input) {{ deletedDataId position {ERRORS} }} }}
"""
DATA_CHANGES = f"""
subscription DataChanges($ownerId: ID, $after: Position, $cursor: String) {{
  dataChanges(ownerId: $ownerId, after: $after, cursor: $cursor) {{
    position cursor type dataId ownerId version changedFields recordedAt data {{ {DATA} }}
  }}
}}
"""

CHANGES = f"""
subscription Changes($userId: ID, $types: [UserEventType!], $after: Position, $cursor: String) {{
  userChanges(userId: $userId, types: $types, after: $after, cursor: $cursor) {{
    position cursor type userId version changedFields recordedAt user {{ {USER} }}
  }}
}}
"""
STATUS = """
subscription Status {
  projectionStatus {
    name state position head lag lagSeconds eventsPerSecond rebuildProgress lastError updatedAt
  }
}
"""

WEBHOOK = "id url types roles enabled disabledReason publicKey position lag state lagSeconds pending dead lastError"
CREATE_WEBHOOK = f"""
mutation CreateWebhook($input: CreateWebhookInput!) {{
  createWebhook(input: $input) {{ secret webhook {{ {WEBHOOK} }} {ERRORS} }}
}}
"""
UPDATE_WEBHOOK = f"""
mutation UpdateWebhook($input: UpdateWebhookInput!) {{
  updateWebhook(input: $input) {{ secret webhook {{ {WEBHOOK} }} {ERRORS} }}
}}
"""
DELETE_WEBHOOK = f"mutation DeleteWebhook($id: ID!) {{ deleteWebhook(id: $id) {{ webhook {{ id }} {ERRORS} }} }}"
WEBHOOKS = f"query Webhooks {{ webhooks {{ {WEBHOOK} }} }}"
DELIVERIES = """
query Deliveries($id: ID!, $first: Int, $after: String) {
  webhookDeliveries(id: $id, first: $first, after: $after) {
    edges { cursor node { id position status attempts durationMs error deliveredAt nextAttemptAt } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
REDELIVER = f"mutation Redeliver($id: ID!) {{ redeliver(deliveryId: $id) {{ webhook {{ id }} {ERRORS} }} }}"
REQUEST_RESET = f"""
mutation RequestReset($login: String!) {{ requestPasswordReset(login: $login) {{ accepted {ERRORS} }} }}
"""
RESET = f"""
mutation Reset($token: String!, $new: String!) {{
  resetPassword(token: $token, newPassword: $new) {{ {SESSION} user {{ {USER} }} {ERRORS} }}
}}
"""
REQUEST_VERIFICATION = f"mutation RequestVerification {{ requestEmailVerification {{ accepted {ERRORS} }} }}"
VERIFY = f"mutation Verify($token: String!) {{ verifyEmail(token: $token) {{ user {{ {USER} }} position {ERRORS} }} }}"
INVITE_USER = f"""
mutation InviteUser($input: InviteUserInput!) {{ inviteUser(input: $input) {{ user {{ {USER} }} position {ERRORS} }} }}
"""

SESSIONS = """
query Sessions($userId: ID) {
  sessions(userId: $userId) { id current startedAt lastSeenAt expiresAt device address }
}
"""
END_SESSION = "mutation EndSession($id: ID!) { endSession(id: $id) { loggedOut } }"
PERSONAL_DATA = """
query PersonalData($userId: ID, $after: String) {
  personalData(userId: $userId, after: $after) { kind content next }
}
"""
