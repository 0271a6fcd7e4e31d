"""MySQL Group Replication with real servers: `make cluster`, outside the default suite."""
