"""The arguments of a pool as plain values, for whoever wants to see how it is set up.

Nobody who may read this is meant to read passwords, so what might hold one is shown as ``***``.
"""

from __future__ import annotations

import math
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from millpond.drivers import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millpond._config import PoolConfig

HIDDEN: Final = "***"

_SECRET: Final = re.compile("passw|passphrase|pwd|secret|token|key|credential", re.IGNORECASE)


def options(config: PoolConfig, driver: object) -> dict[str, Any]:
    """Return the arguments of a pool by their names, ready for JSON.

    Args:
        config: The arguments, checked.
        driver: The pool's driver.

    Returns:
        Callables by their qualified names, ``connect`` as its URL without a password. Of
        `connect_kwargs` only the numbers are shown, of `session` only the first words.
    """
    plain = {one.name: _plain(getattr(config, one.name)) for one in fields(config)}
    return {
        "connect": redact(str(getattr(driver, "target", None) or type(driver).__name__)),
        **plain,
        "driver": str(getattr(driver, "name", "")) or type(driver).__name__,
        "connect_kwargs": _hidden(config.connect_kwargs),
        "session": [f"{statement.split()[0]} {HIDDEN}" for statement in config.session],
    }


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not callable(value):
        return f"<{type(value).__name__}>"
    module = getattr(value, "__module__", None) or type(value).__module__
    return f"{module}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _hidden(arguments: Mapping[str, Any] | None) -> dict[str, object] | None:
    if arguments is None:
        return None
    return {name: HIDDEN if _may_hide(name, one) else one for name, one in arguments.items()}


def _may_hide(name: str, value: object) -> bool:
    # Infinity and NaN are no JSON.
    is_plain = value is None or (isinstance(value, (int, float)) and math.isfinite(value))
    return not is_plain or _SECRET.search(name) is not None
