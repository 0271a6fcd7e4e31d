import{p as e,s as t}from"./index-HwEjFiSZ.js";var n=e(`
  query Me {
    me { id username email name role attributes version position createdAt updatedAt emailVerified }
  }
`),r=e(`
  mutation UpdateSelf($input: UpdateUserInput!) {
    updateUser(input: $input) {
      user { id username email name role attributes version position createdAt updatedAt emailVerified }
      position
      errors { code message field }
    }
  }
`),i=e(`
  mutation RequestEmailVerification {
    requestEmailVerification { accepted errors { code message field } }
  }
`),a=e(`
  mutation ChangePassword($input: ChangePasswordInput!) {
    changePassword(input: $input) { position errors { code message field } }
  }
`),o=e(`
  query OwnHistory($first: Int!, $after: String) {
    me {
      id
      history(first: $first, after: $after) {
        edges { node { id position type version dataId changedFields actorId recordedAt } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
`),s=e(`
  query PersonalData($after: String) {
    personalData(after: $after) { kind content next }
  }
`),c=e(`
  mutation CheckPassword($input: LoginInput!) {
    login(input: $input) { user { id } errors { code message field } }
  }
`),l=e(`
  mutation DeleteSelf($input: DeleteUserInput!) {
    deleteUser(input: $input) { deletedUserId position errors { code message field } }
  }
`),u=e=>({version:e.version,fields:{username:e.username,email:e.email,name:e.name,attributes:e.attributes}});async function d(){let{data:e,error:r}=await t.query(n,{}).toPromise();if(r)throw r;return e?.me?u(e.me):null}var f=e=>async n=>{let{data:r,error:i}=await t.query(o,{first:e,after:n}).toPromise();if(i)throw i;let a=r?.me?.history;return{events:a?.edges.map(({node:e})=>e)??[],hasNextPage:a?.pageInfo.hasNextPage??!1,endCursor:a?.pageInfo.endCursor??null}},p=f(20),m=f(100);export{a,n as c,i as d,u as i,s as l,p as n,c as o,d as r,l as s,m as t,r as u};