import{r as e}from"./session-DzrTH9xt.js";import{c as t}from"./index-DSrIdy9B.js";var n=t(`
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
  query OwnHistory($first: Int!, $after: String) {
    me {
      id
      history(first: $first, after: $after) {
        edges { node { id position type version dataId changedFields actorId recordedAt } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
`),s=t(`
  query PersonalData($after: String) {
    personalData(after: $after) { kind content next }
  }
`),c=t(`
  mutation CheckPassword($input: LoginInput!) {
    login(input: $input) { user { id } errors { code message field } }
  }
`),l=t(`
  mutation DeleteSelf($input: DeleteUserInput!) {
    deleteUser(input: $input) { deletedUserId position errors { code message field } }
  }
`),u=e=>({version:e.version,fields:{username:e.username,email:e.email,name:e.name,attributes:e.attributes}});async function d(){let{data:t}=await e.query(n);return t.me?u(t.me):null}var f=t=>async n=>{let r=(await e.query(o,{first:t,after:n})).data.me?.history;return{events:r?.edges.map(({node:e})=>e)??[],hasNextPage:r?.pageInfo.hasNextPage??!1,endCursor:r?.pageInfo.endCursor??null}},p=f(20),m=f(100);export{a,n as c,i as d,u as i,s as l,p as n,c as o,d as r,l as s,m as t,r as u};