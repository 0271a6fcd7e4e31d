"""Exit codes of the commands."""

OK = 0
NOT_ALL = 1
"""Done, with problems: rows were refused, a projection is not live, users are quarantined, or a view differs."""
BAD_INPUT = 2
"""A setting, an argument or a file is invalid, or a database refuses access; nothing was done."""
FAULT = 3
"""A fault that a retry does not repair, such as a faulted projector or a wrong master key."""
UNAVAILABLE = 4
"""A database is away, or this machine cannot run private servers."""
INTERRUPTED = 130
"""Stopped by SIGINT or SIGTERM before the work was done."""
