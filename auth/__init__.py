"""Authentication: passwords, sessions, access tokens, throttling, permissions."""
