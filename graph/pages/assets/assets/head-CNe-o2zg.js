import{f as e,i as t,ot as n,p as r,rt as i}from"./index-HwEjFiSZ.js";var a=n(i(),1),o=r(`
  query Head {
    projections { name head }
  }
`),s=r(`
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
`),c=r(`
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
`),l=r(`
  query User($id: ID!) {
    user(id: $id) { id username email name role attributes version position createdAt updatedAt }
  }
`),u=r(`
  query EmailVerified($id: ID!) {
    user(id: $id) { emailVerified }
  }
`),d=r(`
  query UserThen($id: ID!, $at: Position!) {
    user(id: $id, atPosition: $at) { id username email name role attributes version updatedAt }
  }
`),f=r(`
  query UserHistory($id: ID!, $after: String) {
    user(id: $id) {
      history(first: 100, after: $after) {
        pageInfo { hasNextPage endCursor }
        edges { node { id position version type changedFields actorId recordedAt } }
      }
    }
  }
`),p=r(`
  query UserData($id: ID!, $after: String) {
    user(id: $id) {
      data(first: 20, after: $after) {
        totalCount
        pageInfo { hasNextPage endCursor }
        edges { node { id number name version updatedAt } }
      }
    }
  }
`),m=r(`
  query Events($userId: ID, $types: [UserEventType!], $first: Int, $after: Position) {
    events(userId: $userId, types: $types, first: $first, after: $after) {
      pageInfo { hasNextPage endCursor }
      edges { node { id position userId dataId version type changedFields actorId recordedAt } }
    }
  }
`),h=r(`
  mutation CreateUser($input: CreateUserInput!) {
    createUser(input: $input) { user { id username } position errors { code message field } }
  }
`),g=r(`
  mutation InviteUser($input: InviteUserInput!) {
    inviteUser(input: $input) { user { id username } position errors { code message field } }
  }
`),_=r(`
  mutation UpdateUserByStaff($input: UpdateUserInput!) {
    updateUser(input: $input) { user { id version } position errors { code message field } }
  }
`),v=r(`
  mutation ChangeRole($input: ChangeRoleInput!) {
    changeRole(input: $input) { user { id role version } position errors { code message field } }
  }
`),y=r(`
  mutation DeleteUserByStaff($input: DeleteUserInput!) {
    deleteUser(input: $input) { deletedUserId position errors { code message field } }
  }
`),b=r(`
  mutation ImportUsers($input: ImportUsersInput!) {
    importUsers(input: $input) {
      imported existing refused { line message } position errors { code message field }
    }
  }
`),x=2e3;function S(){let{data:e,error:n,again:r}=t(o,{}),[i,s]=(0,a.useState)(0);(0,a.useEffect)(()=>{e&&s(e=>e+1)},[e]);let c=e?e.projections.reduce((e,{head:t})=>BigInt(t)>e?BigInt(t):e,0n):null;return{position:i?c?.toString()??null:null,readings:i,error:n,again:r}}function C(t){let[n,r]=(0,a.useState)(0),{onGap:i}=t;return(0,a.useEffect)(()=>{if(!n)return;let e=setTimeout(i,x);return()=>clearTimeout(e)},[n]),e(t.userId?{userId:t.userId}:{},{after:t.after,onChange:t.onChange,onGap:()=>r(e=>e+1)}),null}export{y as a,f as c,c as d,_ as f,d as g,p as h,h as i,b as l,s as m,S as n,u as o,l as p,v as r,m as s,C as t,g as u};