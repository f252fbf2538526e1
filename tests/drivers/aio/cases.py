"""What the contract suite has to know about a driver for asyncio: one `AsyncCase` each.

What is true of its server is known by the case of a blocking driver, its `twin`, which also brings
the hands that end a connection from outside.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, ClassVar

import psutil
import pytest

from async_loops import until
from drivers.contract import embedded, mysql, postgres
from helpers import eventually
from millpond.drivers import SessionOptions, TransactionStatus, aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from drivers.contract.cases import Case


def new_uvloop() -> asyncio.AbstractEventLoop:
    """Make an event loop of uvloop's, which there is not for Windows."""
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": new_uvloop,
}


def start_in(loop: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in an event loop of its own, which is closed afterwards."""
    # Where there is no such loop, nobody has awaited it.
    with closing(coroutine), asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        result = runner.run(coroutine)
    gc.collect()  # whatever was not closed complains now, and not in another test
    return result


def connections() -> int:
    """Count the sockets of this process that lead to somebody, or soon will."""
    found = psutil.Process().net_connections(kind="inet")
    return sum(1 for one in found if one.status in {"ESTABLISHED", "SYN_SENT", "CLOSE_WAIT"})


async def opened(connect: Any, *, kwargs: Any = None, **options: Any) -> tuple[Any, Any]:
    """Open a connection as a pool does, and return it behind its driver."""
    asked = SessionOptions(**options)
    found: Any = aio.find(connect, options=asked, connect_kwargs=kwargs)
    conn = await found.connect()
    try:
        driver: Any = aio.refine(found, conn, options=asked)
        await driver.prepare(conn, asked)
    except BaseException:
        await found.close(conn)
        raise
    return driver, conn


async def let_the_loop_look() -> None:
    """Return when the loop has asked its sockets, and has told the transports what it heard."""
    for _ in range(5):
        await asyncio.sleep(0)


class AsyncSession:
    """A connection made as a pool would make it, and its driver."""

    def __init__(self, case: AsyncCase, driver: Any, conn: Any) -> None:
        self.case = case
        self.driver = driver
        self.conn = conn

    async def run(self, statement: str) -> None:
        """Run a statement, whose result is not wanted."""
        await self.driver.execute(self.conn, statement)

    async def value(self, query: str) -> Any:
        """Return the first column of the first row."""
        return (await self.case.rows(self.conn, query))[0][0]

    @property
    def status(self) -> TransactionStatus:
        """The transaction status."""
        found: TransactionStatus = self.driver.transaction_status(self.conn)
        return found

    async def is_at_work(self) -> None:
        """Return when a statement is under way."""
        await until(lambda: self.status is TransactionStatus.ACTIVE)

    def is_clean(self) -> bool:
        """Say whether there is nothing to reset."""
        clean: bool = self.driver.is_clean(self.conn)
        assert not clean or self.status is TransactionStatus.IDLE
        return clean


class AsyncCase:
    """A driver in front of a database.

    What raises `NotImplementedError` here, the class for each kind of database or driver fills in.

    Attributes:
        name: The driver's name.
        package: What has to be installed.
        scheme: The scheme of its URLs.
        twin: The case of a blocking driver for the same server.
        is_timeout: Whether the pool's `PoolTimeout` can be a ``TimeoutError`` and its error too.
        implicit: Whether it begins transactions by itself, unless told not to.
        waiting: A query that takes a tenth of a second.
        closed: What the driver says about a connection that was closed, as a pattern.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    scheme: ClassVar[str]
    twin: ClassVar[type[Case]]
    is_timeout: ClassVar[bool] = True
    implicit: ClassVar[bool] = True
    waiting: ClassVar[str]
    closed: ClassVar[str] = r"(?i)clos|not.*open|not connected"

    def __init__(self, request: pytest.FixtureRequest, loop: str) -> None:
        pytest.importorskip(self.package)
        self.blocking = self.twin(request)
        self.url = f"{self.scheme}://" + self.blocking.url.partition("://")[2]
        self.loop = loop

    async def connect(self) -> Any:
        """Open a connection without millpond, as a user's coroutine function would."""
        raise NotImplementedError

    async def rows(self, conn: Any, query: str) -> Any:
        """Return the rows of a query."""
        raise NotImplementedError

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in an event loop of its own, which is closed afterwards."""
        return start_in(self.loop, coroutine)

    def run(self, body: Callable[[AsyncSession], Awaitable[None]], **options: Any) -> None:
        """Run a test's body with a session."""

        async def with_session() -> None:
            async with self.open(**options) as session:
                await body(session)

        self.start(with_session())

    @asynccontextmanager
    async def open(
        self, *, by_callable: bool = False, **options: Any
    ) -> AsyncIterator[AsyncSession]:
        """Open a session with options, by a URL or by a callable."""
        driver, conn = await opened(self.connect if by_callable else self.url, **options)
        try:
            yield AsyncSession(self, driver, conn)
        finally:
            await driver.close(conn)

    def values(self) -> dict[str, Any]:
        """Return a value for each option."""
        values = {**self.blocking.values(), "autocommit": self.implicit}
        if not self.implicit:
            values["autocommit"] = True
        return values

    async def kill(self, session: AsyncSession) -> None:
        """Have the server end a connection."""
        raise NotImplementedError

    async def conflict(self) -> BaseException:
        """Have two transactions get in each other's way, and return the error."""
        raise NotImplementedError

    async def isolation(self, session: AsyncSession) -> str | None:
        """Return the isolation level of the open transaction, if it can be asked for."""
        del session
        return None

    async def prove(self, option: str, session: AsyncSession) -> None:
        """Fail unless a session was made with one of `values`."""
        await getattr(self, f"prove_{option}")(session)

    async def prove_autocommit(self, session: AsyncSession) -> None:
        await session.run("CREATE TEMPORARY TABLE auto (n INTEGER)")
        await session.run("INSERT INTO auto VALUES (1)")
        await session.driver.reset(session.conn)

        assert await session.value("SELECT count(*) FROM auto") == 1

    async def prove_read_only(self, session: AsyncSession) -> None:
        with pytest.raises(Exception, match=r"(?i)read.?only"):
            await session.run("CREATE TABLE must_not_be (n INTEGER)")

    async def prove_session(self, session: AsyncSession) -> None:
        assert session.status is TransactionStatus.IDLE
        assert str(await session.value(self.blocking.variable)) == self.blocking.value

    async def prove_statement_timeout(self, session: AsyncSession) -> None:
        with pytest.raises(Exception, match=r"(?i)time"):
            await session.value(self.blocking.endless)


class _Postgres(AsyncCase):
    twin = postgres.Psycopg
    waiting = "SELECT 1, pg_sleep(0.1)"

    async def kill(self, session: AsyncSession) -> None:
        pid = await session.value("SELECT pg_backend_pid()")
        await session.driver.reset(session.conn)
        with self.blocking.open(autocommit=True) as other:
            assert other.value(f"SELECT pg_terminate_backend({pid}, 5000)")

    async def conflict(self) -> BaseException:
        # Who has waited for deadlock_timeout looks for a deadlock, and is the one that loses.
        async with (
            self.open(session=("SET deadlock_timeout = '60s'",)) as first,
            self.open(session=("SET deadlock_timeout = '10ms'",)) as second,
        ):
            for session, lock in ((first, 771), (second, 772)):
                await session.driver.begin(session.conn)
                await session.value(f"SELECT pg_advisory_xact_lock({lock})")
            waiting = asyncio.ensure_future(first.value("SELECT pg_advisory_xact_lock(772)"))
            with pytest.raises(Exception, match="deadlock") as caught:
                await second.value("SELECT pg_advisory_xact_lock(771)")
            await second.driver.rollback(second.conn)
            await waiting
            await first.driver.rollback(first.conn)
        return caught.value

    async def isolation(self, session: AsyncSession) -> str | None:
        return str(await session.value("SHOW transaction_isolation"))

    async def prove_isolation_level(self, session: AsyncSession) -> None:
        await session.driver.begin(session.conn)

        assert await self.isolation(session) == self.blocking.level

    async def prove_application_name(self, session: AsyncSession) -> None:
        assert await session.value("SHOW application_name") == "contract"

    async def prove_keepalive(self, session: AsyncSession) -> None:
        assert await session.value("SELECT 77") == 77  # the socket's options: in test_options.py

    async def prove_profile(self, session: AsyncSession) -> None:
        for _ in range(10):
            await session.value("SELECT 77")
        assert await session.value("SELECT count(*) FROM pg_prepared_statements") == 0
        settings = "SELECT count(*) FROM pg_settings WHERE source IN ('client', 'session') AND name"
        assert await session.value(f"{settings} ~ 'timeout|default_transaction'") == 0


class Psycopg(_Postgres):
    """psycopg 3."""

    name = package = "psycopg"
    scheme = "postgresql+psycopg"

    async def connect(self) -> Any:
        import psycopg  # noqa: PLC0415  it may not be installed

        return await psycopg.AsyncConnection.connect(self.url.replace("+psycopg", ""))

    async def rows(self, conn: Any, query: str) -> Any:
        return await (await conn.execute(query)).fetchall()


class Asyncpg(_Postgres):
    """asyncpg."""

    name = package = "asyncpg"
    scheme = "postgresql+asyncpg"
    implicit = False

    async def connect(self) -> Any:
        import asyncpg  # noqa: PLC0415

        return await asyncpg.connect(self.url.replace("+asyncpg", ""))

    async def rows(self, conn: Any, query: str) -> Any:
        return await conn.fetch(query)


class _MySQL(AsyncCase):
    twin = mysql.PyMySQL
    waiting = "SELECT 1, SLEEP(0.1)"
    closed = r"(?i)closed|not connected"

    async def rows(self, conn: Any, query: str) -> Any:
        async with conn.cursor() as cursor:
            await cursor.execute(query)
            return await cursor.fetchall()

    async def kill(self, session: AsyncSession) -> None:
        number = session.conn.thread_id()
        with self.blocking.open(autocommit=True) as other:
            other.run(f"KILL {number}")
            threads = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID"
            eventually(lambda: other.value(f"{threads} = {number}") == 0)

    async def conflict(self) -> BaseException:
        # Who closes the circle is the one that loses, having done no more than the other.
        table = f"circle_{self.name}"
        with self.blocking.open(autocommit=True) as owner:
            owner.run(f"CREATE OR REPLACE TABLE {table} (n INTEGER PRIMARY KEY) ENGINE = InnoDB")
            owner.run(f"INSERT INTO {table} VALUES (1), (2)")
            try:
                return await self._deadlock(f"SELECT n FROM {table} WHERE n = {{}} FOR UPDATE")
            finally:
                owner.run(f"DROP TABLE {table}")

    async def _deadlock(self, lock: str) -> BaseException:
        async with self.open() as first, self.open() as second:
            for number, session in enumerate((first, second), 1):
                await session.driver.begin(session.conn)
                await session.value(lock.format(number))
            both = [first.value(lock.format(2)), second.value(lock.format(1))]
            ended = await asyncio.gather(*both, return_exceptions=True)
            (error,) = (one for one in ended if isinstance(one, BaseException))
            for session in (first, second):
                await session.driver.rollback(session.conn)
        return error

    async def prove_isolation_level(self, session: AsyncSession) -> None:
        assert await session.value("SELECT @@SESSION.tx_isolation") == "SERIALIZABLE"

    async def prove_application_name(self, session: AsyncSession) -> None:
        # The server keeps no attributes; what the driver sends can be seen on its side.
        assert session.conn._connect_attrs["program_name"] == "contract"

    async def prove_keepalive(self, session: AsyncSession) -> None:
        assert await session.value("SELECT 77") == 77  # the socket's options: in test_options.py

    async def prove_socket_timeout(self, session: AsyncSession) -> None:
        with pytest.raises(Exception, match=r"(?i)timeout") as caught:
            await session.value(self.blocking.endless)

        assert session.driver.is_disconnect(caught.value)
        assert not session.driver.is_cancelled(caught.value)


class AioMySQL(_MySQL):
    """aiomysql."""

    name = package = "aiomysql"
    scheme = "mysql+aiomysql"

    async def connect(self) -> Any:
        import aiomysql  # noqa: PLC0415

        arguments = self.blocking.arguments()  # type: ignore[attr-defined]
        return await aiomysql.connect(db=arguments.pop("database"), **arguments)


class AsyncMy(_MySQL):
    """asyncmy."""

    name = package = "asyncmy"
    is_timeout = False  # its errors are C structs
    scheme = "mysql+asyncmy"

    async def connect(self) -> Any:
        import asyncmy  # noqa: PLC0415

        return await asyncmy.connect(**self.blocking.arguments())  # type: ignore[attr-defined]


class AioSqlite(AsyncCase):
    """aiosqlite."""

    name = package = "aiosqlite"
    scheme = "sqlite"
    twin = embedded.Sqlite3
    waiting = embedded.Sqlite3.endless.replace("10000000000", "300000")
    closed = "(?i)closed|no active connection"

    async def connect(self) -> Any:
        import aiosqlite  # noqa: PLC0415

        return await aiosqlite.connect(self.blocking.path, timeout=0.0)  # type: ignore[attr-defined]

    async def rows(self, conn: Any, query: str) -> Any:
        async with conn.execute(query) as cursor:
            return await cursor.fetchall()

    async def conflict(self) -> BaseException:
        async with self.open(by_callable=True) as first, self.open(by_callable=True) as second:
            await first.driver.begin(first.conn, read_only=False)
            with pytest.raises(Exception, match="locked") as caught:
                await second.driver.begin(second.conn, read_only=False)
        return caught.value

    async def prove_isolation_level(self, session: AsyncSession) -> None:
        await session.run("CREATE TABLE hidden (n INTEGER)")
        await session.driver.commit(session.conn)
        await session.driver.begin(session.conn)
        await session.run("INSERT INTO hidden VALUES (1)")
        async with self.open(isolation_level=self.blocking.level) as other:
            assert await other.value("SELECT count(*) FROM hidden") == 0


CASES: list[type[AsyncCase]] = [AioMySQL, AioSqlite, AsyncMy, Asyncpg, Psycopg]


def in_a_session(
    test: Callable[[AsyncCase, AsyncSession], Awaitable[None]],
) -> Callable[[AsyncCase], None]:
    """Make a test of a coroutine function, which is run with a driver and an open session."""

    def run(case: AsyncCase) -> None:
        async def body(session: AsyncSession) -> None:
            await test(case, session)

        case.run(body)

    # Not functools.wraps: pytest would look for a fixture that is called session.
    run.__name__, run.__qualname__, run.__module__ = test.__name__, test.__qualname__, __name__
    return run
