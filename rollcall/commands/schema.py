"""`rollcall schema`: print the GraphQL schema."""

from typing import Annotated

import typer

from graph.schema import make_schema
from rollcall.console import say

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def schema(
    federation: Annotated[
        bool, typer.Option("--federation", help="Print it as a subgraph of Apollo Federation 2, for a gateway.")
    ] = False,
) -> None:
    """Print the GraphQL schema, for code generators and gateways. Needs no settings and no database."""
    say(make_schema().subgraph if federation else make_schema().as_str())
