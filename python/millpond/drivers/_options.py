"""What a pool is asked for, beside what its driver can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from millpond.drivers._session import AT_CONNECT, DEFAULTS, SessionOptions
from millpond.drivers._traits import Traits
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Capable(Protocol):
    """What both kinds of drivers have, and this file needs."""

    @property
    def name(self) -> str:
        """The name for messages."""

    @property
    def supports(self) -> frozenset[str]:
        """What the driver can do."""


# No feature is needed.
NOTHING: Final[Mapping[str, str]] = {}


def check_callable(driver: Capable, options: SessionOptions) -> None:
    """Refuse the options that only connecting can carry out.

    Args:
        driver: The driver, as far as it is known yet.
        options: What was asked for, together with a callable.

    Raises:
        PoolConfigError: The callable has to do it.
    """
    late = driver.only_at_connect if isinstance(driver, Traits) else AT_CONNECT
    for name, value in options.given().items():
        if name in late:
            msg = f"{_said(name, value)}: only with a URL; a callable has to see to it by itself"
            raise PoolConfigError(msg)


def check_supported(
    driver: Capable,
    options: SessionOptions = DEFAULTS,
    needs: Mapping[str, str] = NOTHING,
) -> None:
    """Refuse what the driver cannot do.

    Args:
        driver: The driver.
        options: What the sessions are to be like.
        needs: By the name of each feature that is needed, what the user gave to ask for it, such as
            ``"reset='session'"``.

    Raises:
        PoolConfigError: The driver cannot do it. The message has name, value and driver.
    """
    asked = {name: _said(name, value) for name, value in options.given().items()}
    asked |= needs
    reasons = driver.why_not if isinstance(driver, Traits) else NOTHING
    for name, said in asked.items():
        if name not in driver.supports:
            raise _refusal(driver, said, reasons.get(name))
    if not isinstance(driver, Traits):
        return
    if options.isolation_level is not None:
        driver.check_isolation("isolation_level", options.isolation_level)
    for name, reason in driver.cannot(options).items():
        if name in asked:
            raise _refusal(driver, asked[name], reason)


def _said(name: str, value: object) -> str:
    # A statement may hold a password.
    shown = f"<{len(value)} statements>" if isinstance(value, tuple) else repr(value)
    return f"{name}={shown}"


def _refusal(driver: Capable, said: str, reason: str | None) -> PoolConfigError:
    explained = f": {reason}" if reason else ""
    return PoolConfigError(f"{said}: not possible with the driver {driver.name}{explained}")
