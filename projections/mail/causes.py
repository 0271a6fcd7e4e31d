"""Which mails an event calls for.

Only what people do by the API calls for a mail: such an event has the id of its request. Imports and commands of the
operator are no news to the users, and a bank's 500 customers get no mail because they were imported.
"""

from datetime import datetime

from events.event_types import PasswordChanged, Recorded, UserRegistered, UserUpdated
from events.outbox import Mail, MailPurpose


def mails_of(recorded: Recorded, now: datetime) -> list[Mail]:
    """The mails that an event calls for. A deletion's is queued by the request, as only that knows the address."""
    if recorded.origin.correlation is None:
        return []
    purposes: tuple[MailPurpose, ...] = ()
    match recorded.event:
        case UserRegistered():
            invited = recorded.origin.actor is not None and "password" not in recorded.fields
            purposes = (MailPurpose.INVITATION if invited else MailPurpose.VERIFY_EMAIL,)
        case UserUpdated(email=str()):
            purposes = (MailPurpose.VERIFY_EMAIL, MailPurpose.EMAIL_CHANGED)
        case PasswordChanged(rehashed=False):
            purposes = (MailPurpose.PASSWORD_CHANGED,)
    return [
        Mail(
            cause=recorded.event_id,
            purpose=purpose,
            user_id=recorded.stream_id,
            position=recorded.position,
            created_at=now,
            next_attempt_at=now,
        )
        for purpose in purposes
    ]
