"""A client of Rollcall for services."""

from rollcall_client.async_client import AsyncClient
from rollcall_client.checkpoints import AsyncCheckpoint, Checkpoint, FileCheckpoint, SQLiteCheckpoint
from rollcall_client.client import Client
from rollcall_client.errors import (
    CheckpointMoved,
    Forbidden,
    LogChanged,
    OperationFailed,
    Problem,
    Refused,
    RollcallError,
    Throttled,
    TransportError,
    Unauthenticated,
    Unavailable,
)
from rollcall_client.exchange import Retry
from rollcall_client.models import (
    ChangeType,
    Credentials,
    DataChange,
    DataObject,
    Outcome,
    Page,
    Projection,
    Role,
    Tokens,
    User,
    UserChange,
    UserUpdate,
)

__all__ = [
    "AsyncCheckpoint",
    "AsyncClient",
    "ChangeType",
    "Checkpoint",
    "CheckpointMoved",
    "Client",
    "Credentials",
    "DataChange",
    "DataObject",
    "FileCheckpoint",
    "Forbidden",
    "LogChanged",
    "OperationFailed",
    "Outcome",
    "Page",
    "Problem",
    "Projection",
    "Refused",
    "Retry",
    "Role",
    "RollcallError",
    "SQLiteCheckpoint",
    "Throttled",
    "Tokens",
    "TransportError",
    "Unauthenticated",
    "Unavailable",
    "User",
    "UserChange",
    "UserUpdate",
]
