"""Webhooks in the graph: administrators create endpoints, look at their deliveries, and send one again."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import strawberry
import structlog

from auth.permissions import Right
from events.snapshots import NEWEST
from graph.context import Info
from graph.data_types import ERRORS
from graph.event_names import UserEventType
from graph.limits import DEFAULT_PAGE
from graph.relay import PageInfo, page_size, parse_event_cursor
from graph.scalars import Position, Role, describe_enum, position_of, user_id_of
from graph.types import ErrorCode, UserError
from projections.webhooks.deliveries import DeliveryRow
from projections.webhooks.endpoints import (
    AlteredEndpoint,
    Endpoint,
    EndpointChange,
    EndpointChanged,
    EndpointFilter,
    TooManyEndpoints,
)
from projections.webhooks.status import WebhookState, WebhookStatus, read_webhooks
from projections.webhooks.targets import InvalidTarget, checked_url

log = structlog.get_logger(__name__)

describe_enum(
    WebhookState,
    "WebhookState",
    "State of a webhook.",
    {
        WebhookState.LIVE: "The endpoint has accepted everything, or lacks nothing older than 2 s.",
        WebhookState.CATCHING_UP: "It is behind, and no attempt has failed.",
        WebhookState.RETRYING: "An attempt has failed, and is repeated after a pause.",
        WebhookState.DISABLED: "It gets nothing until an administrator enables it.",
    },
)

URL = "An https URL without a user or a password, at a public address, of at most 2,048 characters."
TYPES = "Only these types; null for all."
ROLES = "Only changes of users who have one of these roles before or after the change; null for all."
ED25519 = "Whether requests also carry an Ed25519 signature, `v1a`, which `publicKey` verifies."


@strawberry.type(description="An endpoint of another service that changes are sent to.")
class Webhook:
    id: strawberry.ID = strawberry.field(description="A UUIDv7.")
    url: str = strawberry.field(description="Where requests go.")
    types: list[UserEventType] | None = strawberry.field(description=TYPES)
    roles: list[Role] | None = strawberry.field(description=ROLES)
    enabled: bool = strawberry.field(description="Whether it gets anything.")
    disabled_reason: str | None = strawberry.field(description="Why it was disabled, if not by an administrator.")
    public_key: str | None = strawberry.field(description="Verifies `v1a` signatures; null if there are none.")
    position: Position = strawberry.field(description="Every event up to here was sent or is queued.")
    lag: int = strawberry.field(description="Events behind the head of the log.")
    state: WebhookState = strawberry.field(description="Whether its endpoint accepts what is sent.")
    lag_seconds: float = strawberry.field(description="Age of the oldest change that the endpoint has not accepted.")
    pending: int = strawberry.field(description="Deliveries that are queued or repeated.")
    dead: int = strawberry.field(description="Deliveries of the last 30 days that failed for good.")
    last_error: str | None = strawberry.field(description="Why it was disabled, or why a delivery failed last.")
    created_at: datetime = strawberry.field(description="It gets what happened since then.")

    @classmethod
    def of(cls, source: Endpoint, status: WebhookStatus) -> Self:
        wanted, position = source.private.wanted, source.checkpoint.position
        return cls(
            id=strawberry.ID(str(source.id)),
            url=source.private.url,
            types=None if wanted.types is None else [UserEventType(name) for name in wanted.types],
            roles=None if wanted.roles is None else list(wanted.roles),
            enabled=source.enabled,
            disabled_reason=source.disabled_reason,
            public_key=source.public_key,
            position=Position(position),
            lag=max(0, status.head - position),
            state=status.state,
            lag_seconds=status.lag_seconds,
            pending=status.pending,
            dead=status.dead,
            last_error=status.last_error,
            created_at=source.created_at,
        )


@strawberry.type(description="One change for one webhook.")
class WebhookDelivery:
    id: strawberry.ID = strawberry.field(description="For `redeliver`.")
    position: Position = strawberry.field(description="Of the event.")
    status: int | None = strawberry.field(description="HTTP status of the last attempt; null without an answer.")
    attempts: int = strawberry.field(description="How often it was sent.")
    duration_ms: float | None = strawberry.field(description="Milliseconds of the last attempt.")
    error: str | None = strawberry.field(description="Why the last attempt failed.")
    delivered_at: datetime | None = strawberry.field(description="When the endpoint accepted it.")
    next_attempt_at: datetime | None = strawberry.field(description="When it is sent again; null if it is not.")

    @classmethod
    def of(cls, webhook: UUID, source: DeliveryRow) -> Self:
        return cls(
            id=strawberry.ID(f"{webhook}:{source.position}"),
            position=Position(source.position),
            status=source.status,
            attempts=source.attempts,
            duration_ms=source.duration_ms,
            error=source.error,
            delivered_at=source.delivered_at,
            next_attempt_at=source.next_attempt_at,
        )


@strawberry.type(description="A delivery at its place in a list.")
class WebhookDeliveryEdge:
    cursor: str = strawberry.field(description="The event's position, for `after`.")
    node: WebhookDelivery = strawberry.field(description="The delivery.")


@strawberry.type(description="One page of the deliveries of a webhook, newest first.")
class WebhookDeliveryConnection:
    edges: list[WebhookDeliveryEdge] = strawberry.field(description="The deliveries of this page.")
    page_info: PageInfo = strawberry.field(description="Where this page stands in the list.")

    @classmethod
    def of(cls, webhook: UUID, rows: Sequence[DeliveryRow], *, count: int, after: bool) -> Self:
        """A page of `count` deliveries; one more row says that another page follows."""
        edges = [
            WebhookDeliveryEdge(cursor=str(row.position), node=WebhookDelivery.of(webhook, row)) for row in rows[:count]
        ]
        cursors = [edge.cursor for edge in edges]
        return cls(
            edges=edges, page_info=PageInfo.of(cursors, has_next_page=len(rows) > count, has_previous_page=after)
        )


@strawberry.input(description="A new webhook. It gets what happens from now on.")
class CreateWebhookInput:
    url: str = strawberry.field(description=URL)
    types: list[UserEventType] | None = strawberry.field(default=None, description=TYPES)
    roles: list[Role] | None = strawberry.field(default=None, description=ROLES)
    ed25519: bool = strawberry.field(default=False, description=ED25519)


@strawberry.input(description="Changes of a webhook; what is left out, or null, stays.")
class UpdateWebhookInput:
    id: strawberry.ID = strawberry.field(description="The webhook to change.")
    url: str | None = strawberry.field(default=None, description=URL)
    types: list[UserEventType] | None = strawberry.field(default=None, description="Only these types; [] for all.")
    roles: list[Role] | None = strawberry.field(
        default=None, description="Only changes of users who have one of these roles; [] for all."
    )
    enabled: bool | None = strawberry.field(
        default=None, description="False: it gets nothing. True: it gets all that it has missed, and then what is new."
    )
    rotate_secret: bool | None = strawberry.field(
        default=None, description="True: a new secret; the old one signs beside it for a day."
    )
    ed25519: bool | None = strawberry.field(default=None, description=ED25519)


@strawberry.type(description="The webhook, or errors. The secret is shown here and never again.")
class WebhookPayload:
    webhook: Webhook | None = strawberry.field(default=None, description="The webhook as it is now.")
    secret: str | None = strawberry.field(
        default=None, description="whsec_...: verifies `v1` signatures. Only for a new webhook or a new secret."
    )
    errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


Input = strawberry.argument(description="The values of the mutation.")
Id = Annotated[strawberry.ID, strawberry.argument(description="The webhook's id.")]


async def webhooks(info: Info) -> list[Webhook]:
    await info.context.allowed(Right.MANAGE_WEBHOOKS)
    services = info.context.services
    found = await services.webhooks.endpoints.all()
    statuses = await _statuses(info)
    for altered in (endpoint for endpoint in found if isinstance(endpoint, AlteredEndpoint)):
        log.error("webhook.altered", error=str(altered))
    # An endpoint that was created or deleted between the two reads is in the next answer, or in none.
    return [
        Webhook.of(endpoint, statuses[endpoint.id])
        for endpoint in found
        if isinstance(endpoint, Endpoint) and endpoint.id in statuses
    ]


async def webhook_deliveries(
    info: Info,
    id: Id,  # noqa: A002 - the contract's name
    first: Annotated[int | None, strawberry.argument(description="How many, at most 100.")] = DEFAULT_PAGE,
    after: Annotated[str | None, strawberry.argument(description="Only older ones than this cursor.")] = None,
) -> WebhookDeliveryConnection:
    await info.context.allowed(Right.MANAGE_WEBHOOKS)
    webhook, count = user_id_of(id), page_size(first, "first")
    before = NEWEST if after is None else parse_event_cursor(after, "after")
    if webhook is None:
        return WebhookDeliveryConnection.of(UUID(int=0), [], count=count, after=False)
    rows = await info.context.services.webhooks.deliveries.page(webhook, before=before, limit=count + 1)
    return WebhookDeliveryConnection.of(webhook, rows, count=count, after=after is not None)


async def create_webhook(info: Info, input: Annotated[CreateWebhookInput, Input]) -> WebhookPayload:  # noqa: A002
    viewer = await info.context.allowed(Right.MANAGE_WEBHOOKS)
    services = info.context.services
    try:
        url = checked_url(input.url, private=services.webhooks.private_addresses)
        endpoint = await services.webhooks.endpoints.add(
            url, _wanted(input.types, input.roles), services.store, asymmetric=input.ed25519
        )
    except InvalidTarget as error:
        return _refused(str(error), "url")
    except TooManyEndpoints as error:
        return _refused(str(error))
    log.info("webhook.created", webhook=str(endpoint.id), by=str(viewer.id))
    return WebhookPayload(webhook=await _shown(info, endpoint), secret=endpoint.private.secrets[0].text)


async def update_webhook(info: Info, input: Annotated[UpdateWebhookInput, Input]) -> WebhookPayload:  # noqa: A002
    viewer = await info.context.allowed(Right.MANAGE_WEBHOOKS)
    services = info.context.services
    try:
        url = None if input.url is None else checked_url(input.url, private=services.webhooks.private_addresses)
        found = await _found(info, input.id)
        if found is None:
            return _refused("there is no such webhook", "id", ErrorCode.NOT_FOUND)
        kept = found.private.wanted
        wanted = _wanted(
            kept.types if input.types is None else input.types, kept.roles if input.roles is None else input.roles
        )
        change = EndpointChange(
            url=url,
            wanted=wanted,
            enabled=input.enabled,
            rotate_secret=bool(input.rotate_secret),
            asymmetric=input.ed25519,
        )
        endpoint = await services.webhooks.endpoints.change(found, change, services.store)
    except InvalidTarget as error:
        return _refused(str(error), "url")
    except AlteredEndpoint as error:
        return _refused(str(error), "id")
    except EndpointChanged:
        return _refused("somebody else is changing this webhook: try again", "id", ErrorCode.STALE_VERSION)
    log.info("webhook.changed", webhook=str(endpoint.id), by=str(viewer.id))
    secret = endpoint.private.secrets[0].text if input.rotate_secret else None
    return WebhookPayload(webhook=await _shown(info, endpoint), secret=secret)


async def delete_webhook(info: Info, id: Id) -> WebhookPayload:  # noqa: A002 - the contract's name
    viewer = await info.context.allowed(Right.MANAGE_WEBHOOKS)
    webhook = user_id_of(id)
    if webhook is None or not await info.context.services.webhooks.endpoints.remove(webhook):
        return _refused("there is no such webhook", "id", ErrorCode.NOT_FOUND)
    log.info("webhook.deleted", webhook=str(webhook), by=str(viewer.id))
    return WebhookPayload()


async def redeliver(
    info: Info,
    delivery_id: Annotated[strawberry.ID, strawberry.argument(description="The delivery's id.")],
) -> WebhookPayload:
    await info.context.allowed(Right.MANAGE_WEBHOOKS)
    services, webhook, _, position = info.context.services, *delivery_id.partition(":")
    try:
        found, at = await _found(info, webhook), position_of(position)
        if found is None or not await services.webhooks.deliveries.repeat(found.id, at, services.webhooks.clock()):
            return _refused("there is no such delivery", "deliveryId", ErrorCode.NOT_FOUND)
        endpoint = await services.webhooks.endpoints.change(found, EndpointChange(), services.store)
    except ValueError:
        return _refused("there is no such delivery", "deliveryId", ErrorCode.NOT_FOUND)
    except AlteredEndpoint as error:
        return _refused(str(error), "deliveryId")
    except EndpointChanged:
        return _refused("somebody else is changing this webhook: try again", "deliveryId", ErrorCode.STALE_VERSION)
    return WebhookPayload(webhook=await _shown(info, endpoint))


async def _shown(info: Info, endpoint: Endpoint) -> Webhook | None:
    """An endpoint as it is now; None if it was deleted meanwhile."""
    status = (await _statuses(info)).get(endpoint.id)
    return None if status is None else Webhook.of(endpoint, status)


async def _statuses(info: Info) -> dict[UUID, WebhookStatus]:
    return {status.id: status for status in await read_webhooks(info.context.services.database)}


async def _found(info: Info, id_: str) -> Endpoint | None:
    webhook = user_id_of(id_)
    return None if webhook is None else await info.context.services.webhooks.endpoints.get(webhook)


def _wanted(types: Sequence[UserEventType | str] | None, roles: Sequence[Role] | None) -> EndpointFilter:
    """An empty list means everything, since an endpoint that gets nothing would be disabled instead."""
    names = sorted({kind.value if isinstance(kind, UserEventType) else kind for kind in types or ()})
    return EndpointFilter(tuple(names) or None, tuple(sorted(set(roles or ()))) or None)


def _refused(message: str, field: str | None = None, code: ErrorCode = ErrorCode.INVALID) -> WebhookPayload:
    return WebhookPayload(errors=[UserError(code=code, message=message, field=[field] if field else None)])
