"""MySQL's URLs: which driver they pick, what they hand to it, and what they never show."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond import drivers
from millpond.drivers._known import KNOWN
from millpond.errors import PoolConfigError

NAMES = {"mysqlclient": "MySQLdb", "mysqlconnector": "mysql.connector", "pymysql": "pymysql"}
PASSWORD = "hunter2"


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Give the name of a driver that is installed."""
    driver: str = request.param
    pytest.importorskip(NAMES[driver], exc_type=ImportError)
    return driver


def message_of(connect: Any, **arguments: Any) -> str:
    """Return what is said about arguments that are not valid."""
    with pytest.raises(PoolConfigError) as caught:
        drivers.find(connect, **arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("mysql+pymysql", "pymysql"),
        ("mariadb+pymysql", "pymysql"),
        ("mysql+mysqldb", "mysqlclient"),
        ("mysql+mysqlclient", "mysqlclient"),
        ("mariadb+mysqldb", "mysqlclient"),
        ("mysql+mysqlconnector", "mysqlconnector"),
        ("MariaDB+MySQLConnector", "mysqlconnector"),
    ],
)
def test_a_scheme_names_its_driver(scheme: str, expected: str) -> None:
    assert KNOWN.of_scheme(scheme) == (expected,)


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "MySQL"])
def test_a_scheme_without_a_driver_takes_the_first_that_can_be_imported(
    scheme: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ["mysqlclient", "pymysql", "mysqlconnector"]
    for better in order[: order.index(name)]:
        monkeypatch.setitem(sys.modules, f"millpond.drivers._{better}", None)

    assert drivers.find(f"{scheme}://h/db").name == name
    assert drivers.find(f"{scheme}://h/db", driver=name).name == name


def test_without_any_driver_each_is_named_with_its_pip_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for one in NAMES:
        monkeypatch.setitem(sys.modules, f"millpond.drivers._{one}", None)

    message = message_of(f"mysql://u:{PASSWORD}@h/db")

    assert "pip install 'millpond[mysqlclient]'; or the driver pymysql" in message
    assert message.endswith("pip install 'millpond[mysql-connector]'")
    assert PASSWORD not in message


def test_the_driver_of_another_database_is_refused() -> None:
    message = message_of("mysql://h/db", driver="psycopg")

    assert "must be 'mysqlclient' or 'pymysql' or 'mysqlconnector' or None" in message


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("h/db?colour=red", "connect: 'colour' is unknown to {}; known are "),
        ("h/db?autocommit=perhaps", "autocommit='perhaps' is not a valid value"),
        ("h:http/db", "the port must be a number"),
        ("h/one/two", "the path must be the name of one database"),
        (f"u:{PASSWORD}", "the port must be a number"),
        (f"u:{PASSWORD}?x@h/db", "an @ must be percent-encoded, as must a ? in a password"),
        (f"u:@12?{PASSWORD}@h/db", "an @ must be percent-encoded, as must a ? in a password"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(name: str, rest: str, message: str) -> None:
    said = message_of(f"mysql+{name}://{rest}")

    assert message.format(name) in said
    assert PASSWORD not in said


def test_unknown_connect_kwargs_are_refused(name: str) -> None:
    message = message_of(f"mysql+{name}://h/db", connect_kwargs={"colour": PASSWORD})

    assert message.startswith(f"connect_kwargs: 'colour' is unknown to {name}; known are ")
    assert PASSWORD not in message


@given(
    pieces=st.lists(st.sampled_from([*":/?#@%&=[]+ é", "1", PASSWORD])),
    driver=st.sampled_from(sorted(NAMES)),
)
def test_a_password_shows_in_no_message_and_no_repr(pieces: list[str], driver: str) -> None:
    pytest.importorskip(NAMES[driver], exc_type=ImportError)
    url = f"mysql+{driver}://user:{''.join(pieces)}{PASSWORD}@host/db"

    try:
        found = drivers.find(url)
    except PoolConfigError as error:
        shown = f"{error!r} {error.__cause__!r}"
    else:
        shown = f"{found!r} {vars(found)!r}"

    assert PASSWORD not in shown


def test_a_percent_encoded_password_reaches_the_driver(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_arguments: dict[str, Any] = {}
    found: Any = drivers.find(
        f"mysql+{name}://me%40corp:p%40ss%2F%3F@[::1]:3307/a%2Fb?charset=utf8"
    )
    monkeypatch.setattr(type(found), "_open", given_arguments.update)
    with pytest.raises(AttributeError):  # there is no connection
        found.connect()

    wanted = {"user": "me@corp", "password": "p@ss/?", "host": "::1", "port": 3307}
    assert wanted.items() <= given_arguments.items()
    assert (given_arguments["database"], given_arguments["charset"]) == ("a/b", "utf8")
