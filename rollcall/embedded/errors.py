"""What can be wrong with a machine that is to run private servers."""


class ServersUnavailable(Exception):
    """A private server cannot be found, fetched or started.

    The message says which one, why, and what to install or which `ROLLCALL_` variable to set instead.
    """


class CommandFailed(Exception):
    """A program ended with another exit status than 0; the message carries its last lines."""

    def __init__(self, program: str, status: int, last_lines: str) -> None:
        super().__init__(f"{program} ended with status {status}:\n{last_lines}")
