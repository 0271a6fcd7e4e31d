import{F as e,l as t}from"./index-C30xXTzX.js";var n=t(`
  query Me {
    me { id username email name role attributes version position createdAt updatedAt emailVerified }
  }
`),r=t(`
  mutation UpdateSelf($input: UpdateUserInput!) {
    updateUser(input: $input) {
      user { id username email name role attributes version position createdAt updatedAt emailVerified }
      position
      errors { code message field }
    }
  }
`),i=t(`
  mutation RequestEmailVerification {
    requestEmailVerification { accepted errors { code message field } }
  }
`),a=t(`
  mutation ChangePassword($input: ChangePasswordInput!) {
    changePassword(input: $input) { position errors { code message field } }
  }
`),o=t(`
  query OwnSessions {
    sessions { id current startedAt lastSeenAt expiresAt device address }
  }
`),s=t(`
  mutation EndSession($id: ID!) {
    endSession(id: $id) { loggedOut }
  }
`),c=t(`
  query OwnHistory($first: Int!, $after: String) {
    me {
      id
      history(first: $first, after: $after) {
        edges { node { id position type version dataId changedFields actorId recordedAt } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
`),l=t(`
  query PersonalData($after: String) {
    personalData(after: $after) { kind content next }
  }
`),u=t(`
  mutation CheckPassword($input: LoginInput!) {
    login(input: $input) { user { id } errors { code message field } }
  }
`),d=t(`
  mutation DeleteSelf($input: DeleteUserInput!) {
    deleteUser(input: $input) { deletedUserId position errors { code message field } }
  }
`),f=e=>({version:e.version,fields:{username:e.username,email:e.email,name:e.name,attributes:e.attributes}});async function p(){let{data:t,error:r}=await e.query(n,{}).toPromise();if(r)throw r;return t?.me?f(t.me):null}var m=t=>async n=>{let{data:r,error:i}=await e.query(c,{first:t,after:n}).toPromise();if(i)throw i;let a=r?.me?.history;return{events:a?.edges.map(({node:e})=>e)??[],hasNextPage:a?.pageInfo.hasNextPage??!1,endCursor:a?.pageInfo.endCursor??null}},h=m(20),g=m(100);export{a,s as c,o as d,r as f,f as i,n as l,h as n,u as o,i as p,p as r,d as s,g as t,l as u};