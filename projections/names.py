"""Names that looks at the past may bear. They become names of tables and collections, so they are checked strictly."""

import re
from typing import Final

from projections.errors import BadName

PAST_NAME: Final = re.compile(r"users_at_(?!.*_(?:checkpoint|filling)$)[0-9a-z_]{1,32}", re.ASCII)
"""Nothing else that this program makes is called so: a look's own companions in MySQL end as is excluded here."""


def past_name(name: str) -> str:
    """The name, if a look at the past may bear it.

    Raises:
        BadName: it may not.
    """
    if not PAST_NAME.fullmatch(name):
        raise BadName(name)
    return name
