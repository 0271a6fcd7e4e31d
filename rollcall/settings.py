"""Settings: `ROLLCALL_*` variables, each checked at the start. The one place that reads the environment.

docs/operations.md has the same list for operators; a test compares the two.
"""

import base64
import binascii
import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from auth.addresses import Network
from events.database import Address

KEY_BYTES = 32


class BadSettings(Exception):
    """One or more variables cannot be used; the message names each and says what is expected."""


def decoded_key(text: str) -> bytes:
    """The 32 bytes that a key setting or a key file holds in base64.

    Raises:
        ValueError: they are not.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"expected {KEY_BYTES} bytes in base64, as `openssl rand -base64 {KEY_BYTES}` prints them")
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


def networks(text: str) -> tuple[Network, ...]:
    """The networks of a comma-separated list.

    Raises:
        ValueError: one of them is none.
    """
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def _networks(value: str) -> str:
    networks(value)
    return value


Key = Annotated[SecretStr, AfterValidator(_key)]


class Settings(BaseSettings):
    """Everything that can be set. Secrets never show when this is printed."""

    model_config = SettingsConfigDict(env_prefix="ROLLCALL_", extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port that the API listens on.")
    data_dir: Path = Field(Path("var"), description="Where private servers keep their data, logs and keys.")
    mysql_url: Annotated[SecretStr, AfterValidator(_mysql_url)] | None = Field(
        None, description="mysql://USER:PASSWORD@HOST:PORT/SCHEMA of your own server; with it, ROLLCALL_MONGO_URL too."
    )
    mysql_read_url: Annotated[SecretStr, AfterValidator(_mysql_url)] | None = Field(
        None, description="mysql://USER:PASSWORD@HOST:PORT/SCHEMA of a read replica, from which queries are answered."
    )
    mongo_url: Annotated[SecretStr, AfterValidator(_mongo_url)] | None = Field(
        None, description="mongodb://HOST:PORT/DATABASE of your own server; with it, ROLLCALL_MYSQL_URL too."
    )
    master_key: Key | None = Field(None, description="32 bytes in base64 that all other secrets of the log hang on.")
    other_master_key: Key | None = Field(
        None, description="The old or the new master key, while the master key is being rotated; it only unwraps."
    )
    signing_key: Key | None = Field(None, description="32 bytes in base64: the Ed25519 seed that signs access tokens.")
    other_signing_key: Key | None = Field(
        None, description="The old or the new signing key, while the signing key is being changed; it only verifies."
    )
    admin_password: SecretStr | None = Field(
        None, description="Password of the first administrator, `admin`, who is made when there is no ADMIN yet."
    )
    password_profile: Literal["rfc9106-low-memory", "owasp", "weak-for-tests"] = Field(
        "rfc9106-low-memory", description="How costly new password hashes are."
    )
    password_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, le=256, description="Passwords hashed at the same time."
    )
    rebuild_memory: int = Field(
        256, ge=1, le=1_000_000, description="MiB that a rebuild or a comparison keeps of folded users at a time."
    )
    quarantine_limit: int = Field(
        10, ge=0, description="Users that a view may set aside for broken events before its projector stops as FAULTED."
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65_535, description="Port that this process serves /metrics and /healthz on; none if not set."
    )
    session_days: int = Field(30, ge=1, le=3650, description="After so many days one signs in again in any case.")
    session_idle_days: int = Field(7, ge=1, le=3650, description="A session ends if it is not refreshed for so long.")
    refresh_grace_seconds: int = Field(
        10, ge=0, le=300, description="How long a used refresh token may come again, from a client's parallel tabs."
    )
    trusted_proxies: Annotated[str, AfterValidator(_networks)] | None = Field(
        None, description="Networks of your proxies, such as 10.0.0.0/8,fd00::/8, whose X-Forwarded-For is believed."
    )
    introspection: bool = Field(
        False, description="Whether clients may ask for the schema, and browsers are shown GraphiQL. `dev` sets it."
    )
    allowed_origins: str | None = Field(
        None, description="Other origins whose pages may use the API, such as https://app.example.com."
    )
    trusted_documents: Path | None = Field(
        None, description="Manifest of your clients' documents: persisted-documents.json of GraphQL Code Generator."
    )
    trusted_documents_mode: Literal["only", "preferred"] = Field(
        "only", description="Whether other documents than those of the manifest are refused, or carried out too."
    )
    deadline_seconds: float = Field(10.0, gt=0, le=600, description="How long a query may take.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Form of the log on standard error; auto is console on a terminal, else json."
    )

    @model_validator(mode="after")
    def _servers_that_go_together(self) -> Self:
        if (self.mysql_url is None) != (self.mongo_url is None):
            given, lacking = ("MYSQL", "MONGO") if self.mysql_url else ("MONGO", "MYSQL")
            raise ValueError(f"ROLLCALL_{given}_URL is set, so ROLLCALL_{lacking}_URL is needed too")
        if self.mysql_read_url is not None and self.mysql_url is None:
            raise ValueError("ROLLCALL_MYSQL_READ_URL is set, so ROLLCALL_MYSQL_URL is needed too: what it replicates")
        return self

    @property
    def own_servers(self) -> bool:
        """Whether the databases are the operator's own, rather than private ones of this program."""
        return self.mysql_url is not None

    @property
    def rebuild_memory_bytes(self) -> int:
        """What a rebuild or a comparison keeps of folded users at a time."""
        return self.rebuild_memory * 2**20


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        BadSettings: a variable cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise BadSettings("\n".join(_told(problem) for problem in error.errors())) from None


def _told(problem: ErrorDetails) -> str:
    name = "".join(f"ROLLCALL_{str(part).upper()}: " for part in problem["loc"][:1])
    return name + problem["msg"].removeprefix("Value error, ")
