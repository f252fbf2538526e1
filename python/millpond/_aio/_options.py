"""The keywords of `AsyncPool`, for type checkers. `PoolConfig` has the defaults and the checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypedDict, TypeVar

if TYPE_CHECKING:
    from millpond._core import ManualClock
    from millpond.drivers.aio import AsyncDriver
    from millpond.errors import PoolError

C = TypeVar("C")

Hook: TypeAlias = Callable[[C], Awaitable[object] | object]


class AsyncPoolOptions(TypedDict, Generic[C], total=False):
    """See `AsyncPool`."""

    min_size: int
    max_size: int
    acquire_timeout: float | None
    connect_timeout: float | None
    max_connecting: int | None
    fail_fast_after: float | None
    idle_timeout: float | None
    max_lifetime: float | None
    max_uses: int | None
    max_waiting: int | None
    validation_interval: float | None
    validation_timeout: float
    max_latency: float | None
    reset: str | Hook[C]
    leak_threshold: float | None
    policy: str
    name: str | None
    driver: str | AsyncDriver[C] | None
    connect_kwargs: Mapping[str, Any] | None
    socket_timeout: float | None
    statement_timeout: float | None
    keepalive: bool | float | None
    application_name: str | None
    autocommit: bool | None
    isolation_level: str | None
    read_only: bool | None
    session: str | Sequence[str]
    profile: str | None
    configure: Hook[C] | None
    validate: str | Hook[C] | None
    on_acquire: Hook[C] | None
    on_release: Hook[C] | None
    on_exhausted: str | Callable[[PoolError], Any]
    shed: bool
    on_close: Hook[C] | None
    _clock: ManualClock | None
