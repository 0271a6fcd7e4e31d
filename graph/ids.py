"""Ids of users, as clients send them."""

from uuid import UUID

from graph.errors import bad_input


def user_id_of(text: str) -> UUID | None:
    """The id in a text; None if the text cannot be one, which is the same as one that nobody has."""
    try:
        return UUID(text)
    except ValueError:
        return None


def user_id_argument(text: str) -> UUID:
    """The id in the argument `userId`.

    Raises:
        ClientError: it cannot be one.
    """
    user_id = user_id_of(text)
    if user_id is None:
        raise bad_input(f"userId: not an id of a user: {text!r:.80}")
    return user_id
