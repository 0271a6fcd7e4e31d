"""The source of truth: event types, the user aggregate, and the MySQL log that they live in."""
