"""`rebuildProjection`: writes down that a view shall be rebuilt, and does not wait for it."""

from typing import Annotated

import strawberry
import structlog

from events.idempotency import KEY_CHARACTERS
from graph.auth.permissions import Right
from graph.context import Info
from graph.payloads import IDEMPOTENCY_KEY, ErrorCode, RebuildPayload, UserError
from graph.types import Projection
from projections.errors import KeyUsed, RebuildRunning
from projections.status import VIEWS, read_status

log = structlog.get_logger(__name__)


async def rebuild_projection(
    info: Info,
    name: Annotated[str, strawberry.argument(description="mysql_users or mongo_users.")],
    idempotency_key: Annotated[str | None, strawberry.argument(description=IDEMPOTENCY_KEY)] = None,
) -> RebuildPayload:
    context = info.context
    viewer = await context.allowed(Right.REBUILD_PROJECTION)
    if name not in VIEWS:
        return _refused(ErrorCode.NOT_FOUND, f"there is no such projection: expected {' or '.join(VIEWS)}", "name")
    if idempotency_key is not None and not 0 < len(idempotency_key) <= KEY_CHARACTERS:
        return _refused(ErrorCode.INVALID, f"expected 1 to {KEY_CHARACTERS} characters", "idempotencyKey")
    try:
        await context.services.rebuilds.ask(name, viewer.id, context.correlation, idempotency_key)
    except KeyUsed as error:
        return _refused(ErrorCode.INVALID, str(error), "idempotencyKey")
    except RebuildRunning as error:
        refused = _refused(ErrorCode.INVALID, str(error), "name")
        return RebuildPayload(projection=await _projection(info, name), errors=refused.errors)
    log.info("rebuild.asked", view=name, by=str(viewer.id))
    return RebuildPayload(projection=await _projection(info, name))


async def _projection(info: Info, name: str) -> Projection:
    statuses = await read_status(info.context.services.database)
    return next(Projection.of(status) for status in statuses if status.name == name)


def _refused(code: ErrorCode, message: str, argument: str) -> RebuildPayload:
    return RebuildPayload(errors=[UserError(code=code, message=message, field=[argument])])
