"""Mutations of data objects, and their inputs."""

from typing import Annotated
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from auth.permissions import Right, may
from events.data_commands import DataResult, NotTheOwner
from events.data_object import NO_SUCH_DATA, CreateData, DataCommand, DeleteData, TransferData, UpdateData
from events.errors import Problem, Reason
from graph.context import Info
from graph.data_types import DataPayload, DeleteDataPayload
from graph.errors import forbidden
from graph.inputs import IDEMPOTENCY_KEY, Input, idempotency_of, size_of
from graph.mutations import EXPECTED, errors_of
from graph.scalars import Position, user_id_of
from graph.types import UserError

CONTENT = (
    "Free-form data: a JSON object of at most 1 MiB, 32,000 values, 32 levels, and 128 characters a key.\n"
    "Keys keep their order."
)
NAME = "1 to 200 characters of any script."
EXPECTED_VERSION = "Refuse with STALE_VERSION unless the data object is at this version."
NO_SUCH_USER = Problem(Reason.NOT_FOUND, "there is no such user", ("ownerId",))


@strawberry.input(description="A new data object.")
class CreateDataInput:
    owner_id: strawberry.ID | None = strawberry.field(default=None, description="Oneself if absent; anyone for ADMIN.")
    name: str = strawberry.field(description=NAME)
    content: JSON = strawberry.field(description=CONTENT)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.input(description="Fields left out, or null, stay as they are; content is a JSON merge patch (RFC 7396).")
class UpdateDataInput:
    id: strawberry.ID = strawberry.field(description="The data object to change.")
    name: str | None = strawberry.field(default=None, description="The new name.")
    content: JSON | None = strawberry.field(default=None, description="Merged into the content.")
    expected_version: int | None = strawberry.field(default=None, description=EXPECTED_VERSION)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.input(description="Another owner for a data object.")
class TransferDataInput:
    id: strawberry.ID = strawberry.field(description="The data object to hand over.")
    owner_id: strawberry.ID = strawberry.field(description="The new owner.")
    expected_version: int | None = strawberry.field(default=None, description=EXPECTED_VERSION)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.input(description="The data object to delete.")
class DeleteDataInput:
    id: strawberry.ID = strawberry.field(description="The data object to delete.")
    expected_version: int | None = strawberry.field(default=None, description=EXPECTED_VERSION)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


async def create_data(info: Info, input: Annotated[CreateDataInput, Input]) -> DataPayload:  # noqa: A002
    context = info.context
    owner_id = (await context.signed_in()).id if input.owner_id is None else user_id_of(input.owner_id)
    viewer = await context.allowed_on(owner_id, Right.CHANGE_ANY_DATA)
    if owner_id is None:
        return DataPayload(errors=[UserError.of(NO_SUCH_USER)])
    await context.pay_for_write(viewer, size_of(input.content))
    try:
        done = await context.services.data.create(
            owner_id,
            CreateData(input.name, input.content),
            context.origin_of(viewer),
            idempotency_of(viewer, input),
        )
    except EXPECTED as error:
        return DataPayload(errors=errors_of(error))
    return _payload(done)


async def update_data(info: Info, input: Annotated[UpdateDataInput, Input]) -> DataPayload:  # noqa: A002
    return await _change(info, input, UpdateData(name=input.name, content=input.content))


async def transfer_data(info: Info, input: Annotated[TransferDataInput, Input]) -> DataPayload:  # noqa: A002
    await info.context.allowed(Right.TRANSFER_DATA)
    owner_id = user_id_of(input.owner_id)
    if owner_id is None:
        return DataPayload(errors=[UserError.of(NO_SUCH_USER)])
    return await _change(info, input, TransferData(owner_id))


async def delete_data(info: Info, input: Annotated[DeleteDataInput, Input]) -> DeleteDataPayload:  # noqa: A002
    payload = await _change(info, input, DeleteData())
    deleted = None if payload.errors else strawberry.ID(str(user_id_of(input.id)))
    return DeleteDataPayload(deleted_data_id=deleted, position=payload.position, errors=payload.errors)


async def _change(
    info: Info, asked: UpdateDataInput | TransferDataInput | DeleteDataInput, command: DataCommand
) -> DataPayload:
    """Execute a command on an object of the viewer, or on any object for ADMIN."""
    context = info.context
    viewer = await context.signed_in()
    data_id = user_id_of(asked.id)
    if data_id is None:
        return DataPayload(errors=[UserError.of(NO_SUCH_DATA)])
    await context.pay_for_write(viewer, size_of(command.content) if isinstance(command, UpdateData) else 0)
    owned_by: UUID | None = None if may(viewer.role, Right.CHANGE_ANY_DATA) else viewer.id
    try:
        done = await context.services.data.change(
            data_id,
            command,
            context.origin_of(viewer),
            asked.expected_version,
            idempotency_of(viewer, asked),
            owned_by,
        )
    except NotTheOwner:
        if may(viewer.role, Right.READ_ANY_DATA):
            raise forbidden() from None
        return DataPayload(errors=[UserError.of(NO_SUCH_DATA)])
    except EXPECTED as error:
        return DataPayload(errors=errors_of(error))
    return _payload(done)


def _payload(done: DataResult) -> DataPayload:
    return DataPayload(data=done.data, position=Position(done.position))


@strawberry.type(name="Mutation")
class DataMutation:
    create_data: DataPayload = strawberry.mutation(
        resolver=create_data, description="A data object of one's own, or of anyone for ADMIN."
    )
    update_data: DataPayload = strawberry.mutation(resolver=update_data, description="The owner or an ADMIN.")
    transfer_data: DataPayload = strawberry.mutation(
        resolver=transfer_data,
        description="ADMIN only: gives the object another owner, whose key seals it from now on.",
    )
    delete_data: DeleteDataPayload = strawberry.mutation(resolver=delete_data, description="The owner or an ADMIN.")
