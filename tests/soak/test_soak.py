"""A soak of five seconds: the program works, and what it counts adds up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from private_postgres import private_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROGRAM = Path(__file__).with_name("soak.py")


@pytest.fixture(params=["postgres_url", "mysql_url"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of each server, by TCP."""
    found: str = request.getfixturevalue(request.param)
    if urlsplit(found).hostname:
        yield found.replace("mysql:", "mysql+pymysql:")
    else:
        with private_postgres() as server:
            yield server.url


def test_five_seconds_of_bad_days_leave_everything_as_it_has_to_be(url: str) -> None:
    options = ["--url", url, "--minutes", f"{5 / 60}", "--interval", "0.3", "--json"]

    ended = subprocess.run(
        [sys.executable, PROGRAM, *options],
        capture_output=True,
        text=True,
        timeout=50.0,
        check=False,
    )

    assert ended.stdout, ended.stderr
    ledger: dict[str, Any] = json.loads(ended.stdout)
    assert [one for one in ledger["checks"] if not one["holds"]] == []
    assert ended.returncode == 0
    assert ledger["requests"]["write_and_read"] > 100
    assert sum(one["times"] for one in ledger["faults"].values()) > 3
