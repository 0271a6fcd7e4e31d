import { graphql } from "../gql";

graphql(`
  fragment DataRow on DataObject { id number name version createdAt updatedAt owner { id username } }
`);

graphql(`
  fragment DataRecord on DataObject {
    id number name content version position createdAt updatedAt
    owner { id username name }
  }
`);

export const LIST = graphql(`
  query DataList(
    $filter: DataFilter, $orderBy: DataOrder, $first: Int, $after: String, $last: Int, $before: String, $count: Boolean!
  ) {
    dataObjects(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
      edges { node { ...DataRow } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      totalCount @include(if: $count)
    }
  }
`);

export const SEARCH = graphql(`
  query DataSearch($text: String!, $first: Int, $after: String, $count: Boolean!) {
    searchData(text: $text, first: $first, after: $after) {
      edges { node { ...DataRow } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      totalCount @include(if: $count)
    }
  }
`);

export const CREATE = graphql(`
  mutation CreateDataObject($input: CreateDataInput!) {
    createData(input: $input) { data { id number } position errors { code message field } }
  }
`);

export const ONE = graphql(`
  query DataObjectPage($number: Int!) {
    data(number: $number) { ...DataRecord }
  }
`);

export const ONE_HISTORY = graphql(`
  query DataHistory($id: ID!, $after: String) {
    data(id: $id) {
      id
      history(first: 20, after: $after) {
        edges { node { id position type version dataId changedFields actorId recordedAt } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
`);

export const UPDATE_DATA = graphql(`
  mutation UpdateDataObject($input: UpdateDataInput!) {
    updateData(input: $input) {
      data { ...DataRecord }
      position
      errors { code message field }
    }
  }
`);

export const DELETE_DATA = graphql(`
  mutation DeleteDataObject($input: DeleteDataInput!) {
    deleteData(input: $input) { deletedDataId position errors { code message field } }
  }
`);

export const TRANSFER_DATA = graphql(`
  mutation TransferDataObject($input: TransferDataInput!) {
    transferData(input: $input) {
      data { ...DataRecord }
      position
      errors { code message field }
    }
  }
`);

export const FIND_OWNER = graphql(`
  query FindOwner($filter: UserFilter!) {
    users(filter: $filter, first: 2) { edges { node { id username name } } }
  }
`);
