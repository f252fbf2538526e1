"""An option that is in `supports` has its effect on the server; any other is refused."""

from __future__ import annotations

import socket
from dataclasses import fields
from typing import Any

import pytest

from drivers.aio.cases import AioMySQL, AsyncCase, AsyncMy, Asyncpg, AsyncSession
from drivers.contract.cases import FEATURES
from millpond.drivers import AT_CONNECT, ISOLATION_LEVELS, SessionOptions, aio
from millpond.errors import PoolConfigError

OPTIONS = sorted(field.name for field in fields(SessionOptions))


def driver_of(case: AsyncCase) -> Any:
    """Return the driver."""
    return aio.find(case.url)


def refusal(case: AsyncCase, **options: Any) -> str:
    """Return what is said about an option, before anybody gets a connection."""
    with pytest.raises(PoolConfigError) as caught:
        aio.find(case.url, options=SessionOptions(**options))
    return str(caught.value)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_has_its_effect_or_is_refused(
    case: AsyncCase, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = case.values()[option]
    if option not in driver_of(case).supports:
        message = refusal(case, **{option: value})
        assert message.startswith(f"{option}={value!r}: not possible with the driver {case.name}")
        return
    kept = socket_options(monkeypatch)

    async def body(session: AsyncSession) -> None:
        await case.prove(option, session)

    case.run(body, **{option: value})
    # A Unix socket has none.
    if option == "keepalive" and case.name != "psycopg" and "?host=/" not in case.url:
        assert (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77) in kept


@pytest.mark.server
@pytest.mark.parametrize("kind", [AioMySQL, AsyncMy, Asyncpg], ids=lambda kind: kind.name)
def test_keepalive_on_a_connection_that_is_lost_already_says_so(
    make: Any, kind: type[AsyncCase]
) -> None:
    case = make(kind)

    async def body(session: AsyncSession) -> None:
        session.driver.abort(session.conn)
        with pytest.raises(ConnectionError, match="the server hung up") as caught:
            await session.driver.prepare(session.conn, SessionOptions(keepalive=True))
        assert session.driver.is_transient(caught.value)

    case.run(body)


def socket_options(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Return a list to which what is said to sockets will be added, but not by libpq."""
    kept: list[tuple[int, int, int]] = []

    class Socket(socket.socket):
        """One that remembers its options."""

        def setsockopt(self, *args: Any) -> None:
            """Note, and do it."""
            kept.append(args)
            super().setsockopt(*args)

    monkeypatch.setattr("millpond.drivers._sockets.socket.socket", Socket)
    return kept


@pytest.mark.parametrize("option", OPTIONS)
def test_a_connection_of_a_callable_gets_its_options_from_the_pool(
    case: AsyncCase, option: str
) -> None:
    value = case.values()[option]
    driver = driver_of(case)
    if option in driver.only_at_connect:
        with pytest.raises(PoolConfigError, match="only with a URL; a callable has to see to it"):
            aio.find(case.connect, driver=case.name, options=SessionOptions(**{option: value}))
    elif option in driver.supports:

        async def body(session: AsyncSession) -> None:
            await case.prove(option, session)

        if option != "profile" or case.name != "asyncpg":  # the callable has its own cache
            case.run(body, by_callable=True, **{option: value})


def test_all_options_can_be_had_together(case: AsyncCase) -> None:
    together = driver_of(case).supports - FEATURES - {"profile"}
    values = {name: value for name, value in case.values().items() if name in together}

    async def body(session: AsyncSession) -> None:
        assert session.is_clean()
        await case.prove_session(session)

    case.run(body, **values)


def test_supports_names_options_and_features_and_nothing_else(case: AsyncCase) -> None:
    assert driver_of(case).supports <= {*OPTIONS, *FEATURES}
    assert driver_of(case).only_at_connect >= AT_CONNECT


def test_a_level_that_the_driver_does_not_have_is_refused(case: AsyncCase) -> None:
    driver = driver_of(case)
    for level in [*(set(ISOLATION_LEVELS) - driver.isolation_levels), "chaos"]:
        assert refusal(case, isolation_level=level).startswith(f"isolation_level={level!r}: ")


def test_autocommit_false_rolls_back_what_was_not_committed(case: AsyncCase) -> None:
    if not case.implicit:
        assert "autocommit=False: not possible" in refusal(case, autocommit=False)
        return

    async def body(session: AsyncSession) -> None:
        await session.run("CREATE TEMPORARY TABLE auto (n INTEGER)")
        await session.driver.commit(session.conn)
        await session.run("INSERT INTO auto VALUES (1)")
        await session.driver.reset(session.conn)

        assert await session.value("SELECT count(*) FROM auto") == 0

    case.run(body, autocommit=False)


def test_a_statement_of_the_session_that_fails_is_the_error_of_the_connection(
    case: AsyncCase,
) -> None:
    async def never(session: AsyncSession) -> None:
        pytest.fail(f"{session} should not have been opened")

    with pytest.raises(Exception, match=r"(?i)syntax") as caught:
        case.run(never, session=(case.blocking.not_a_statement,))

    assert not driver_of(case).is_transient(caught.value)
