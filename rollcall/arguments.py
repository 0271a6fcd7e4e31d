"""What several commands take, and how each begins."""

from enum import StrEnum
from typing import Annotated

import typer

from rollcall import exits
from rollcall.logs import configure_logging
from rollcall.output import note
from rollcall.settings import BadSettings, Settings, load_settings


class ViewName(StrEnum):
    """The views, as the command line calls them."""

    MYSQL = "mysql"
    MONGO = "mongo"


class ViewNames(StrEnum):
    """One of the views, or all."""

    MYSQL = "mysql"
    MONGO = "mongo"
    ALL = "all"

    @property
    def names(self) -> list[ViewName]:
        """The views that are meant."""
        return list(ViewName) if self is ViewNames.ALL else [ViewName(self)]


View = Annotated[ViewName, typer.Argument(help="Which view.")]
Views = Annotated[ViewNames, typer.Argument(help="Which view, or all, one after the other.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def settings_for(process: str) -> Settings:
    """The settings of a process, whose log lines bear its name from now on; without good ones it ends here."""
    try:
        settings = load_settings()
    except BadSettings as error:
        note(f"error: {error}")
        raise typer.Exit(exits.BAD_INPUT) from None
    configure_logging(settings, process)
    return settings
