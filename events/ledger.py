"""What the log says about the streams and claims of a batch, moved on in memory by what is admitted.

Pure: it is read under the lock of the head, so nobody else can change what it holds, and each append is judged on
what those before it in the same batch have made of it.
"""

from dataclasses import dataclass, field
from uuid import UUID

from events.claims import ADMIN_SEAT, HashedClaim
from events.errors import ClaimTaken, KeyReused, LastAdmin, WrongExpectedVersion
from events.idempotency import Earlier, Request


@dataclass(slots=True)
class Ledger:
    """Versions of streams, owners of claims, and how many administrators there are."""

    versions: dict[UUID, int]
    """Streams that are not here have no event yet."""
    owners: dict[HashedClaim, UUID]
    """Claims that are not here are free."""
    admins: int
    requests: dict[bytes, Earlier]
    """What idempotency keys have led to before."""
    kept: dict[bytes, Earlier] = field(default_factory=dict)
    """Keys that this batch adds."""
    taken: dict[HashedClaim, UUID] = field(default_factory=dict)
    """What this batch takes that was not its user's before."""
    released: set[HashedClaim] = field(default_factory=set)
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

    def admit(
        self, stream_id: UUID, version: int, releases: frozenset[HashedClaim], takes: frozenset[HashedClaim]
    ) -> None:
        """Give a user the claims that it takes and free those that it releases: wholly, or not at all.

        Raises:
            ClaimTaken: another user has a username or email that it takes.
            LastAdmin: nobody would be left to administer.
        """
        self._check_free(takes)
        self._check_admin_left(stream_id, releases, takes)
        for claim in releases:
            self._release(claim)
        for claim in takes:
            self._take(claim, stream_id)
        self.versions[stream_id] = version

    def _check_free(self, takes: frozenset[HashedClaim]) -> None:
        kinds = sorted(claim.kind for claim in takes if claim in self.owners)
        if kinds:
            raise ClaimTaken(tuple(kinds))

    def _check_admin_left(self, user_id: UUID, releases: frozenset[HashedClaim], takes: frozenset[HashedClaim]) -> None:
        loses, gains = _seats(releases), _seats(takes)
        if loses and self.admins - loses + gains < 1:
            raise LastAdmin(user_id)
        self.admins += gains - loses

    def _take(self, claim: HashedClaim, user_id: UUID) -> None:
        self.owners[claim] = user_id
        self.taken[claim] = user_id

    def _release(self, claim: HashedClaim) -> None:
        del self.owners[claim]
        if self.taken.pop(claim, None) is None:
            self.released.add(claim)


def _seats(claims: frozenset[HashedClaim]) -> int:
    return sum(claim.kind == ADMIN_SEAT for claim in claims)
