"""The interface of what can be fetched by its id."""

import strawberry


@strawberry.interface(description="Anything that can be fetched by its id alone.")
class Node:
    id: strawberry.ID = strawberry.field(description="Globally unique.")
