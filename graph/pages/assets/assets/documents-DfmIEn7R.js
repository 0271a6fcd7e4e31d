import{c as e}from"./index-DSrIdy9B.js";e(`
  fragment DataRow on DataObject { id number name version createdAt updatedAt owner { id username } }
`),e(`
  fragment DataRecord on DataObject {
    id number name content version position createdAt updatedAt
    owner { id username name }
  }
`);var t=e(`
  query DataList(
    $filter: DataFilter, $orderBy: DataOrder, $first: Int, $after: String, $last: Int, $before: String, $count: Boolean!
  ) {
    dataObjects(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
      edges { node { ...DataRow } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      totalCount @include(if: $count)
    }
  }
`),n=e(`
  query DataSearch($text: String!, $first: Int, $after: String, $count: Boolean!) {
    searchData(text: $text, first: $first, after: $after) {
      edges { node { ...DataRow } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      totalCount @include(if: $count)
    }
  }
`),r=e(`
  mutation CreateDataObject($input: CreateDataInput!) {
    createData(input: $input) { data { id number } position errors { code message field } }
  }
`),i=e(`
  query DataObjectPage($number: Int!) {
    data(number: $number) { ...DataRecord }
  }
`),a=e(`
  query DataHistory($id: ID!, $after: String) {
    data(id: $id) {
      id
      history(first: 20, after: $after) {
        edges { node { id position type version dataId changedFields actorId recordedAt } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
`),o=e(`
  mutation UpdateDataObject($input: UpdateDataInput!) {
    updateData(input: $input) {
      data { ...DataRecord }
      position
      errors { code message field }
    }
  }
`),s=e(`
  mutation DeleteDataObject($input: DeleteDataInput!) {
    deleteData(input: $input) { deletedDataId position errors { code message field } }
  }
`),c=e(`
  mutation TransferDataObject($input: TransferDataInput!) {
    transferData(input: $input) {
      data { ...DataRecord }
      position
      errors { code message field }
    }
  }
`),l=e(`
  query FindOwner($filter: UserFilter!) {
    users(filter: $filter, first: 2) { edges { node { id username name } } }
  }
`);export{i as a,c,t as i,o as l,s as n,a as o,l as r,n as s,r as t};