"""What mailed links do: set a password, accept an invitation, verify an email."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from auth.budgets import AddressBudgets, Purpose
from auth.mailed_links import PASSWORD_PURPOSES, InvalidLink, MailedLink, MailedLinks
from auth.password_hashing import Lane, Passwords
from auth.pending_registrations import PendingRegistrations
from auth.sign_in import SignedIn, SignIn, SignInClient, checked_password
from events import outbox
from events.commands import CommandResult, UserCommands
from events.errors import Reason, Rejected
from events.event_types import Origin
from events.user import Account, ChangePassword, ConfirmEmail, User, VerifyEmail

DEAD: Final = (Reason.STALE_VERSION, Reason.NOT_FOUND, Reason.TAKEN)


class Recovery:
    """Uses mailed links."""

    def __init__(
        self,
        commands: UserCommands,
        passwords: Passwords,
        sign_in: SignIn,
        links: MailedLinks,
        budgets: AddressBudgets,
        pending: PendingRegistrations,
    ) -> None:
        self._commands = commands
        self._passwords = passwords
        self._sign_in = sign_in
        self._links = links
        self._budgets = budgets
        self._pending = pending

    async def reset_password(self, token: str, new: str, client: SignInClient, origin: Origin) -> SignedIn:
        """Set the password of the user that got the link, end its other sessions, and start one.

        The link came by mail, so the email is verified too.

        Raises:
            InvalidLink: the link does not work.
            PasswordRefused: the new password is too weak; the link still works.
            BudgetSpent: too many changes from this address.
        """
        await self._budgets.pay(Purpose.CHANGE_PASSWORD, client.address)
        link, account, user = await self._usable(token, PASSWORD_PURPOSES)
        checked_password(new, user)
        hashed = await self._passwords.hash(new, Lane.SIGN_IN, client.address)
        command = ChangePassword(password_hash=hashed, replaces=account.password_version, verifies=user.email)
        done = await self._changed(link.user_id, command, origin)
        await self._links.used(link)
        await self._sign_in.forget_ended(link.user_id)
        if done.user is None:  # deleted meanwhile
            raise InvalidLink
        return await self._sign_in.start_session(done.user, done.user.version, client)

    async def verify_email(self, token: str, address: str, origin: Origin) -> CommandResult:
        """Verify the email of the user that got the link, give the user a new one, or register the user whose
        registration waits for it.

        Raises:
            InvalidLink: the link does not work.
            Rejected: the username of the registration was taken meanwhile.
            BudgetSpent: too many changes from this address.
        """
        await self._budgets.pay(Purpose.CHANGE_PASSWORD, address)
        registered = await self._pending.confirm(token, origin)
        if registered is not None:
            return registered
        link, _, user = await self._usable(token, (outbox.MailPurpose.VERIFY_EMAIL, outbox.MailPurpose.EMAIL_CHANGE))
        if link.purpose is outbox.MailPurpose.VERIFY_EMAIL:
            done = await self._changed(link.user_id, VerifyEmail(user.email), origin)
        elif link.email is not None:
            done = await self._changed(link.user_id, ConfirmEmail(link.email, replaces=user.email), origin)
        else:
            raise InvalidLink
        if not done.changed:  # another link has verified it, or this one in another request
            raise InvalidLink
        await self._links.used(link)
        return done

    async def _usable(self, token: str, purposes: Collection[outbox.MailPurpose]) -> tuple[MailedLink, Account, User]:
        """The link with this token, if it works for its user as the log has it now.

        Raises:
            InvalidLink: it does not work.
        """
        link = await self._links.read(token, purposes)
        account = await self._commands.account(link.user_id)
        if account.user is None or not self._links.is_for(link, account):
            raise InvalidLink
        return link, account, account.user

    async def _changed(
        self, user_id: UUID, command: ChangePassword | VerifyEmail | ConfirmEmail, origin: Origin
    ) -> CommandResult:
        try:
            return await self._commands.change(user_id, command, origin)
        except Rejected as rejected:
            # The link was used meanwhile, the user or its email has changed, or another user has the new email.
            if all(problem.reason in DEAD for problem in rejected.problems):
                raise InvalidLink from rejected
            raise
