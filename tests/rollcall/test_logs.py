"""Logs are structured and hold no secrets."""

import subprocess
import sys

import msgspec
import pytest

from tests.waiting import PATIENCE_SECONDS

PROGRAM = """
import logging, structlog
from rollcall.logs import configure_logging
from rollcall.settings import Settings

configure_logging(Settings(log_format={form!r}), "test")

def sign_in(password):
    raise ValueError("nothing to see here")

try:
    sign_in("secret-" + "of-a-user")
except ValueError:
    structlog.get_logger("one").exception("failed", user="01a2")
    logging.getLogger("library").exception("library failed")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_logged_traceback_shows_no_local_variables(form: str) -> None:
    """Passwords and tokens are local variables of some frames, so a logged traceback shows no locals."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(form=form)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )

    assert "nothing to see here" in ended.stderr
    assert "sign_in" in ended.stderr
    assert "secret-of-a-user" not in ended.stderr
    assert ended.stdout == ""


def test_each_line_of_the_json_log_is_one_json_object() -> None:
    """Each line is a JSON object that names the process."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(form="json")],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )

    lines = [msgspec.json.decode(line) for line in ended.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["failed", "library failed"]
    assert {line["process"] for line in lines} == {"test"}
    assert all(line["exception"][0]["exc_type"] == "ValueError" for line in lines)
