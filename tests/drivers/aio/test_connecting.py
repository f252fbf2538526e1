"""Finding the driver, and what it looks like to the pool."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from drivers.aio.cases import AsyncCase, AsyncSession, in_a_session
from millpond import drivers
from millpond.drivers import aio
from millpond.drivers.aio import AsyncDriver
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

AWAITED = {name for name, one in vars(AsyncDriver).items() if inspect.iscoroutinefunction(one)}
PLAIN = {"abort", "fileno", "is_alive", "is_clean", "transaction_status"}


@in_a_session
async def test_the_driver_follows_the_protocol(case: AsyncCase, session: AsyncSession) -> None:
    assert isinstance(session.driver, AsyncDriver)
    assert session.driver.name == case.name
    for name in AWAITED:
        assert inspect.iscoroutinefunction(getattr(session.driver, name)), name
    for name in PLAIN:
        assert not inspect.iscoroutinefunction(getattr(session.driver, name)), name


@in_a_session
async def test_a_url_gives_connections_that_work(case: AsyncCase, session: AsyncSession) -> None:
    del case
    assert await session.value("SELECT 77") == 77


def test_the_connection_of_a_coroutine_function_is_recognised(case: AsyncCase) -> None:
    async def body(session: AsyncSession) -> None:
        assert session.driver.name == case.name
        assert await session.value("SELECT 77") == 77

    case.run(body, by_callable=True)


def test_each_connection_is_one_of_its_own(case: AsyncCase) -> None:
    async def body() -> None:
        driver = aio.find(case.url)
        first, second = await driver.connect(), await driver.connect()
        try:
            assert first is not second
            await driver.close(first)
            await driver.ping(second)
        finally:
            await driver.close(second)

    case.start(body())


def test_a_limit_for_connecting_does_no_harm(case: AsyncCase) -> None:
    async def body() -> None:
        driver = aio.find(case.url, connect_timeout=5.0)
        await driver.close(await driver.connect())

    case.start(body())


@in_a_session
async def test_closing_can_be_repeated(case: AsyncCase, session: AsyncSession) -> None:
    del case
    await session.driver.close(session.conn)
    await session.driver.close(session.conn)
    session.driver.abort(session.conn)

    assert session.driver.is_alive(session.conn) is not True
    assert not session.is_clean()


@in_a_session
async def test_a_socket_that_the_loop_may_close_has_no_number(
    case: AsyncCase, session: AsyncSession
) -> None:
    number = session.driver.fileno(session.conn)

    assert (number == -1) is (case.name != "psycopg")
    if number == -1 and case.twin.has_server:
        assert session.driver.needs_is_alive


@pytest.mark.parametrize(
    ("connect", "message"),
    [
        (7, r"^connect=<int>: must be a URL or a coroutine function without arguments$"),
        ("app.db", r"^connect: must be a URL or a coroutine function; the known URL schemes are "),
        ("nosql://h/db", r"^connect: the URL scheme 'nosql' is unknown; known are .*sqlite"),
        ("duckdb:///a.db", r"the URL scheme 'duckdb' is unknown: it is for Pool; known are "),
        ("mysql+pymysql://h/db", r"'mysql\+pymysql' is unknown: it is for Pool; known are "),
        ("postgrsql://h/db", r"'postgrsql' is unknown \(did you mean 'postgresql'\?\); known are "),
    ],
)
def test_what_cannot_connect_is_refused(connect: Any, message: str) -> None:
    with pytest.raises(PoolConfigError, match=message):
        aio.find(connect)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"driver": "psycopg2"}, r"^driver='psycopg2': must be 'psycopg' or 'asyncpg' or None for"),
        ({"connect_kwargs": {"nonsense": 1}}, r"^connect_kwargs: 'nonsense' is unknown to psycopg"),
        ({"needs": {"miracles": "please=True"}}, r"^please=True: not possible with the driver"),
    ],
)
def test_what_the_driver_of_a_url_cannot_do_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(PoolConfigError, match=message):
        aio.find("postgresql://localhost/app", **options)


def test_a_driver_of_ones_own_has_to_have_all_methods() -> None:
    async def connect() -> object:
        return object()

    driver: Any = object()
    with pytest.raises(PoolConfigError, match="have all that AsyncDriver has"):
        aio.find(connect, driver=driver)


def test_a_driver_of_ones_own_is_used_with_the_callable(case: AsyncCase) -> None:
    async def body() -> None:
        driver = aio.find(case.connect, driver=aio.find(case.url))
        assert driver.name == case.name
        await driver.close(await driver.connect())

    case.start(body())


class Blocking:
    """A connection that is there at once, as those of the blocking drivers are."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        """Note it."""
        self.closed = True


@pytest.mark.parametrize("with_driver", [False, True])
def test_a_function_that_connects_without_being_awaited_is_told_so(
    case: AsyncCase, *, with_driver: bool
) -> None:
    conn = Blocking()
    connect: Callable[[], Any] = lambda: conn  # noqa: E731

    async def body() -> None:
        driver = aio.find(connect, driver=aio.find(case.url) if with_driver else None)
        with pytest.raises(PoolConfigError, match=r"^connect: must return an awaitable, .*<Block"):
            await driver.connect()

    case.start(body())
    assert conn.closed


@pytest.mark.parametrize("url", ["postgresql://h/db", "postgres://h/db"])
def test_psycopg_comes_before_asyncpg(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert aio.find(url).name == "psycopg"

    monkeypatch.setitem(__import__("sys").modules, "millpond.drivers.aio._psycopg", None)
    assert aio.find(url).name == "asyncpg"


def test_a_driver_that_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "millpond.drivers.aio._asyncpg", None)

    with pytest.raises(PoolConfigError, match=r"pip install 'millpond\[asyncpg\]'$"):
        aio.find("postgresql+asyncpg://h/db")


def test_the_options_at_connect_are_not_for_a_callable() -> None:
    async def connect() -> object:
        return object()

    options = drivers.SessionOptions(application_name="app")
    with pytest.raises(PoolConfigError, match=r"^application_name='app': only with a URL"):
        aio.find(connect, options=options)
