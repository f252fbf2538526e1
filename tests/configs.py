"""Configurations made of arguments that a type checker would refuse."""

from __future__ import annotations

from typing import Any

import pytest

from millpond._config import PoolConfig
from millpond.errors import PoolConfigError


def config_of(**arguments: Any) -> PoolConfig:
    """Make a configuration."""
    return PoolConfig(**arguments)


def message_of(**arguments: Any) -> str:
    """Return what is said about arguments that are not valid."""
    with pytest.raises(PoolConfigError) as caught:
        PoolConfig(**arguments)
    return str(caught.value)
