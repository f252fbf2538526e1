"""The presets are valid, read-only and what the documentation says."""

from __future__ import annotations

from typing import Any

import pytest

from millpond import presets
from millpond._config import PoolConfig

PRESETS: dict[str, Any] = {
    "conservative": presets.CONSERVATIVE,
    "recommended": presets.RECOMMENDED,
    "aggressive": presets.AGGRESSIVE,
}
SECONDS = {
    "connect_timeout": (10.0, 5.0, 1.0),
    "acquire_timeout": (5.0, 1.0, 0.1),
    "idle_timeout": (3600.0, 600.0, 30.0),
    "max_lifetime": (86_400.0, 3600.0, 1800.0),
}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_makes_a_valid_configuration(preset: Any) -> None:
    config = PoolConfig(**preset)

    for name, seconds in preset.items():
        assert getattr(config, name) == seconds


@pytest.mark.parametrize("name", SECONDS)
def test_a_preset_has_the_seconds_of_the_decision_table(name: str) -> None:
    assert tuple(preset[name] for preset in PRESETS.values()) == SECONDS[name]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_sets_nothing_else(preset: Any) -> None:
    assert preset.keys() == SECONDS.keys()


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_is_read_only(preset: Any) -> None:
    with pytest.raises(TypeError):
        preset["idle_timeout"] = 1.0


def test_one_value_of_a_preset_can_be_replaced() -> None:
    config = PoolConfig(**(presets.AGGRESSIVE | {"idle_timeout": 60.0}))

    assert (config.idle_timeout, config.acquire_timeout) == (60.0, 0.1)
