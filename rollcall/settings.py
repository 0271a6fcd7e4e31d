"""Settings: what each `ROLLCALL_*` variable may be. `rollcall/environment.py` reads them.

The table in docs/operations.md lists the same variables; a test compares the two.
"""

import base64
import binascii
import os
import re
from collections.abc import Collection
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from auth.addresses import Network
from auth.registration import RegistrationMode
from events.database import Address
from projections.mail.messages import UnusableAddress, ascii_address
from projections.mail.smtp import SMTPServer
from projections.mongo.client import url_of_each_host
from projections.publications.messages import DATA_FIELDS, USER_FIELDS

KEY_BYTES = 32
PREFIX = "ROLLCALL_"


class BadSettings(Exception):
    """Invalid settings. The message names each variable and what is expected."""


def decoded_key(text: str) -> bytes:
    """The 32 bytes of a key that is given in base64.

    Raises:
        ValueError: the text is not base64 of 32 bytes.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            f"expected {KEY_BYTES} bytes in base64, such as the output of `openssl rand -base64 {KEY_BYTES}`"
        )
    return key


def _key(value: SecretStr) -> SecretStr:
    decoded_key(value.get_secret_value())
    return value


def _mysql_url(value: SecretStr) -> SecretStr:
    Address.parse(value.get_secret_value())
    return value


def _mongo_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if not url.startswith(("mongodb://", "mongodb+srv://")) or not url.partition("//")[2].partition("/")[2].strip("?"):
        raise ValueError("expected mongodb://HOST:PORT/DATABASE")
    return value


def _mongo_read_url(value: SecretStr) -> SecretStr:
    url_of_each_host(value.get_secret_value())
    return value


def _heads(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if separator and (scheme not in {"http", "https"} or not rest):
        raise ValueError("expected a file, a URL that begins with http:// or https://, or -")
    return value


def networks(text: str) -> tuple[Network, ...]:
    """The networks of a comma-separated list.

    Raises:
        ValueError: an entry is not a network.
    """
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def _networks(value: str) -> str:
    networks(value)
    return value


def _brokers(value: str) -> str:
    for broker in value.split(","):
        host, _, port = broker.strip().rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535 or "/" in host or "@" in host:
            raise ValueError("expected HOST:PORT,HOST:PORT; how to sign in goes into ROLLCALL_KAFKA_CONFIG")
    return value


def _topic(value: str) -> str:
    if not re.fullmatch(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}", value):
        raise ValueError("expected 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', the name of a Kafka topic")
    return value


def published_fields(text: str, allowed: Collection[str]) -> frozenset[str]:
    """The fields of a comma-separated list.

    Raises:
        ValueError: an entry is not a field that may be published.
    """
    fields = frozenset(part.strip() for part in text.split(",") if part.strip())
    if unknown := sorted(fields.difference(allowed)):
        raise ValueError(f"{unknown[0]} cannot be published, expected some of {','.join(allowed)}")
    return fields


def _user_fields(value: str) -> str:
    published_fields(value, USER_FIELDS)
    return value


def _data_fields(value: str) -> str:
    published_fields(value, DATA_FIELDS)
    return value


def _installation(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
        raise ValueError("expected 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'")
    return value


def _smtp_url(value: SecretStr) -> SecretStr:
    SMTPServer.parse(value.get_secret_value())
    return value


def _public_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or "@" in value:
        raise ValueError("expected https://HOST, or https://HOST/PATH")
    return value


def _mail_from(value: str) -> str:
    try:
        ascii_address(value)
    except UnusableAddress:
        raise ValueError("expected an address such as rollcall@example.com") from None
    return value


Key = Annotated[SecretStr, AfterValidator(_key)]
TlsMode = Literal["off", "required"]
"""There is no mode that only prefers TLS: whoever is in the middle could take it away."""


class Settings(BaseSettings):
    """All settings. Secrets are masked when this is printed."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port that the API listens on.")
    data_dir: Path = Field(Path("var"), description="Directory for the data, logs and keys of private servers.")
    mysql_url: Annotated[SecretStr, AfterValidator(_mysql_url)] | None = Field(
        None,
        description="mysql://USER:PASSWORD@HOST:PORT/SCHEMA of your own server, or HOST:PORT,HOST:PORT of several. "
        "Requires ROLLCALL_MONGO_URL.",
    )
    mysql_read_url: Annotated[SecretStr, AfterValidator(_mysql_url)] | None = Field(
        None, description="mysql://USER:PASSWORD@HOST:PORT,HOST:PORT/SCHEMA of the replicas that answer queries."
    )
    mongo_url: Annotated[SecretStr, AfterValidator(_mongo_url)] | None = Field(
        None, description="mongodb://HOST:PORT/DATABASE of your own server. Requires ROLLCALL_MYSQL_URL."
    )
    mongo_read_url: Annotated[SecretStr, AfterValidator(_mongo_read_url)] | None = Field(
        None, description="mongodb://HOST:PORT,HOST:PORT/DATABASE of the secondaries that answer queries."
    )
    mysql_tls: TlsMode = Field("off", description="`required` encrypts connections to MySQL, or refuses them.")
    mysql_tls_ca: Path | None = Field(
        None, description="PEM file of the authorities whose certificates MySQL may have. Default: the system's."
    )
    mysql_tls_cert: Path | None = Field(None, description="PEM file of this program's certificate for MySQL.")
    mysql_tls_key: Path | None = Field(
        None, description="PEM file of that certificate's key, if it is not in the same file."
    )
    mysql_tls_check_host: bool = Field(
        True, description="Refuses a certificate of another host than the URL names. False: any of the authorities."
    )
    mongo_tls: TlsMode = Field(
        "off", description="`required` encrypts connections to MongoDB, or refuses them. `off`: the URL decides."
    )
    mongo_tls_ca: Path | None = Field(
        None, description="PEM file of the authorities whose certificates MongoDB may have. Default: the system's."
    )
    mongo_tls_cert: Path | None = Field(
        None, description="PEM file of this program's certificate for MongoDB, and its key."
    )
    mongo_tls_check_host: bool = Field(
        True, description="Refuses a certificate of another host than the URL names. False: any of the authorities."
    )
    master_key: Key | None = Field(
        None, description="32 bytes in base64: the key that wraps all other keys of the log."
    )
    other_master_key: Key | None = Field(
        None, description="The old or the new master key, during a rotation of the master key. It only unwraps."
    )
    signing_key: Key | None = Field(None, description="32 bytes in base64: the Ed25519 seed that signs access tokens.")
    other_signing_key: Key | None = Field(
        None, description="The old or the new signing key, during a change of the signing key. It only verifies."
    )
    heads: Annotated[str, AfterValidator(_heads)] | None = Field(
        None, description="Where `rollcall heads` writes signed heads: a file, an http or https URL, or -."
    )
    heads_seconds: float = Field(5.0, ge=0.1, le=3600, description="Seconds between two signed heads.")
    head_key: Key | None = Field(None, description="32 bytes in base64: the Ed25519 seed that signs heads.")
    admin_password: SecretStr | None = Field(
        None, description="Password of the first administrator, `admin`, who is created if there is no ADMIN yet."
    )
    password_profile: Literal["rfc9106-low-memory", "owasp", "weak-for-tests"] = Field(
        "rfc9106-low-memory", description="Cost of new password hashes."
    )
    password_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, le=256, description="Passwords hashed at the same time."
    )
    rebuild_memory: int = Field(
        256, ge=1, le=1_000_000, description="MiB of folded users that a rebuild or a verification keeps in memory."
    )
    quarantine_limit: int = Field(
        10, ge=0, description="Users that a view may quarantine before its projector stops as FAULTED."
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65_535, description="Port for /metrics and /healthz of this process. Not served if unset."
    )
    access_token_seconds: int = Field(
        900, ge=5, le=900, description="Seconds for which an access token is valid. Clients refresh it before."
    )
    session_days: int = Field(30, ge=1, le=3650, description="Days after which a session ends in any case.")
    session_idle_days: int = Field(7, ge=1, le=3650, description="Days without a refresh after which a session ends.")
    sessions_per_user: int = Field(
        50, ge=1, le=10_000, description="Sessions that a user may have. One more ends the least recently used one."
    )
    refresh_grace_seconds: int = Field(
        10, ge=0, le=300, description="Seconds in which a client's parallel tabs may use a refresh token again."
    )
    writes_per_hour: int = Field(
        3_600,
        ge=0,
        description="Writes an hour of one user; one of more than 4 KiB counts for each 4 KiB. 0: no limit.",
    )
    writes_at_once: int = Field(
        600, ge=0, description="Writes of one user at once, counted in the same way. 0: as many as in an hour."
    )
    address_writes_per_hour: int = Field(
        36_000, ge=0, description="Writes an hour from one address, counted in the same way. 0: no limit."
    )
    registration: RegistrationMode = Field(
        RegistrationMode.OPEN, description="Who may register: `open` to anyone, by `invitation`, or `closed`."
    )
    registration_proof_of_work_bits: int = Field(
        0, ge=0, le=30, description="Zero bits of the proof of work that registrations require under load. 0: never."
    )
    registrations_per_hour: int = Field(
        100, ge=0, description="Registrations an hour from one address, 0.2 s apart in a process. 0: no limit."
    )
    sign_ins_per_hour: int = Field(2_000, ge=0, description="Sign-ins an hour from one address. 0: no limit.")
    refreshes_per_hour: int = Field(
        20_000, ge=0, description="Refreshes of sessions an hour from one address. 0: no limit."
    )
    password_changes_per_hour: int = Field(
        200, ge=0, description="Changes of passwords an hour from one address. 0: no limit."
    )
    webhook_private_addresses: bool = Field(
        False, description="Allows webhooks to private addresses and by plain http. Otherwise administrators cannot."
    )
    webhook_content: Literal["thin", "full"] = Field(
        "thin", description="What webhooks send: `thin` names the user and the changed fields, `full` has the user too."
    )
    trusted_proxies: Annotated[str, AfterValidator(_networks)] | None = Field(
        None, description="Networks of your proxies, such as 10.0.0.0/8,fd00::/8. Their X-Forwarded-For is trusted."
    )
    kafka_bootstrap: Annotated[str, AfterValidator(_brokers)] | None = Field(
        None, description="HOST:PORT,HOST:PORT of your Kafka brokers. None: the server of `rollcall dev --kafka`."
    )
    kafka_config: Path | None = Field(
        None,
        description="File of librdkafka's properties, NAME=VALUE in lines, for signing in: security.protocol, sasl.",
    )
    kafka_transactions: bool = Field(
        True, description="Exactly once. `false` for brokers that grant no transactions: at least once."
    )
    kafka_content: Literal["full", "thin"] = Field(
        "full", description="`full` publishes states and events, `thin` only events, which have no personal data."
    )
    kafka_user_fields: Annotated[str, AfterValidator(_user_fields)] = Field(
        ",".join(USER_FIELDS), description="Fields of a user in the state topic. `id` and `version` are always there."
    )
    kafka_users_state_topic: Annotated[str, AfterValidator(_topic)] = Field(
        "rollcall.users.state", description="Compacted topic with the state of each user before and after each change."
    )
    kafka_users_events_topic: Annotated[str, AfterValidator(_topic)] = Field(
        "rollcall.users.events", description="Topic with ids, types and names of fields, without personal data."
    )
    kafka_data_fields: Annotated[str, AfterValidator(_data_fields)] = Field(
        ",".join(DATA_FIELDS),
        description="Fields of a data object in the state topic. `id` and `version` are always there.",
    )
    kafka_data_state_topic: Annotated[str, AfterValidator(_topic)] = Field(
        "rollcall.data.state", description="Compacted topic with the state of each data object before and after."
    )
    kafka_data_events_topic: Annotated[str, AfterValidator(_topic)] = Field(
        "rollcall.data.events", description="Topic with ids, types and names of fields of data objects."
    )
    kafka_checkpoint_topic: Annotated[str, AfterValidator(_topic)] = Field(
        "rollcall.checkpoint", description="Compacted topic of one partition with the publication's checkpoint."
    )
    kafka_partitions: int = Field(6, ge=1, le=1_000, description="Partitions of a topic that the publication creates.")
    kafka_replication: int | None = Field(
        None, ge=1, le=100, description="Replicas of a topic that the publication creates. None: the brokers' default."
    )
    kafka_compaction_seconds: int = Field(
        86_400,
        ge=1,
        le=31_536_000,
        description="Longest time that a record stays out of compaction in the state topic.",
    )
    installation: Annotated[str, AfterValidator(_installation)] = Field(
        "rollcall", description="Name of this installation in published messages."
    )
    public_url: Annotated[str, AfterValidator(_public_url)] | None = Field(
        None, description="URL at which people reach this server, for links in mails. Without it no mails are queued."
    )
    smtp_url: Annotated[SecretStr, AfterValidator(_smtp_url)] | None = Field(
        None,
        description="smtp://USER:PASSWORD@HOST:PORT (STARTTLS is required) or smtps://... of your mail server.",
    )
    smtp_tls_ca: Path | None = Field(
        None,
        description="PEM file of the authorities whose certificates the mail server may have. Default: system's.",
    )
    mail_from: Annotated[str, AfterValidator(_mail_from)] | None = Field(
        None, description="Address in From of mails, such as rollcall@example.com."
    )
    mails_per_hour: int = Field(
        30, ge=0, description="Requests for mails an hour from one address, such as for a new password. 0: no limit."
    )
    require_verified_email: bool = Field(
        False, description="Signs in only users whose email is confirmed. Requires ROLLCALL_PUBLIC_URL."
    )
    caught_mail: Path | None = Field(
        None, description="Directory of mails that are shown to everybody at /dev/mail. `rollcall dev` sets it."
    )
    introspection: bool = Field(
        False, description="Allows introspection, and serves GraphiQL to browsers. `rollcall dev` sets it."
    )
    pages: bool = Field(
        True, description="Serves the pages for people at /, and /session for them. `off`: only the API."
    )
    allowed_origins: str | None = Field(
        None, description="Other origins whose pages may use the API, such as https://app.example.com."
    )
    trusted_documents: Path | None = Field(
        None, description="Manifest of your clients' documents: persisted-documents.json of GraphQL Code Generator."
    )
    trusted_documents_mode: Literal["only", "preferred"] = Field(
        "only", description="With a manifest: `only` refuses every other document, `preferred` accepts them too."
    )
    federation: bool = Field(
        False, description="Serves the schema as a subgraph of Apollo Federation 2, for a gateway."
    )
    deadline_seconds: float = Field(10.0, gt=0, le=600, description="Seconds after which a query is cut off.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Format of the log on standard error. `auto` is console on a terminal, else json."
    )

    @model_validator(mode="after")
    def _servers_that_go_together(self) -> Self:
        if (self.mysql_url is None) != (self.mongo_url is None):
            given, lacking = ("MYSQL", "MONGO") if self.mysql_url else ("MONGO", "MYSQL")
            raise ValueError(f"ROLLCALL_{given}_URL requires ROLLCALL_{lacking}_URL; set both or neither")
        for name, url in (("MYSQL", self.mysql_read_url), ("MONGO", self.mongo_read_url)):
            if url is not None and not self.own_servers:
                raise ValueError(f"ROLLCALL_{name}_READ_URL requires ROLLCALL_{name}_URL, which it replicates")
        if self.federation and self.trusted_documents is not None and self.trusted_documents_mode == "only":
            raise ValueError(
                "ROLLCALL_FEDERATION requires ROLLCALL_TRUSTED_DOCUMENTS_MODE=preferred: a gateway makes its documents"
            )
        if self.public_url is None and (self.smtp_url is not None or self.require_verified_email):
            name = "SMTP_URL" if self.smtp_url else "REQUIRE_VERIFIED_EMAIL"
            raise ValueError(f"ROLLCALL_{name} requires ROLLCALL_PUBLIC_URL, which links in mails begin with")
        topics = [
            self.kafka_users_state_topic,
            self.kafka_users_events_topic,
            self.kafka_data_state_topic,
            self.kafka_data_events_topic,
            self.kafka_checkpoint_topic,
        ]
        if len(set(topics)) < len(topics):
            raise ValueError("the topics ROLLCALL_KAFKA_..._TOPIC must differ from each other")
        return self

    @model_validator(mode="after")
    def _tls_that_is_used(self) -> Self:
        for database, mode in (("mysql", self.mysql_tls), ("mongo", self.mongo_tls)):
            name = f"{database}_tls"
            if mode == "required" and not self.own_servers:
                raise ValueError(f"ROLLCALL_{name.upper()} requires ROLLCALL_{database.upper()}_URL")
            for dependent in ("ca", "cert", "key", "check_host"):
                field = f"{name}_{dependent}"
                if mode == "off" and getattr(self, field, None) not in (None, True):
                    raise ValueError(f"ROLLCALL_{field.upper()} requires ROLLCALL_{name.upper()}=required")
        if self.mysql_tls_key is not None and self.mysql_tls_cert is None:
            raise ValueError("ROLLCALL_MYSQL_TLS_KEY requires ROLLCALL_MYSQL_TLS_CERT, its certificate")
        url = self.mongo_url.get_secret_value() if self.mongo_url else ""
        if self.mongo_tls == "required" and re.search(r"[?&](tls|ssl)\w*=", url, re.IGNORECASE):
            raise ValueError(
                "ROLLCALL_MONGO_URL has options of TLS, and so has ROLLCALL_MONGO_TLS; set them in one place"
            )
        return self

    @property
    def own_servers(self) -> bool:
        """Whether the operator provides the databases; otherwise this program runs private servers."""
        return self.mysql_url is not None

    @property
    def rebuild_memory_bytes(self) -> int:
        """`rebuild_memory` in bytes."""
        return self.rebuild_memory * 2**20
