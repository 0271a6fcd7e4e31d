"""Reading the settings from the environment: variables, secrets in files, and names that are no settings.

`rollcall/settings.py` says what each may be.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rollcall.settings import PREFIX, BadSettings, Settings

SERVICE_LINK: Final = re.compile(r"_SERVICE_HOST=|_SERVICE_PORT(_\w+)?=|_PORT_\d+_\w+=|=(tcp|udp|sctp)://")
"""What Kubernetes sets for a Service whose name begins with `rollcall`, in every container of its namespace."""


def telemetry_variables() -> Mapping[str, str]:
    """OpenTelemetry's own variables, whose names and meaning are a standard."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        BadSettings: a variable is invalid or unknown.
    """
    problems = unknown_variables(os.environ)
    try:
        settings = Settings(**from_files())
    except ValidationError as error:
        raise BadSettings("\n".join([*problems, *map(_message, error.errors())])) from None
    if problems:
        raise BadSettings("\n".join(problems))
    return settings


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A message for each variable that has the prefix of a setting and is none.

    A misspelled setting would leave its default in force, such as an open registration.
    """
    names = [name.upper() for name in Settings.model_fields]
    names += [f"{variable.removeprefix(PREFIX)}_FILE" for variable in secret_variables()]
    problems: list[str] = []
    for variable, value in environment.items():
        name = variable.removeprefix(PREFIX)
        if name == variable or name in names or not value or SERVICE_LINK.search(f"{variable}={value}"):
            continue
        alike = get_close_matches(name, names, 1)
        hint = f"did you mean {PREFIX}{alike[0]}?" if alike else "docs/operations.md lists all settings"
        problems.append(f"{variable}: there is no such setting; {hint}")
    return problems


def secret_variables() -> list[str]:
    """The variables of secrets, each of which may be given as a file by `VARIABLE_FILE` instead."""
    fields = Settings.model_fields.items()
    return [f"{PREFIX}{name.upper()}" for name, field in fields if "SecretStr" in str(field.annotation)]


def from_files() -> dict[str, Any]:
    """The values of `VARIABLE_FILE`, without the line break that editors and `echo` add.

    Raises:
        BadSettings: a file cannot be read, or the variable is set too.
    """
    values: dict[str, Any] = {}
    for variable in secret_variables():
        path = os.environ.get(f"{variable}_FILE")
        if not path:
            continue
        if os.environ.get(variable):
            raise BadSettings(f"{variable}, {variable}_FILE: expected one of them, found both")
        try:
            values[variable.removeprefix(PREFIX).lower()] = Path(path).read_text().rstrip("\r\n")
        except OSError as error:
            raise BadSettings(f"{variable}_FILE: {path}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise BadSettings(f"{variable}_FILE: {path}: expected text") from None
    return values


def _message(problem: ErrorDetails) -> str:
    name = "".join(f"{PREFIX}{str(part).upper()}: " for part in problem["loc"][:1])
    return name + problem["msg"].removeprefix("Value error, ")
