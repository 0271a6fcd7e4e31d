"""The private Apache Kafka server: its program, its data directory, its options.

The program is a set of Java archives, which Maven fetches once into the user's cache. One process is broker and
controller (KRaft). Clients sign in, as they do at the other private servers.
"""

import asyncio
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from projections.publications.kafka_cluster import Cluster
from rollcall.embedded.files import locked, whole_directory, write_private
from rollcall.embedded.process import free_port, run
from rollcall.embedded.sources import CommandFailed, Report, ServersUnavailable, Sources

VERSION: Final = "4.3.1"
OLDEST_JAVA: Final = 17
USER: Final = "rollcall"
PASSWORD_FILE: Final = "rollcall-password"  # noqa: S105 - inside the data directory, so that both move as one
PROPERTIES_FILE: Final = "server.properties"
INSTEAD: Final = (
    "Install Java 17 or later and Maven (on Debian: apt-get install default-jre-headless maven), or set "
    "ROLLCALL_KAFKA_BOOTSTRAP to the addresses of brokers of your own."
)

POM: Final = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>rollcall</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.4</version>
      <scope>runtime</scope>
    </dependency>
  </dependencies>
</project>
"""
COPY_DEPENDENCIES: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

# The quick compiler alone: a start takes two thirds of the processor time, and a private server has little to do after.
JVM: Final = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
# The voters are in this file and not in the data directory, so that the controller may have another port at each start.
PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=BROKER
listener.security.protocol.map=BROKER:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.broker.plain.sasl.jaas.config={module} required username="{user}" password="{password}" {users};
listener.name.controller.plain.sasl.jaas.config={module} required username="{user}" password="{password}" {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{user}
log.dirs={directory}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.backoff.ms=1000
"""
LOGIN_MODULE: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"


@dataclass(frozen=True, slots=True)
class KafkaProgram:
    """A Java and the directory with Kafka's archives."""

    java: Path
    archives: Path

    @property
    def title(self) -> str:
        return f"Apache Kafka {VERSION}"

    def command(self, main: str, *arguments: str) -> list[str]:
        return [str(self.java), *JVM, "-cp", f"{self.archives}/*", main, *arguments]


@dataclass(frozen=True, slots=True)
class KafkaServer:
    """A private Kafka server whose data directory is complete."""

    program: KafkaProgram
    directory: Path
    log: Path
    password: str

    @property
    def title(self) -> str:
        return self.program.title

    def command(self, port: int) -> list[str]:
        controller = free_port()
        own = (
            f"listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners=BROKER://127.0.0.1:{port}",
            f"controller.quorum.voters=1@127.0.0.1:{controller}",
        )
        overrides = [part for one in own for part in ("--override", one)]
        return self.program.command("kafka.Kafka", str(self.directory / PROPERTIES_FILE), *overrides)

    def url(self, port: int) -> str:
        return f"kafka://{USER}:{self.password}@127.0.0.1:{port}"

    async def trouble(self, port: int) -> str | None:
        return await asyncio.to_thread(cluster_at(self.url(port)).trouble, 2.0)


def cluster_at(url: str) -> Cluster:
    """The cluster at the URL of a private server."""
    parts = urlsplit(url)
    return Cluster(
        f"{parts.hostname}:{parts.port}",
        {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanisms": "PLAIN",
            "sasl.username": parts.username or "",
            "sasl.password": parts.password or "",
        },
    )


async def prepare(data_dir: Path, sources: Sources, report: Report) -> KafkaServer:
    """Find or fetch the program, and create the data directory if it is missing. Raises ServersUnavailable."""
    logs = data_dir / "logs"
    program = await _program(sources, logs, report)
    directory = data_dir / "kafka"
    if not directory.exists():
        report(f"initialising {program.title} ...")
        await _initialise(program, directory, logs / "kafka-initialize.log")
    return KafkaServer(program, directory, logs / "kafka.log", (directory / PASSWORD_FILE).read_text())


async def _program(sources: Sources, logs: Path, report: Report) -> KafkaProgram:
    java = await _java(sources, logs)
    archives = sources.cache_dir / f"kafka-{VERSION}"
    try:
        if not archives.exists():
            async with locked(
                archives.parent / "kafka.lock", lambda: report("waiting for another process that fetches Kafka ...")
            ):
                if not archives.exists():
                    await _fetch(archives, sources, report, logs / "kafka-fetch.log")
    except (CommandFailed, OSError) as error:
        raise ServersUnavailable(f"Kafka: Maven cannot fetch it: {error}\n{INSTEAD}") from error
    return KafkaProgram(java, archives)


async def _java(sources: Sources, logs: Path) -> Path:
    found = sources.which("java")
    if found is None:
        raise ServersUnavailable(f"Kafka: there is no java on PATH\n{INSTEAD}")
    try:
        printed = await run([str(found), "-version"], logs / "java-version.log")
    except CommandFailed as error:
        raise ServersUnavailable(f"Kafka: {found} cannot be used: {error}\n{INSTEAD}") from error
    version = re.search(r'version "(\d+)', printed)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise ServersUnavailable(f"Kafka: expected Java {OLDEST_JAVA} or later, found: {printed.strip()}\n{INSTEAD}")
    return found


async def _fetch(archives: Path, sources: Sources, report: Report, log: Path) -> None:
    maven = sources.which("mvn")
    if maven is None:
        raise ServersUnavailable(f"Kafka: it is not in {archives.parent}, and there is no mvn on PATH\n{INSTEAD}")
    report(f"fetching Apache Kafka {VERSION} with Maven (about 45 MB) ...")
    with whole_directory(archives) as made:
        pom = made / "pom.xml"
        pom.write_text(POM)
        options = ("--batch-mode", "--strict-checksums", "--file", str(pom))
        await run(
            [str(maven), *options, COPY_DEPENDENCIES, f"-DoutputDirectory={made}", "-DincludeScope=runtime"], log, made
        )
        pom.unlink()


async def _initialise(program: KafkaProgram, directory: Path, log: Path) -> None:
    password, cluster_id = secrets.token_urlsafe(24), secrets.token_urlsafe(16)
    with whole_directory(directory) as made:
        write_private(made / PASSWORD_FILE, password)
        # The file names the final place of the data; the format of the new directory is given another one.
        properties = made / PROPERTIES_FILE
        write_private(properties, server_properties(made / "data", password))
        voter = "controller.quorum.voters=1@127.0.0.1:1\nlisteners=BROKER://127.0.0.1:2,CONTROLLER://127.0.0.1:1\n"
        first = made / "format.properties"
        write_private(first, properties.read_text() + voter)
        try:
            await run(
                program.command("kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", f"--config={first}"),
                log,
            )
        except CommandFailed as error:
            raise ServersUnavailable(f"{program.title} cannot create its data directory: {error}") from error
        first.unlink()
        write_private(properties, server_properties(directory / "data", password))


def server_properties(directory: Path, password: str, **others: str) -> str:
    """The server's options. `others` are more users that may sign in, with their passwords."""
    users = " ".join(f'user_{name}="{word}"' for name, word in {USER: password, **others}.items())
    return PROPERTIES.format(module=LOGIN_MODULE, user=USER, password=password, users=users, directory=directory)
