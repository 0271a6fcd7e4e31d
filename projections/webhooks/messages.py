"""The body of a request: one change as a CloudEvent 1.0 in structured JSON.

By default it is thin: which user or data object, what happened and which fields changed, without values. So what leaves
needs no erasure later. With `full`, the operator's choice, a change of a user also has the user after it, as of that
position of the log, so each attempt sends the same; once the user is deleted there is nothing left to send. The content
of data objects never leaves.
"""

from typing import Final
from uuid import UUID

import msgspec

from events.event_types import JSON
from events.user import User
from projections.webhooks.schedule import Delivery

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
TYPE_PREFIX: Final = "rollcall."


def cloud_event(delivery: Delivery, log_id: UUID, user: User | None = None, *, full: bool = False) -> bytes:
    """The body of a delivery. `user` is the user after the change; None if it is deleted."""
    owner = delivery.owner_id
    data: dict[str, JSON] = {
        **({"userId": str(delivery.stream_id)} if owner is None else _of_data(delivery.stream_id, owner)),
        "version": delivery.version,
        "position": str(delivery.position),
        "changedFields": delivery.fields,
    }
    if full:
        data["user"] = None if user is None else _shown(user)
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": str(delivery.event_id),
            "source": f"urn:uuid:{log_id}",
            "type": TYPE_PREFIX + delivery.type,
            "subject": str(delivery.stream_id),
            "time": delivery.recorded_at,
            "datacontenttype": "application/json",
            "sequence": f"{delivery.position:020}",
            "data": data,
        }
    )


def _of_data(data_id: UUID, owner_id: UUID) -> dict[str, JSON]:
    return {"dataId": str(data_id), "ownerId": str(owner_id)}


def _shown(user: User) -> JSON:
    return {
        "id": str(user.id),
        "username": user.username,
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "attributes": user.attributes,
        "version": user.version,
        "createdAt": user.created_at,
        "updatedAt": user.updated_at,
    }
