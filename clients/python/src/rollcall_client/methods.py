"""The typed operations as methods of both clients, from one definition each."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from rollcall_client import operations
from rollcall_client.operations import Operation

if TYPE_CHECKING:
    from rollcall_client.async_client import AsyncClient
    from rollcall_client.client import Client

P = ParamSpec("P")
T = TypeVar("T")


class Method(Generic[P, T]):
    """A function of `operations` as a method: `Client` returns the result, `AsyncClient` an awaitable of it."""

    def __init__(self, operation: Callable[P, Operation[T]]) -> None:
        self.operation = operation
        self.__doc__ = operation.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Operation[T]]: ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self.operation

        def call(*arguments: P.args, **named: P.kwargs) -> Any:
            return client._run(self.operation(*arguments, **named))  # noqa: SLF001 - of its own base class

        return call


class Operations:
    """The typed operations. `help(rollcall_client.operations)` describes each."""

    execute = Method(operations.execute)
    register = Method(operations.register)
    log_in = Method(operations.log_in)
    log_out = Method(operations.log_out)
    create_user = Method(operations.create_user)
    update_user = Method(operations.update_user)
    update_users = Method(operations.update_users)
    change_role = Method(operations.change_role)
    change_password = Method(operations.change_password)
    delete_user = Method(operations.delete_user)
    me = Method(operations.me)
    get_user = Method(operations.get_user)
    users_by_ids = Method(operations.users_by_ids)
    list_users = Method(operations.list_users)
    search_users = Method(operations.search_users)
    projections = Method(operations.projections)
