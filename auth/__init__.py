"""Who is asking: passwords, access tokens, permissions."""
