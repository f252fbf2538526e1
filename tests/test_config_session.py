"""What is said of a session's options, and what a pool warns of."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import millpond
from configs import config_of, message_of
from millpond import presets
from millpond._config import PoolConfig

OPTIONAL = "or None for what the driver does by itself"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"keepalive": 0},
            (
                "keepalive=0: must be a bool, or the seconds of silence before the first probe, "
                f"{OPTIONAL}"
            ),
        ),
        ({"autocommit": 1}, f"autocommit=1: must be a bool, {OPTIONAL}"),
        ({"read_only": "no"}, f"read_only='no': must be a bool, {OPTIONAL}"),
        ({"profile": "odyssey"}, f"profile='odyssey': must be 'pgbouncer', {OPTIONAL}"),
        ({"application_name": ""}, "application_name='': must be a non-empty str or None"),
        (
            {"isolation_level": "SERIALIZABLE"},
            (
                "isolation_level='SERIALIZABLE': must be 'read uncommitted' or 'read committed' or "
                f"'repeatable read' or 'snapshot' or 'serializable', {OPTIONAL}"
            ),
        ),
        (
            {"session": ["SET a = 1", ""]},
            "session=<list>: must be a statement, or a list or tuple of statements",
        ),
        (
            {"socket_timeout": 2, "connect_timeout": 3},
            (
                "connect_timeout=3.0, socket_timeout=2.0: "
                "connect_timeout must not be above socket_timeout"
            ),
        ),
    ],
)
def test_the_message_about_an_option_names_it_too(arguments: dict[str, Any], message: str) -> None:
    assert message_of(**arguments) == message


def test_the_options_of_a_session_reach_the_driver() -> None:
    given_options = {
        "socket_timeout": 9.0,
        "statement_timeout": 8.0,
        "keepalive": 7.0,
        "application_name": "orders",
        "autocommit": False,
        "isolation_level": "serializable",
        "read_only": True,
        "session": ("SET a = 1",),
        "profile": "pgbouncer",
    }

    assert config_of(**given_options).session_options.given() == given_options
    assert PoolConfig().session_options.given() == {}


@pytest.mark.parametrize("session", ["SET a = 1", ["SET a = 1"], ("SET a = 1",)])
def test_statements_of_the_session_are_one_or_several(session: Any) -> None:
    assert config_of(session=session).session_options.session == ("SET a = 1",)


def test_neither_message_nor_repr_shows_a_statement_of_the_session() -> None:
    assert "hunter2" not in message_of(session=["CREATE SECRET 'hunter2'", 5])
    assert "hunter2" not in repr(config_of(session="CREATE SECRET 'hunter2'"))


@pytest.mark.parametrize(
    ("socket_timeout", "expected"), [(2.0, 2.0), (5.0, 5.0), (9.0, 5.0), (None, 5.0)]
)
def test_connect_timeout_follows_a_shorter_socket_timeout(
    socket_timeout: float | None, expected: float
) -> None:
    config = config_of(socket_timeout=socket_timeout)

    assert config.connect_timeout == expected
    assert type(config.connect_timeout) is float
    assert config_of(socket_timeout=socket_timeout, connect_timeout=None).connect_timeout is None


def warnings_of(**arguments: Any) -> list[str]:
    """Return what a pool with these arguments warns of, always at the line that makes it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        millpond.Pool(object, **arguments).close()
    assert {warning.filename for warning in caught} <= {__file__}
    assert {warning.category for warning in caught} <= {millpond.PoolConfigWarning}
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"acquire_timeout": 5.1}, "acquire_timeout=5.1: over 5 s callers pile up"),
        ({"acquire_timeout": 60}, "acquire_timeout=60: over 5 s callers pile up"),
        (
            {"idle_timeout": 29.9},
            "idle_timeout=29.9: under 30 s most connections are opened for one",
        ),
    ],
)
def test_what_is_seldom_wanted_is_warned_of_once_at_the_users_line(
    arguments: dict[str, Any], message: str
) -> None:
    (said,) = warnings_of(**arguments)

    assert said.startswith(message)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"acquire_timeout": None, "idle_timeout": None},
        {"acquire_timeout": 0, "idle_timeout": 30},
        presets.AGGRESSIVE,
        presets.RECOMMENDED,
        presets.CONSERVATIVE,
    ],
    ids=["defaults", "none", "limits", "aggressive", "recommended", "conservative"],
)
def test_nothing_of_ours_is_warned_of(arguments: Any) -> None:
    assert warnings_of(**arguments) == []


def test_the_warning_is_for_the_line_of_the_user_in_a_subclass_too() -> None:
    class Own(millpond.Pool[Any]):
        """A pool of the user's own."""

        def __init__(self) -> None:
            super().__init__(object, acquire_timeout=60)

    with pytest.warns(millpond.PoolConfigWarning) as caught:
        Own().close()

    assert [warning.filename for warning in caught] == [__file__]
