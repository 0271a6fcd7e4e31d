"""The retries of the Python client, without I/O: properties that hold for every sequence of failures."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall_client import Forbidden, RollcallError, Tokens, Unauthenticated, operations
from rollcall_client.exchange import RENEWALS, Answer, ClientState, Lost, Pause, Renew, Request, Retry, exchange
from rollcall_client.following import Closed, Open, Place, follow, user_changes

RETRY = Retry(seconds=30)
KEYED = operations.update_user("id", name="N")
WRITE = operations.execute("mutation { updateUser(input: {id: 1}) { position } }")
QUERY = operations.execute("{ me { id } }")


def answer(status: int, body: Any, **headers: str) -> Answer:
    """An answer of the server, or of a gateway if the body is a text."""
    return Answer(status, headers, body.encode() if isinstance(body, str) else json.dumps(body).encode())


def failed(code: str, status: int = 200, data: Any = None, **extensions: object) -> Answer:
    """A GraphQL error."""
    return answer(status, {"data": data, "errors": [{"message": "m", "extensions": {"code": code, **extensions}}]})


def throttled(seconds: int) -> Answer:
    return answer(
        429,
        {"errors": [{"message": "m", "extensions": {"code": "RATE_LIMITED", "retryAfter": seconds}}]},
        **{"retry-after": str(seconds)},
    )


NOTHING_DONE = [
    Lost("refused", sent=False),
    throttled(0),
    throttled(7),
    failed("BAD_REQUEST", 503),
    failed("UNAUTHENTICATED"),
    failed("FORBIDDEN"),
    failed("BAD_USER_INPUT"),
    answer(429, "slow down", **{"retry-after": "3"}),
]
MAYBE_DONE = [
    Lost("reset", sent=True),
    failed("OUTCOME_UNKNOWN"),
    failed("UNAVAILABLE", 503),
    failed("INTERNAL", 500),
    failed("UNAUTHENTICATED", data={"first": {}, "second": None}),
    answer(502, "<html>"),
    answer(200, {"data": None}),
    answer(200, {"errors": []}),
    answer(200, "null"),
]
FAILURES = st.lists(st.sampled_from(NOTHING_DONE + MAYBE_DONE), max_size=30)


class Run:
    """An exchange that is given these replies, and then a connection that is refused for ever."""

    def __init__(self, operation: operations.Operation[Any], replies: list[Answer | Lost], random: float) -> None:
        self.requests: list[Request] = []
        self.answered: list[Answer | Lost] = []
        self.early = False
        """Whether a pause ended before the server allowed the next attempt."""
        self.renewals = 0
        self.now = 0.0
        self.error: RollcallError | None = None
        state = ClientState(tokens=Tokens("a", "r"), retry=RETRY, clock=lambda: self.now, random=lambda: random)
        steps = exchange(state, operation)
        effect = next(steps)
        coming = iter(replies)
        while self.error is None:
            reply: Answer | Lost | None = None
            match effect:
                case Request():
                    self.requests.append(effect)
                    reply = next(coming, Lost("refused", sent=False))
                    self.answered.append(reply)
                    self.now += 0.01
                case Pause(seconds):
                    last = self.answered[-1]
                    self.early |= isinstance(last, Answer) and seconds < float(last.headers.get("retry-after", 0))
                    self.now += seconds
                case Renew(used):
                    assert used == Tokens("a", "r")
                    self.renewals += 1
            try:
                effect = steps.send(reply)
            except RollcallError as error:
                self.error = error


@given(FAILURES, st.floats(0, 1, exclude_max=True), st.sampled_from([KEYED, WRITE, QUERY]))
def test_retries_are_bounded_equal_and_not_early(
    replies: list[Answer | Lost], random: float, operation: operations.Operation[Any]
) -> None:
    """Each attempt is the same request; none begins after the time is over, or before the server allows it."""
    run = Run(operation, replies, max(random, 0.001))

    assert run.now <= RETRY.seconds + 0.01 * len(run.requests)
    assert run.renewals <= RENEWALS
    assert len({request.body for request in run.requests}) == 1
    assert not run.early


@given(FAILURES)
def test_a_mutation_without_a_key_is_not_repeated_once_it_may_be_done(replies: list[Answer | Lost]) -> None:
    """And the error says that the outcome is unknown, if it is."""
    run = Run(WRITE, replies, 0.5)

    assert not any(reply in MAYBE_DONE for reply in run.answered[:-1])
    assert run.error is not None
    assert run.error.outcome_unknown == (run.answered[-1] in MAYBE_DONE)


@given(FAILURES)
def test_a_mutation_with_a_key_never_hides_that_it_may_be_done(replies: list[Answer | Lost]) -> None:
    """It is repeated; if that fails too, an earlier attempt may still have taken effect."""
    run = Run(KEYED, replies, 0.5)

    assert run.error is not None
    assert run.error.outcome_unknown == any(reply in MAYBE_DONE for reply in run.answered)
    assert json.loads(run.requests[0].body)["variables"]["input"]["idempotencyKey"]


@pytest.mark.parametrize(
    "reply", [*NOTHING_DONE[:4], NOTHING_DONE[-1]], ids=["refused", "throttled", "later", "starting", "gateway"]
)
@pytest.mark.parametrize("operation", [WRITE, KEYED, QUERY], ids=["write", "keyed", "query"])
def test_what_was_not_done_is_tried_again(reply: Answer | Lost, operation: operations.Operation[Any]) -> None:
    """Whatever the operation: the server was not reached, refused for a while, or is starting."""
    run = Run(operation, [reply] * 3 + [failed("FORBIDDEN")], 0.5)

    assert len(run.requests) == 4
    assert isinstance(run.error, Forbidden)


@pytest.mark.parametrize(
    "reply", [*MAYBE_DONE[:3], MAYBE_DONE[5]], ids=["lost", "outcome unknown", "unavailable", "gateway"]
)
def test_what_may_be_done_is_tried_again_with_its_key(reply: Answer | Lost) -> None:
    """The server applies it once."""
    assert len(Run(KEYED, [reply] * 3 + [failed("FORBIDDEN")], 0.5).requests) == 4


@pytest.mark.parametrize("pause", [(1, 0.0, 0.0), (1, 1.0, 0.1), (3, 1.0, 0.4), (99, 1.0, 5.0), (10**9, 0.5, 2.5)])
def test_pauses_grow_up_to_a_limit(pause: tuple[int, float, float]) -> None:
    """Doubled each time, times a random number."""
    failures, random, expected = pause

    assert RETRY.pause(failures, random) == pytest.approx(expected)


@pytest.mark.parametrize("tokens", [Tokens("another", "user"), None], ids=["in", "out"])
def test_nothing_goes_on_as_another_user(tokens: Tokens | None) -> None:
    """The program signs in as another user, or out, while a request and a subscription wait to go on."""
    state = ClientState(tokens=Tokens("a", "r"))
    request = exchange(state, KEYED)
    assert isinstance(next(request), Request)
    assert isinstance(request.send(Lost("reset", sent=True)), Pause)
    changes = follow(state, user_changes(None, None)(Place(after=1)))
    assert isinstance(next(changes), Open)
    assert isinstance(changes.send(Closed(1001, "going away")), Pause)

    state.sign(tokens)

    with pytest.raises(Unauthenticated) as refused:
        request.send(None)
    assert refused.value.outcome_unknown
    with pytest.raises(Unauthenticated):
        changes.send(None)
