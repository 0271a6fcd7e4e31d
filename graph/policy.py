"""What an operator decides about how clients are served."""

from dataclasses import dataclass, field

from graph.persisted import Trusted


@dataclass(frozen=True, slots=True)
class ServingPolicy:
    """Secure as it comes."""

    introspection: bool = False
    """Whether clients may ask for the schema, and browsers are shown GraphiQL, which is of little use without."""
    origins: frozenset[str] = frozenset()
    """Other origins whose pages may talk to this server: see `graph/cors.py`."""
    trusted: Trusted = field(default_factory=Trusted)
    """Documents that may be named by their ids, and whether others are carried out."""
    deadline_seconds: float = 10.0
    """How long a query may take: see `graph/schema.py`."""
