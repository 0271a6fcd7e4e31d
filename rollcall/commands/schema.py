"""`rollcall schema`: print the GraphQL schema."""

import typer

from graph.schema import make_schema
from rollcall.console import say

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def schema() -> None:
    """Print the GraphQL schema, for code generators. Needs no settings and no database."""
    say(make_schema().as_str())
