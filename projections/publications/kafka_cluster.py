"""A Kafka cluster: how to sign in, its topics, and its errors as those of this program. The calls block.

The client, librdkafka's, says on standard error what its connections meet. Here that goes to a callback, which keeps
the last error: it explains the time-out of a call.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, ConfigResource, NewTopic, ResourceType

from projections.errors import RefusedValue, ViewRefused, ViewUnavailable
from projections.publications.topics import KafkaTopic, option_problem

CONNECT_SECONDS: Final = 5.0
"""Time that a broker has to answer before the connection counts as failed."""
SILENT: Final = logging.getLogger("rollcall.kafka")
"""Replaces the client's lines on standard error: its errors are raised, or are in the status."""
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False

FENCED: Final = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})  # noqa: SLF001
"""Another producer of the same transactional id has taken over."""
REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_CONFIG,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
    }
)
"""A missing right, a broker that is too old, a topic that cannot be created: a retry does not help."""
TOO_LARGE: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG_SIZE,
    }
)
"""One message is to blame."""


class Cluster:
    """The brokers, and how to sign in there."""

    def __init__(self, bootstrap: str, options: Mapping[str, str], replication: int | None = None) -> None:
        """`options` are librdkafka's, such as `security.protocol`. `replication` None is the brokers' default."""
        self.bootstrap: Final = bootstrap
        self._options: Final = dict(options)
        self._replication: Final = replication

    def config(self, errors: Callable[[KafkaError], None], **own: object) -> dict[str, Any]:
        """The configuration of one client. `errors` is called with errors of its connections."""
        return {
            **self._options,
            "bootstrap.servers": self.bootstrap,
            "client.id": "rollcall",
            "socket.connection.setup.timeout.ms": int(CONNECT_SECONDS * 1000),
            "reconnect.backoff.max.ms": 1_000,
            "logger": SILENT,
            "error_cb": errors,
            **{name.replace("_", "."): value for name, value in own.items()},
        }

    def properties(self) -> str:
        """What a client needs to reach the brokers, as lines NAME=VALUE."""
        named = {"bootstrap.servers": self.bootstrap, **self._options}
        return "".join(f"{name}={value}\n" for name, value in named.items())

    def trouble(self, timeout: float) -> str | None:
        """Why the cluster does not answer; None if it does."""
        seen = Seen()
        try:
            admin = AdminClient(self.config(seen))
            admin.describe_cluster(request_timeout=timeout).result()
        except KafkaException as error:
            return f"{error_of(error).str()}{seen.hint()}"
        return None

    def prepare(self, topics: Sequence[KafkaTopic], *, may_create: bool) -> None:
        """Create missing topics and check the options of the others. Blocks.

        Raises:
            ViewRefused: a topic is missing and may not be created, has other options, or this user has no rights.
            ViewUnavailable: no broker answers.
        """
        seen = Seen()
        admin = AdminClient(self.config(seen))
        described = admin.describe_topics(
            TopicCollection([topic.name for topic in topics]),
            include_authorized_operations=True,
            request_timeout=CONNECT_SECONDS,
        )
        missing = []
        for topic in topics:
            with translated(f"topic {topic.name} at {self.bootstrap}", seen, admin):
                try:
                    granted = described[topic.name].result().authorized_operations
                except KafkaException as error:
                    if error_of(error).code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        raise
                    missing.append(topic)
                    continue
            # A transaction would fail without saying which of its topics is to blame.
            if granted and AclOperation.WRITE not in granted:
                raise ViewRefused(f"Kafka: topic {topic.name}: the right WRITE is missing (TOPIC_AUTHORIZATION_FAILED)")
        for topic in missing:
            if not may_create:
                raise ViewRefused(
                    f"Kafka: topic {topic.name} is missing and the publication has begun: what it held is lost; "
                    "run `rollcall publish kafka --snapshot`, or with --from-position, which create it anew"
                )
        self._create(admin, missing, seen)
        self._check(admin, [topic for topic in topics if topic not in missing], seen)

    def partitions(self, topic: str) -> int:
        """The number of partitions of a topic. Blocks."""
        seen = Seen()
        admin = AdminClient(self.config(seen))
        with translated(f"topic {topic} at {self.bootstrap}", seen, admin):
            described = admin.describe_topics(TopicCollection([topic]), request_timeout=CONNECT_SECONDS)
            return len(described[topic].result().partitions)

    def _create(self, admin: AdminClient, topics: Sequence[KafkaTopic], seen: "Seen") -> None:
        if not topics:
            return
        replication = -1 if self._replication is None else self._replication
        wanted = [
            NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=replication, config=topic.config)
            for topic in topics
        ]
        for name, created in admin.create_topics(wanted, request_timeout=CONNECT_SECONDS).items():
            with translated(f"topic {name} at {self.bootstrap}", seen, admin):
                try:
                    created.result()
                except KafkaException as error:
                    if error_of(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise

    def _check(self, admin: AdminClient, topics: Sequence[KafkaTopic], seen: "Seen") -> None:
        if not topics:
            return
        resources = {ConfigResource(ResourceType.TOPIC, topic.name): topic for topic in topics}
        for resource, described in admin.describe_configs(list(resources), request_timeout=CONNECT_SECONDS).items():
            topic = next(topic for topic in topics if topic.name == resource.name)
            with translated(f"topic {topic.name} at {self.bootstrap}", seen, admin):
                found = {name: entry.value for name, entry in described.result().items()}
            if problem := option_problem(topic, found):
                raise ViewRefused(f"Kafka: {problem}")


class Seen:
    """Remembers the last error of a client's connections, which explains a time-out."""

    def __init__(self) -> None:
        self._last: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._last is None:  # noqa: SLF001 - it says nothing more
            self._last = error

    @property
    def refused(self) -> bool:
        """Whether the brokers refuse this user."""
        return self._last is not None and self._last.code() in REFUSED

    def hint(self) -> str:
        """The error, to be appended to that of a call."""
        return "" if self._last is None else f" ({self._last.str()})"


def error_of(exception: KafkaException) -> KafkaError:
    """The error that the exception carries."""
    error: KafkaError = exception.args[0]
    return error


@contextmanager
def translated(what: str, seen: Seen, client: Producer | AdminClient) -> Iterator[None]:
    """Raise this program's errors in place of the client's. `what` names what the call was about."""
    try:
        yield
    except KafkaException as exception:
        with suppress(KafkaException):  # it raises a fatal error, which `exception` tells already
            client.poll(0)  # calls `seen` with the errors of connections
        raise_as_ours(error_of(exception), what, seen)


def raise_as_ours(error: KafkaError, what: str, seen: Seen) -> NoReturn:
    """Raise the error of this program that says the same. `what` names what the call was about."""
    message = f"Kafka: {what}: {error.str()} ({error.name()})"
    if error.code() in FENCED:
        raise Fenced(message)
    if error.code() in TOO_LARGE:
        raise RefusedValue(f"Kafka refuses it: {error.name()}")
    if error.code() in REFUSED or seen.refused:
        raise ViewRefused(f"{message}{seen.hint()}; {_advice(error.code())}")
    raise ViewUnavailable(f"{message}{seen.hint()}")


def _advice(code: int) -> str:
    if code == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return "grant WRITE and DESCRIBE on the transactional id, or set ROLLCALL_KAFKA_TRANSACTIONS=false"
    if code in (KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE):  # noqa: SLF001
        return "the brokers are too old, expected Kafka 2.5 or later"
    return "docs/operations.md lists the rights that the publication needs"


class Fenced(Exception):
    """Another producer of the same transactional id has taken over."""
