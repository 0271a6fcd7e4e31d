"""The MySQL view: one row a user, for lists, filters, counts and lookups."""

NAME = "mysql_users"
