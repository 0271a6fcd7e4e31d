"""What the exit codes of the commands mean."""

OK = 0
NOT_ALL = 1
"""Done, but not all is well: lines were refused, a projection is not live, users are in quarantine, a view differs."""
BAD_INPUT = 2
"""A setting, an argument or a file cannot be used, or a database does not let us in; nothing was done."""
FAULT = 3
"""Something is wrong that trying again does not mend: a faulted projector, another master key."""
UNAVAILABLE = 4
"""A database is away, or private servers cannot be had here."""
INTERRUPTED = 130
"""Stopped by SIGINT or SIGTERM before the work was done."""
