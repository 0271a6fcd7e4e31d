"""What the log says about the streams and claims of a batch, moved on in memory by what is admitted.

Pure: it is read under the lock of the head, so nobody else can change what it holds, and each append is judged on
what those before it in the same batch have made of it.
"""

from dataclasses import dataclass, field
from uuid import UUID

from events.claims import ADMIN_SEAT, Claim
from events.errors import ClaimTaken, KeyReused, LastAdmin, WrongExpectedVersion
from events.idempotency import Earlier, Request


@dataclass(slots=True)
class Ledger:
    """Versions of streams, owners of claims, and how many administrators there are."""

    versions: dict[UUID, int]
    """Streams that are not here have no event yet."""
    owners: dict[Claim, UUID]
    """Claims that are not here are free."""
    admins: int
    requests: dict[bytes, Earlier]
    """What idempotency keys have led to before."""
    kept: dict[bytes, Earlier] = field(default_factory=dict)
    """Keys that this batch adds."""
    taken: dict[Claim, UUID] = field(default_factory=dict)
    """What this batch takes that was not its user's before."""
    released: set[Claim] = field(default_factory=set)
    """What this batch releases that was somebody's before."""

    def earlier(self, request: Request) -> Earlier | None:
        """What the same request has led to before, if it has been here.

        Raises:
            KeyReused: its key has been here with another command.
        """
        found = self.requests.get(request.key_hash)
        if found is not None and found.fingerprint != request.fingerprint:
            raise KeyReused
        return found

    def keep(self, request: Request, user_id: UUID, position: int) -> None:
        """Remember what a request has led to."""
        earlier = Earlier(request.fingerprint, user_id, position)
        self.requests[request.key_hash] = self.kept[request.key_hash] = earlier

    def check_version(self, stream_id: UUID, expected: int) -> None:
        """Check that a stream is where a writer has read it.

        Raises:
            WrongExpectedVersion: it is not.
        """
        found = self.versions.get(stream_id, 0)
        if found != expected:
            raise WrongExpectedVersion(stream_id, expected, found)

    def admit(self, stream_id: UUID, version: int, had: frozenset[Claim], needs: frozenset[Claim]) -> None:
        """Move a user from the claims that it had to those that it needs: wholly, or not at all.

        Raises:
            ClaimTaken: another user has a username or email that it needs.
            LastAdmin: nobody would be left to administer.
        """
        self._check_free(needs - had)
        self._check_admin_left(stream_id, had - needs, needs - had)
        for claim in had - needs:
            self._release(claim)
        for claim in needs - had:
            self._take(claim, stream_id)
        self.versions[stream_id] = version

    def _check_free(self, wanted: frozenset[Claim]) -> None:
        kinds = sorted(claim.kind for claim in wanted if claim in self.owners)
        if kinds:
            raise ClaimTaken(tuple(kinds))

    def _check_admin_left(self, user_id: UUID, released: frozenset[Claim], taken: frozenset[Claim]) -> None:
        loses, gains = _seats(released), _seats(taken)
        if loses and self.admins - loses + gains < 1:
            raise LastAdmin(user_id)
        self.admins += gains - loses

    def _take(self, claim: Claim, user_id: UUID) -> None:
        self.owners[claim] = user_id
        self.taken[claim] = user_id

    def _release(self, claim: Claim) -> None:
        del self.owners[claim]
        if self.taken.pop(claim, None) is None:
            self.released.add(claim)


def _seats(claims: frozenset[Claim]) -> int:
    return sum(claim.kind == ADMIN_SEAT for claim in claims)
