"""Rules about options that contradict each other."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from millpond._config import PoolConfig
from millpond.doctor._findings import Remark
from millpond.doctor._options import UNKNOWN, PoolOptions
from millpond.doctor._rules import Rules
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]

RULES: Final = Rules(PoolOptions)

# A hanging connect that outlives so many generations of callers. AGGRESSIVE has exactly ten.
_MUCH_LONGER: Final = 10

# Options that contradict no other one, so that it does not matter what they are.
_FREE: Final = frozenset(
    {
        "application_name",
        "configure",
        "connect_kwargs",
        "driver",
        "name",
        "on_acquire",
        "on_close",
        "on_release",
        "session",
        "validate",
    }
)


@RULES.add("MP106", "warning", "timeouts are in the wrong order")
def wrong_order(options: PoolOptions) -> Iterator[Remark]:
    """One timeout makes another one useless, or makes it do harm.

    Timeouts are nested: what is inside has to end before what is around it. The server has to give
    up on a statement (`statement_timeout`) before the client gives up on the socket
    (`socket_timeout`): otherwise the connection is lost and the statement goes on. An idle
    connection has to be closed for idleness before it is closed for age. And where the caller
    itself connects, as with SQLAlchemy, connecting has to end before the wait for the pool does.

    At 3 a.m.: reports that take 20 s lose their connection after 10 s, are tried again, and the
    server runs each of them three times at once.

    Fix: `connect_timeout` and `acquire_timeout` of the same order, `statement_timeout` below
    `socket_timeout`, `idle_timeout` below `max_lifetime`.

    Before:
        pool = millpond.Pool(url, statement_timeout=30.0, socket_timeout=10.0)

    After:
        pool = millpond.Pool(url, statement_timeout=30.0, socket_timeout=35.0)
    """
    if options.is_millpond:
        yield from _of_millpond(options)
    if options.is_sqlalchemy:
        yield from _of_engine(options)


def _of_millpond(options: PoolOptions) -> Iterator[Remark]:
    statement, socket = options.number("statement_timeout"), options.number("socket_timeout")
    if statement is not None and socket is not None and socket < statement:
        yield Remark(
            message=f"socket_timeout={socket:g} is below statement_timeout={statement:g}: a slow "
            "statement costs the connection, and the server goes on with it",
            place=options.at("socket_timeout"),
            fix="let the server give up first",
            change=options.change("socket_timeout", f"{statement + 5:g}"),
            severity="error",
        )
    idle, lifetime = options.number("idle_timeout"), options.number("max_lifetime")
    if idle is not None and lifetime is not None and idle > lifetime:
        yield Remark(
            message=f"idle_timeout={idle:g} is above max_lifetime={lifetime:g} and never applies",
            place=options.at("idle_timeout" if options.given("idle_timeout") else "max_lifetime"),
            fix="let idle connections go before they are too old",
        )
    connect, acquire = options.number("connect_timeout"), options.number("acquire_timeout")
    given = options.given("connect_timeout") or options.given("acquire_timeout")
    if connect and acquire and given and connect > _MUCH_LONGER * acquire:
        yield Remark(
            message=f"connect_timeout={connect:g} is over ten times acquire_timeout={acquire:g}: "
            "a connect that hangs takes a place of the pool while generations of callers time out",
            place=options.at("connect_timeout"),
            fix="give up on a connect in about the time that callers wait",
            severity="info",
        )


def _of_engine(options: PoolOptions) -> Iterator[Remark]:
    arguments, wait = options.value("connect_args"), options.number("pool_timeout")
    connect = arguments.get("connect_timeout") if isinstance(arguments, dict) else None
    if isinstance(connect, (int, float)) and wait is not None and connect > wait:
        yield Remark(
            message=f"connect_timeout={connect:g} is above pool_timeout={wait:g}: whoever gets to "
            "connect hangs for longer than those who wait for a connection",
            place=options.at("connect_args"),
            fix="connect_timeout below pool_timeout",
        )


@RULES.add("MP107", "error", "millpond refuses these options")
def refused(options: PoolOptions) -> Iterator[Remark]:
    """The pool's constructor raises PoolConfigError, or TypeError for an unknown keyword.

    millpond checks every argument before it does anything, so the program does not start. The
    doctor says so before it is deployed.

    At 3 a.m.: the deployment is rolled out, no worker comes up, and the reason is one line in the
    middle of a traceback.

    Fix: what the message says.

    Before:
        pool = millpond.Pool(url, min_size=20, max_size=10)

    After:
        pool = millpond.Pool(url, min_size=10, max_size=20)
    """
    if not options.is_millpond:
        return
    known: dict[str, Any] = {}
    for name, option in options.options.items():
        if name == "connect" or name.isdecimal() or name.startswith("_"):
            continue
        if name not in PoolConfig.__dataclass_fields__:
            near = get_close_matches(name, PoolConfig.__dataclass_fields__, 1)
            yield Remark(
                message=f"{name}: there is no such option",
                place=option.place,
                fix=f"it may be {near[0]} that is meant" if near else "leave it out",
            )
        elif not _has_unknown(option.value):
            known[name] = option.value
        elif name not in _FREE:
            # It could be any value, and must not contradict another one.
            return
    if options.complete:
        yield from _tried(options, known)


def _tried(options: PoolOptions, known: dict[str, Any]) -> Iterator[Remark]:
    try:
        PoolConfig(**known)
    except PoolConfigError as error:
        named = next((name for name in known if str(error).startswith(f"{name}=")), "")
        yield Remark(
            message=str(error),
            place=options.at(named) if named else None,
            fix="give it a value that is allowed",
        )


def _has_unknown(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_unknown, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_unknown, value))
    return value is UNKNOWN
