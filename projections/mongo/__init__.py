"""The MongoDB view: one document a user, for text search and tests on any path inside `attributes`."""

NAME = "mongo_users"
