"""The commands of `rollcall`, one module per group."""
