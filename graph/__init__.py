"""What clients talk to: the GraphQL schema, sign-in, and the aiohttp application."""
