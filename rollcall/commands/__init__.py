"""The commands of `rollcall`, one module for each group."""
