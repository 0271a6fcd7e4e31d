import{Q as e,d as t,r as n,tt as r,u as i}from"./index-CJrsqPFC.js";var a=r(e(),1),o=t(`
  query Head {
    projections { name head }
  }
`),s=t(`
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
`),c=t(`
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
`),l=t(`
  query User($id: ID!) {
    user(id: $id) { id username email name role attributes version position createdAt updatedAt }
  }
`),u=t(`
  query EmailVerified($id: ID!) {
    user(id: $id) { emailVerified }
  }
`),d=t(`
  query UserThen($id: ID!, $at: Position!) {
    user(id: $id, atPosition: $at) { id username email name role attributes version updatedAt }
  }
`),f=t(`
  query UserHistory($id: ID!, $after: String) {
    user(id: $id) {
      history(first: 100, after: $after) {
        pageInfo { hasNextPage endCursor }
        edges { node { id position version type changedFields actorId recordedAt } }
      }
    }
  }
`),p=t(`
  query UserData($id: ID!, $after: String) {
    user(id: $id) {
      data(first: 20, after: $after) {
        totalCount
        pageInfo { hasNextPage endCursor }
        edges { node { id number name version updatedAt } }
      }
    }
  }
`),m=t(`
  query Events($userId: ID, $types: [UserEventType!], $first: Int, $after: Position) {
    events(userId: $userId, types: $types, first: $first, after: $after) {
      pageInfo { hasNextPage endCursor }
      edges { node { id position userId dataId version type changedFields actorId recordedAt } }
    }
  }
`),h=t(`
  mutation CreateUser($input: CreateUserInput!) {
    createUser(input: $input) { user { id username } position errors { code message field } }
  }
`),g=t(`
  mutation InviteUser($input: InviteUserInput!) {
    inviteUser(input: $input) { user { id username } position errors { code message field } }
  }
`),_=t(`
  mutation UpdateUserByStaff($input: UpdateUserInput!) {
    updateUser(input: $input) { user { id version } position errors { code message field } }
  }
`),v=t(`
  mutation ChangeRole($input: ChangeRoleInput!) {
    changeRole(input: $input) { user { id role version } position errors { code message field } }
  }
`),y=t(`
  mutation DeleteUserByStaff($input: DeleteUserInput!) {
    deleteUser(input: $input) { deletedUserId position errors { code message field } }
  }
`),b=t(`
  mutation ImportUsers($input: ImportUsersInput!) {
    importUsers(input: $input) {
      imported existing refused { line message } position errors { code message field }
    }
  }
`),x=2e3;function S(){let{data:e,error:t,again:r}=n(o,{}),[i,s]=(0,a.useState)(0);(0,a.useEffect)(()=>{e&&s(e=>e+1)},[e]);let c=e?e.projections.reduce((e,{head:t})=>BigInt(t)>e?BigInt(t):e,0n):null;return{position:i?c?.toString()??null:null,readings:i,error:t,again:r}}function C(e){let[t,n]=(0,a.useState)(0),{onGap:r}=e;return(0,a.useEffect)(()=>{if(!t)return;let e=setTimeout(r,x);return()=>clearTimeout(e)},[t]),i(e.userId?{userId:e.userId}:{},{after:e.after,onChange:e.onChange,onGap:()=>n(e=>e+1)}),null}export{y as a,f as c,c as d,_ as f,d as g,p as h,h as i,b as l,s as m,S as n,u as o,l as p,v as r,m as s,C as t,g as u};