"""The API for clients: the GraphQL schema, sign-in, and the aiohttp application."""
