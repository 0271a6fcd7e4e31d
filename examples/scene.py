"""Register users and data objects from files, read each change from Kafka, and find both over GraphQL.

`make scene` runs it: private servers, the API and the publisher start in a temporary directory and end with the script.
It needs what `rollcall dev --kafka` needs: Java 17, and Maven for the first start.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from typing import Any
from urllib.request import Request, urlopen

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

HERE = Path(__file__).parent
ROLLCALL = Path(sys.executable).with_name("rollcall")
TOPICS = ("rollcall.users.state", "rollcall.data.state")

LOGIN = """
mutation($password: String!) { login(input: {login: "admin", password: $password}) { session { accessToken } } }
"""
READ = """
{
  users { edges { node { id username dataIds } } }
  dataObjects { edges { node { id number name owner { username } } } }
}
"""
CHANGE = """
mutation($user: ID!, $data: ID!, $gone: ID!) {
  updateUser(input: {id: $user, name: "Ada King", attributes: {city: "Ockham", active: null}}) { errors { message } }
  updateData(input: {id: $data, content: {pages: 67, tags: ["mathematics"]}}) { errors { message } }
  deleteUser(input: {id: $gone}) { errors { message } }
}
"""
# `users` and `dataObjects` read the MySQL view, the searches read the MongoDB view.
FIND = """
{
  users(filter: {name: {startsWith: "grace"}, email: {contains: "example.com"}, role: {eq: CUSTOMER}}) {
    edges { node { username name } }
  }
  searchUsers(text: "ada king", where: [{path: "city", eq: "Ockham"}]) { edges { node { username attributes } } }
  dataObjects(filter: {name: {in: ["notes", "letters"]}, number: {gte: 1, lt: 4}}, orderBy: {field: NAME}) {
    edges { node { name owner { username } } }
  }
  searchData(text: "mathematics", where: [{path: "pages", gt: 50}, {path: "subject", eq: "analytical engine"}]) {
    edges { node { name content owner { username } } }
  }
}
"""


@dataclass(frozen=True)
class Installation:
    """An installation that `rollcall dev --kafka` runs."""

    directory: Path
    variables: dict[str, str]

    def rollcall(self, *arguments: str) -> None:
        """Run a command to its end, and show what it prints."""
        print(f"$ rollcall {' '.join(arguments)}", flush=True)
        command = [str(ROLLCALL), *arguments]
        subprocess.run(command, cwd=self.directory, env=self.variables, check=True, stdin=subprocess.DEVNULL)

    def graphql(self, document: str, token: str = "", **variables: str) -> Any:
        """Execute a GraphQL document, and return its data."""
        request = Request(
            f"http://127.0.0.1:{self.variables['ROLLCALL_PORT']}/graphql",
            json.dumps({"query": document, "variables": variables}).encode(),
            {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}),
        )
        with urlopen(request, timeout=60) as response:
            answer = json.load(response)
        if answer.get("errors"):
            raise SystemExit(f"GraphQL: {answer['errors']}")
        return answer["data"]

    def wait_for_views(self, token: str) -> None:
        """Wait until both views and Kafka have every change."""
        while True:
            followers = self.graphql("{ projections { name state lag lastError } }", token)["projections"]
            if faulted := [one for one in followers if one["state"] == "FAULTED"]:
                raise SystemExit(f"{faulted[0]['name']} is faulted: {faulted[0]['lastError']}")
            if not any(one["lag"] for one in followers):
                return
            time.sleep(0.1)

    def consumer(self) -> Consumer:
        """A consumer with what the installation tells clients of Kafka."""
        properties = (self.directory / "var" / "keys" / "kafka.properties").read_text()
        options = dict(line.split("=", 1) for line in properties.splitlines())
        own = {"group.id": "scene", "isolation.level": "read_committed", "enable.partition.eof": True}
        return Consumer({**options, **own})


@contextmanager
def running() -> Iterator[Installation]:
    """Run an installation in a temporary directory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "ROLLCALL_PORT": str(port),
        "ROLLCALL_ADMIN_PASSWORD": secrets.token_urlsafe(12),
        "ROLLCALL_LOG_LEVEL": "error",
    }
    with tempfile.TemporaryDirectory(prefix="rollcall-scene-") as directory:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL_")}
        installation = Installation(Path(directory), inherited | own)
        print("$ rollcall dev --kafka", flush=True)
        dev = subprocess.Popen(
            [str(ROLLCALL), "dev", "--kafka"],
            cwd=directory,
            env=installation.variables,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert dev.stdout is not None
        try:
            for line in dev.stdout:
                print(line, end="", flush=True)
                if line.startswith("ready"):
                    break
            else:
                raise SystemExit(f"rollcall dev --kafka ended with exit code {dev.wait()} before it was ready")
            yield installation
        finally:
            dev.send_signal(SIGINT)
            dev.wait()
            dev.stdout.close()


def read_topics(consumer: Consumer) -> Iterator[tuple[str, str, Any]]:
    """Topic, key and value of all messages from the first to the last; the value of a tombstone is None."""
    found = consumer.list_topics(timeout=60).topics
    partitions = [
        TopicPartition(topic, number, OFFSET_BEGINNING) for topic in TOPICS for number in found[topic].partitions
    ]
    consumer.assign(partitions)
    ended = 0
    while ended < len(partitions):
        message = consumer.poll(60)
        if message is None:
            raise SystemExit("Kafka has not answered for 60 s")
        if (error := message.error()) is None:
            value = message.value()
            yield message.topic() or "", (message.key() or b"").decode(), None if value is None else json.loads(value)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client has no other name for it
            ended += 1
        else:
            raise SystemExit(f"Kafka: {error}")
    consumer.close()


def show(topic: str, key: str, value: Any) -> None:
    """Print one message."""
    if value is None:
        print(f"{topic} {key} tombstone")
        return
    source = value["source"]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(source["ts_ms"] / 1000))
    print(f"{topic} {key} op={value['op']} time={at} source={source['connector']}:{source['position']}")
    print(f"  before {json.dumps(value['before'], ensure_ascii=False)}")
    print(f"  after  {json.dumps(value['after'], ensure_ascii=False)}")


def main() -> None:
    """Play the scene."""
    with running() as installation:
        installation.rollcall("import", str(HERE / "users.json"))
        installation.rollcall("import-data", str(HERE / "data.json"), "--owner", "owner")

        password = installation.variables["ROLLCALL_ADMIN_PASSWORD"]
        token = installation.graphql(LOGIN, password=password)["login"]["session"]["accessToken"]
        installation.wait_for_views(token)
        registered = installation.graphql(READ, token)
        print(json.dumps(registered, ensure_ascii=False))
        users = {edge["node"]["username"]: edge["node"]["id"] for edge in registered["users"]["edges"]}
        data = {edge["node"]["name"]: edge["node"]["id"] for edge in registered["dataObjects"]["edges"]}

        print("\nAda and her notes change, and Edsger leaves. Kafka has each change:\n")
        installation.graphql(CHANGE, token, user=users["ada"], data=data["notes"], gone=users["edsger"])
        installation.wait_for_views(token)
        for message in read_topics(installation.consumer()):
            show(*message)

        print("\nUsers and data objects found by several fields at once:\n")
        for field, found in installation.graphql(FIND, token).items():
            print(field, json.dumps([edge["node"] for edge in found["edges"]], ensure_ascii=False))


if __name__ == "__main__":
    main()
