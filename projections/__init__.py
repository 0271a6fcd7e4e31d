"""The views: projectors that write them, read functions that serve them, rebuild and status."""
