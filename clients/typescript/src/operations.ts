/** Typed documents for every field of the API, from operations.graphql. A bundle holds only those that it imports. */
export * from "./generated/operations.js";
