"""The names of event types in the API."""

from enum import Enum

from events import event_types
from graph.scalars import describe_enum


class UserEventType(Enum):
    """The contract's names of the event types; the values are the log's."""

    USER_REGISTERED = event_types.UserRegistered.__name__
    USER_UPDATED = event_types.UserUpdated.__name__
    PASSWORD_CHANGED = event_types.PasswordChanged.__name__
    ROLE_CHANGED = event_types.RoleChanged.__name__
    EMAIL_VERIFIED = event_types.EmailVerified.__name__
    USER_DELETED = event_types.UserDeleted.__name__
    DATA_CREATED = event_types.DataCreated.__name__
    DATA_UPDATED = event_types.DataChanged.__name__
    DATA_TRANSFERRED = event_types.DataTransferred.__name__
    DATA_DELETED = event_types.DataDeleted.__name__
    UNKNOWN = event_types.UNKNOWN


describe_enum(
    UserEventType,
    "UserEventType",
    "What happened to a user or to a data object.",
    {
        UserEventType.USER_REGISTERED: "The user was registered.",
        UserEventType.USER_UPDATED: "Username, email, name or attributes were set.",
        UserEventType.PASSWORD_CHANGED: "There is another password, or the same one with a better hash.",
        UserEventType.ROLE_CHANGED: "The user has another role.",
        UserEventType.EMAIL_VERIFIED: "The email was confirmed by a link that was mailed to it.",
        UserEventType.USER_DELETED: "The user was deleted.",
        UserEventType.DATA_CREATED: "A data object of the user was created.",
        UserEventType.DATA_UPDATED: "Name or content of a data object were set.",
        UserEventType.DATA_TRANSFERRED: "The user got a data object from another one.",
        UserEventType.DATA_DELETED: "A data object of the user was deleted.",
        UserEventType.UNKNOWN: "The log's event is damaged and does not say.",
    },
)
