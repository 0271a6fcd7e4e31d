"""The rules of registration: open, by invitation or closed, and the cost of one.

Each address has a budget of registrations, and a pace: a flood that spends the budget in two seconds would cost
everybody else as much as all of them together, and to let fewer come at once would refuse a school class. So those of
one address begin at intervals, and wait for it.

Many addresses together can still register more than the operator wants.
While they do, a registration may be required to come with a proof of work: the client finds a number with which the
SHA-256 of a challenge begins with a number of zero bits. The challenge is signed, so it is checked without a trace in
the database, and solved ones work once, so each registration costs its own work.
"""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from auth.budgets import AddressBudgets, Budget, Budgets, BudgetSpent, Purpose
from auth.single_use import SingleUseToken, SingleUseTokens
from auth.turns import Pace
from events.errors import OutcomeUnknown, UserBusy

OF_ALL_ADDRESSES: Final = Budget("register from all addresses", 1_000)
PACE_SECONDS: Final = 0.2
"""Time between two registrations of one address in one process."""
HIGH: Final = 0.5
"""The spent part of that budget above which a proof of work is required."""
INVITATION: Final = "invitation"
CHALLENGE: Final = "challenge"
"""Purposes of the signed tokens."""
INVITATION_DAYS: Final = range(1, 366)
"""Lifetimes that an invitation may have."""
CHALLENGE_LIFETIME: Final = timedelta(minutes=10)
PROOF = re.compile(r"(?P<challenge>[A-Za-z0-9_-]+)\.[0-9]{1,20}")


class RegistrationMode(StrEnum):
    """Who may register."""

    OPEN = "open"
    INVITATION = "invitation"
    CLOSED = "closed"


class RegistrationClosed(Exception):
    """Registration is closed."""

    def __init__(self) -> None:
        super().__init__("registration is closed here: an administrator creates accounts")


class InvalidInvitation(Exception):
    """Registration requires an invitation, and this is none that works. The message does not say why."""

    def __init__(self) -> None:
        super().__init__("registration requires an invitation that is valid and was not used: ask an administrator")


class ProofRequired(Exception):
    """A registration now requires a proof of work; `challenge` is to be solved."""

    def __init__(self, challenge: SingleUseToken) -> None:
        super().__init__(f"many registrations at once: send a proof of work of {challenge.number} bits")
        self.challenge = challenge


def is_solved(challenge: SingleUseToken, proof: str) -> bool:
    """Whether a proof, `CHALLENGE.NUMBER`, hashes to as many zero bits as its challenge requires."""
    digest = hashlib.sha256(proof.encode()).digest()
    return int.from_bytes(digest) >> (256 - challenge.number) == 0


@dataclass(frozen=True, slots=True)
class Registration:
    """The rules of `register`."""

    mode: RegistrationMode
    proof_bits: int
    """Zero bits of a proof of work; 0 never requires one."""
    budgets: Budgets
    by_address: AddressBudgets
    invitations: SingleUseTokens
    challenges: SingleUseTokens
    pace: Pace | None = None
    """Of each address; None for no limit."""

    async def admit(self, address: str, invitation: str | None, proof: str | None) -> SingleUseToken | None:
        """Let a client register, and count it; its invitation, if one is required, is yet to be used.

        Raises:
            RegistrationClosed: registration is closed.
            InvalidInvitation: an invitation is required.
            ProofRequired: a proof of work is required; nothing was counted.
            BudgetSpent: too many registrations from this address.
        """
        if self.mode is RegistrationMode.CLOSED:
            raise RegistrationClosed
        invited = self.invitations.read(invitation or "") if self.mode is RegistrationMode.INVITATION else None
        if self.mode is RegistrationMode.INVITATION and invited is None:
            raise InvalidInvitation
        solved = None
        if self.proof_bits and await self.budgets.spent(OF_ALL_ADDRESSES, "") > HIGH:
            solved = self._solved(proof or "")
            if solved is None:
                raise self._proof_required()
        await self._pay(address)
        if solved is not None and not await self.challenges.use(solved):
            raise self._proof_required()
        if self.proof_bits:
            with suppress(BudgetSpent):  # it only measures: otherwise a flood would close the door for everybody
                await self.budgets.spend(OF_ALL_ADDRESSES, "")
        return invited

    async def _pay(self, address: str) -> None:
        if self.pace is None:
            await self.by_address.pay(Purpose.REGISTER, address)
            return
        try:
            async with self.pace.turn(address):
                await self.by_address.pay(Purpose.REGISTER, address)
        except UserBusy:
            raise BudgetSpent(Purpose.REGISTER, timedelta(seconds=self.pace.longest_wait)) from None

    @asynccontextmanager
    async def using(self, invitation: SingleUseToken | None) -> AsyncIterator[None]:
        """Use an invitation for what the block does; it can be used again if the block fails.

        It is used before, so that of two concurrent registrations one fails.

        Raises:
            InvalidInvitation: it was used before.
        """
        if invitation is None:
            yield
            return
        if not await self.invitations.use(invitation):
            raise InvalidInvitation
        try:
            yield
        except OutcomeUnknown:
            raise
        except Exception:
            await self.invitations.give_back(invitation)
            raise

    def _solved(self, proof: str) -> SingleUseToken | None:
        """The challenge that a proof solves."""
        form = PROOF.fullmatch(proof)
        challenge = self.challenges.read(form["challenge"]) if form else None
        return challenge if challenge and is_solved(challenge, proof) else None

    def _proof_required(self) -> ProofRequired:
        return ProofRequired(self.challenges.issue(CHALLENGE_LIFETIME, self.proof_bits))
