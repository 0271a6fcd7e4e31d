"""Who gets a mail, and what is in it: decided when the mail is sent, from the log."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import msgspec

from events.claims import HashedClaim, hashed, login_claim, sign_in_claims
from events.database import Database
from events.ids import uuid_of
from events.outbox import Applicant, Farewell, Mail, MailPurpose, NewDevice, language_of
from events.snapshots import AccountReader
from events.user import Account

FIND: Final = "SELECT user_id FROM claims WHERE kind = %s AND value_hash = %s"

PAGES: Final = {
    MailPurpose.PASSWORD_RESET: "reset-password",
    MailPurpose.VERIFY_EMAIL: "verify-email",
    MailPurpose.EMAIL_CHANGE: "verify-email",
    MailPurpose.REGISTRATION: "verify-email",
    MailPurpose.INVITATION: "accept-invitation",
}
"""Pages that links lead to. The token is in the fragment, which no server and no Referer gets."""

UNASKED: Final = frozenset({MailPurpose.PASSWORD_RESET, MailPurpose.EMAIL_TAKEN})
"""Mails that anybody may cause to anybody."""


class MakeToken(Protocol):
    """Makes the token of a mail's link: the same one for the same cause. None if its link was used, or may not be used
    any more."""

    def __call__(
        self, purpose: MailPurpose, cause: UUID, account: Account, email: str | None = None, /
    ) -> Awaitable[str | None]: ...


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says."""

    purpose: MailPurpose
    cause: UUID
    email: str
    name: str
    language: str | None
    link: str | None = None
    news: NewDevice | None = None
    """Of a sign-in; None also where the email is not verified."""
    counted: bool = True
    """Whether a stranger may have caused it. A flood of these must not hold up what warns the owner of an email."""


class Recipients:
    """Reads the recipients of mails."""

    def __init__(
        self, database: Database, accounts: AccountReader, claims: bytes, key: bytes, public_url: str, token: MakeToken
    ) -> None:
        """`claims` hashes claims, and `key` opens what was sealed for mails."""
        self._database = database
        self._accounts = accounts
        self._claims = claims
        self._key = key
        self._url = public_url.rstrip("/")
        self._token = token

    async def letter(self, mail: Mail) -> Letter | None:
        """What the mail says; None if it has no recipient.

        Raises:
            DamagedEvent, UnusableKey: the user cannot be read.
            NotYet: the deletion that it tells of has not happened.
        """
        account = await self._account(mail)
        if mail.purpose is MailPurpose.DELETED:
            if account is not None and account.user is not None:
                raise NotYet
            return self._farewell(mail)
        if mail.purpose is MailPurpose.REGISTRATION:
            return await self._registration(mail, account or Account())
        if account is None or account.user is None:
            return None
        match mail.purpose:
            case MailPurpose.VERIFY_EMAIL if account.email_verified:
                return None
            case MailPurpose.EMAIL_CHANGED | MailPurpose.PASSWORD_CHANGED:
                return await self._news_of_change(mail, account, account.user.id)
            case MailPurpose.EMAIL_CHANGE:
                return await self._email_change(mail, account)
            case MailPurpose.NEW_DEVICE:
                # Whose email was not verified may be somebody else's, who is to learn no address and no chosen name.
                sealed = mail.sealed if account.email_verified else None
                news = NewDevice.open(sealed, self._key, mail.cause) if sealed else None
                return _letter(mail, account, news=news)
            case purpose if purpose in PAGES:
                token = await self._token(purpose, mail.cause, account)
                return _letter(mail, account, f"{self._url}/{PAGES[purpose]}#token={token}") if token else None
            case _:
                return _letter(mail, account, f"{self._url}/sign-in")

    async def _news_of_change(self, mail: Mail, account: Account, user_id: UUID) -> Letter | None:
        """To the former email if that was changed."""
        before = (await self._accounts.read(user_id, up_to=(mail.position or 1) - 1)).account
        if mail.purpose is MailPurpose.EMAIL_CHANGED:
            return _letter(mail, before)
        # An invitation that was accepted has set the first password: nothing was changed.
        return _letter(mail, account) if before.password_version else None

    async def _account(self, mail: Mail) -> Account | None:
        if mail.user_id is not None:
            return (await self._accounts.read(mail.user_id)).account
        return await self._holder(mail.claim) if mail.claim is not None else None

    async def _holder(self, claim: HashedClaim) -> Account | None:
        """The account that has a claim; None if there is none."""
        row = await self._database.fetch_one(FIND, (claim.kind, claim.digest))
        if row is None:
            return None
        account = (await self._accounts.read(uuid_of(row[0]))).account
        # It may have been moved in the table to another user.
        found = sign_in_claims(account.user) if account.user else ()
        return account if claim in {hashed(self._claims, one) for one in found} else None

    async def _email_change(self, mail: Mail, account: Account) -> Letter | None:
        """The link that makes an email the user's or, to the user who has the email, word of the attempt."""
        wanted = Applicant.open(mail.sealed or b"", self._key, mail.cause)
        if wanted is None or account.user is None:
            return None
        holder = await self._holder(hashed(self._claims, login_claim(wanted.email)))
        if holder is not None:
            taken = msgspec.structs.replace(mail, purpose=MailPurpose.EMAIL_TAKEN)
            return _letter(taken, holder, f"{self._url}/sign-in")
        token = await self._token(mail.purpose, mail.cause, account, wanted.email)
        language = language_of(account.user) or mail.language
        link = f"{self._url}/{PAGES[mail.purpose]}#token={token}"
        return Letter(mail.purpose, mail.cause, wanted.email, "", language, link) if token else None

    async def _registration(self, mail: Mail, account: Account) -> Letter | None:
        """The link that confirms a registration or, to the user who has the email, word of the attempt."""
        token = await self._token(mail.purpose, mail.cause, account)
        if token is None:  # confirmed, or expired
            return None
        if account.user is not None:
            taken = msgspec.structs.replace(mail, purpose=MailPurpose.EMAIL_TAKEN)
            return _letter(taken, account, f"{self._url}/sign-in")
        applicant = Applicant.open(mail.sealed or b"", self._key, mail.cause)
        link = f"{self._url}/{PAGES[mail.purpose]}#token={token}"
        return Letter(mail.purpose, mail.cause, applicant.email, "", mail.language, link) if applicant else None

    def _farewell(self, mail: Mail) -> Letter | None:
        user = Farewell.open(mail.sealed or b"", self._key, mail.cause)
        return Letter(mail.purpose, mail.cause, user.email, user.name, user.language or mail.language) if user else None


class NotYet(Exception):
    """The mail is not to be sent yet."""


def _letter(mail: Mail, account: Account, link: str | None = None, news: NewDevice | None = None) -> Letter | None:
    """A letter to the email of this account.

    A name is not sent to an email that its user has not verified: by it, anybody could write to anybody else.
    """
    user = account.user
    if user is None:
        return None
    known = account.email_verified or mail.purpose is MailPurpose.INVITATION
    return Letter(
        mail.purpose,
        mail.cause,
        user.email,
        user.name if known else "",
        language_of(user) or mail.language,
        link,
        news,
        counted=not known or mail.purpose in UNASKED,
    )
