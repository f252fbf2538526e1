"""Every argument of a pool is checked, and the error says what is allowed."""

from __future__ import annotations

import dataclasses
import inspect
import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import millpond
from configs import config_of, message_of
from millpond._config import MAX_SECONDS, VALIDATION_TIMEOUT, PoolConfig, check_timeout
from millpond.errors import PoolConfigError

TEN_YEARS = 10 * 365 * 86_400

# The durations: which of them may be None, and which may be 0.
DURATIONS = {
    "acquire_timeout": {"none", "zero"},
    "connect_timeout": {"none"},
    "idle_timeout": {"none"},
    "max_lifetime": {"none"},
    "fail_fast_after": {"none", "zero"},
    "validation_interval": {"none", "zero"},
    "validation_timeout": set(),
    "max_latency": {"none"},
    "leak_threshold": {"none"},
    "socket_timeout": {"none"},
    "statement_timeout": {"none"},
}
# The numbers: the smallest, the largest, and whether None is allowed.
NUMBERS = {
    "min_size": (0, 100_000, False),
    "max_size": (1, 100_000, False),
    "max_connecting": (1, 100_000, True),
    "max_uses": (1, 1_000_000_000, True),
    "max_waiting": (0, 1_000_000_000, True),
}
HOOKS = ["configure", "on_acquire", "on_release", "on_close"]

NOT_SECONDS = [
    -1,
    -0.001,
    math.nan,
    math.inf,
    -math.inf,
    TEN_YEARS + 1,
    10**400,
    True,
    "5",
    Decimal(5),
    timedelta(seconds=5),
    1j,
    [],
]
NOT_INTS = [1.0, "1", True, False, math.nan, [], 1j]


def test_the_defaults_are_those_of_the_pool() -> None:
    parameters = inspect.signature(millpond.Pool.__init__).parameters
    fields = dataclasses.asdict(PoolConfig())

    assert fields == {name: parameters[name].default for name in fields}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(PoolConfig)])
def test_no_argument_goes_unchecked(name: str) -> None:
    message = message_of(**{name: object()})

    assert message.startswith(f"{name}=<")
    assert ": must be " in message


@pytest.mark.parametrize("value", NOT_SECONDS, ids=repr)
@pytest.mark.parametrize("name", DURATIONS)
def test_a_duration_is_a_finite_number_of_seconds(name: str, value: object) -> None:
    message = message_of(**{name: value})

    assert message.startswith(f"{name}=")
    assert "must be seconds as an int or float" in message
    assert "at most 315360000 (10 years)" in message
    assert ("use None for" in message) == ("none" in DURATIONS[name])


@pytest.mark.parametrize("value", [0, 0.0, -0.0])
@pytest.mark.parametrize("name", DURATIONS)
def test_a_duration_of_zero_is_refused_where_it_makes_no_sense(name: str, value: float) -> None:
    if "zero" in DURATIONS[name]:
        assert getattr(config_of(**{name: value}), name) == 0.0
    else:
        assert "above 0" in message_of(**{name: value})


@pytest.mark.parametrize("name", DURATIONS)
def test_none_is_refused_where_there_must_be_a_limit(name: str) -> None:
    if "none" in DURATIONS[name]:
        assert getattr(config_of(**{name: None}), name) is None
    else:
        assert message_of(**{name: None}).startswith(f"{name}=None: must be seconds")


@pytest.mark.parametrize("name", DURATIONS)
def test_a_duration_may_be_an_int_and_is_kept_as_a_float(name: str) -> None:
    config = config_of(**{name: 3})

    assert getattr(config, name) == 3.0
    assert type(getattr(config, name)) is float


@pytest.mark.parametrize("name", DURATIONS)
def test_a_duration_may_be_as_long_as_ten_years(name: str) -> None:
    config = config_of(**{"acquire_timeout": None, name: TEN_YEARS})

    assert getattr(config, name) == MAX_SECONDS


@pytest.mark.parametrize("value", NOT_INTS, ids=repr)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_of_things_is_an_int(name: str, value: object) -> None:
    assert message_of(**{name: value}).startswith(f"{name}={value!r}: must be an int from ")


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_has_to_be_in_range(name: str) -> None:
    low, high, optional = NUMBERS[name]
    allowed = f"must be an int from {low} to {high}" + (", or None for no limit" * optional)

    for value in (low - 1, -(10**30), high + 1):
        assert message_of(**{name: value}) == f"{name}={value}: {allowed}"


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_may_be_at_either_end_of_its_range(name: str) -> None:
    low, high, _ = NUMBERS[name]

    assert getattr(config_of(**{name: low}), name) == low
    assert getattr(config_of(**{"max_size": 100_000, name: high}), name) == high


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_may_be_none_where_that_means_no_limit(name: str) -> None:
    if NUMBERS[name][2]:
        assert getattr(config_of(**{name: None}), name) is None
    else:
        assert message_of(**{name: None}).startswith(f"{name}=None: must be an int")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_size": 0}, "max_size=0: must be an int from 1 to 100000"),
        (
            {"reset": "full"},
            "reset='full': must be 'rollback' or 'session' or 'none' or a callable",
        ),
        ({"reset": None}, "reset=None: must be 'rollback' or 'session' or 'none' or a callable"),
        ({"policy": "lifo"}, "policy='lifo': must be 'fair' or 'throughput'"),
        ({"policy": ["fair"]}, "policy=['fair']: must be 'fair' or 'throughput'"),
        ({"policy": len}, "policy=<built-in function len>: must be 'fair' or 'throughput'"),
        ({"name": ""}, "name='': must be a non-empty str or None"),
        ({"name": "  "}, "name='  ': must be a non-empty str or None"),
        ({"name": b"orders"}, "name=b'orders': must be a non-empty str or None"),
        ({"driver": 5}, "driver=5: must be the name of a driver, a Driver or None"),
        ({"driver": ""}, "driver='': must be the name of a driver, a Driver or None"),
        (
            {"min_size": 20, "max_size": 10},
            "min_size=20, max_size=10: min_size must not be above max_size",
        ),
        (
            {"validate": ""},
            "validate='': must be a statement, a callable that takes the connection, or None",
        ),
        (
            {"max_latency": 3, "validation_timeout": 2},
            (
                "max_latency=3.0, validation_timeout=2.0: "
                "max_latency must not be above validation_timeout"
            ),
        ),
        ({"min_size": 11}, "min_size=11, max_size=10: min_size must not be above max_size"),
        (
            {"validation_timeout": 2, "acquire_timeout": 1},
            (
                "validation_timeout=2.0, acquire_timeout=1.0: "
                "validation_timeout must not be above acquire_timeout"
            ),
        ),
    ],
)
def test_the_message_names_parameter_value_and_what_is_allowed(
    arguments: dict[str, Any], message: str
) -> None:
    assert message_of(**arguments) == message


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_a_callable_or_none(hook: str) -> None:
    assert getattr(config_of(**{hook: print}), hook) is print
    assert getattr(config_of(**{hook: None}), hook) is None
    assert message_of(**{hook: "print"}) == (
        f"{hook}='print': must be a callable that takes the connection, or None"
    )


@pytest.mark.parametrize("value", [[("password", "hunter2")], {1: "hunter2"}, "hunter2"])
def test_the_message_about_connect_kwargs_never_shows_a_value(value: object) -> None:
    message = message_of(connect_kwargs=value)

    assert "must be a mapping with str keys, or None" in message
    assert "hunter2" not in message


def test_the_repr_never_shows_connect_kwargs() -> None:
    assert "hunter2" not in repr(PoolConfig(connect_kwargs={"password": "hunter2"}))


def test_a_later_change_of_the_given_mapping_changes_nothing() -> None:
    given_mapping = {"autocommit": True}
    config = PoolConfig(connect_kwargs=given_mapping)

    given_mapping.clear()

    assert config.connect_kwargs == {"autocommit": True}


def test_a_very_long_value_is_cut() -> None:
    assert len(message_of(policy="x" * 10_000)) < 150


@pytest.mark.parametrize(
    ("acquire_timeout", "expected"),
    [(1.0, 1.0), (0.1, 0.1), (5.0, 5.0), (30.0, 5.0), (None, 5.0), (0, 5.0)],
)
def test_validation_timeout_follows_a_shorter_acquire_timeout(
    acquire_timeout: float | None, expected: float
) -> None:
    unset = PoolConfig(acquire_timeout=acquire_timeout)
    default = PoolConfig(acquire_timeout=acquire_timeout, validation_timeout=VALIDATION_TIMEOUT)

    assert unset.validation_timeout == expected
    assert default.validation_timeout == expected
    assert type(unset.validation_timeout) is float


@pytest.mark.parametrize(
    ("acquire_timeout", "expected"),
    [(1.0, 1.0), (5.0, 5.0), (30.0, 5.0), (None, 5.0), (0, 5.0)],
)
def test_failing_fast_begins_after_a_shorter_acquire_timeout(
    acquire_timeout: float | None, expected: float
) -> None:
    unset = PoolConfig(acquire_timeout=acquire_timeout)
    given = PoolConfig(acquire_timeout=acquire_timeout, fail_fast_after=7)

    assert unset.fail_fast_after == expected
    assert given.fail_fast_after == 7.0


def test_a_latency_is_no_contradiction_of_a_timeout_that_nobody_gave() -> None:
    assert PoolConfig(max_latency=30).max_latency == 30.0


def test_a_validation_timeout_that_was_given_does_not_follow() -> None:
    assert "validation_timeout=5.0" in message_of(validation_timeout=5.0, acquire_timeout=1.0)


@pytest.mark.parametrize("acquire_timeout", [None, 0])
def test_a_validation_timeout_contradicts_only_an_acquire_timeout_that_waits(
    acquire_timeout: float | None,
) -> None:
    config = PoolConfig(acquire_timeout=acquire_timeout, validation_timeout=60)

    assert config.validation_timeout == 60.0


@pytest.mark.parametrize(
    "arguments",
    [
        {"connect_timeout": 60.0, "acquire_timeout": 1.0},
        {"idle_timeout": 7200.0, "max_lifetime": 3600.0},
        {"min_size": 10, "max_size": 10},
        {"validation_timeout": 1.0, "acquire_timeout": 1.0},
        {"reset": print},
        {"validate": "SELECT 1", "validation_interval": 0},
        {"max_connecting": None, "fail_fast_after": None},
        {"reset": "none", "policy": "throughput", "name": "orders", "driver": "psycopg"},
    ],
)
def test_unusual_but_sensible_arguments_are_accepted(arguments: dict[str, Any]) -> None:
    config = config_of(**arguments)

    for name, value in arguments.items():
        assert getattr(config, name) == value


def test_a_configuration_cannot_be_changed() -> None:
    config: Any = PoolConfig()

    with pytest.raises(dataclasses.FrozenInstanceError):
        config.max_size = 20


def test_resized_changes_the_sizes_that_are_given() -> None:
    config = PoolConfig(min_size=2, max_size=4, name="orders", acquire_timeout=1.0)

    assert config.resized(max_size=8) == dataclasses.replace(config, max_size=8)
    assert config.resized(min_size=0) == dataclasses.replace(config, min_size=0)
    assert config.resized() == config


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"max_size": 1}, "min_size=2, max_size=1: min_size must not be above max_size"),
        ({"min_size": 5}, "min_size=5, max_size=4: min_size must not be above max_size"),
        ({"max_size": 0}, "max_size=0: must be an int from 1 to 100000"),
        ({"min_size": -1}, "min_size=-1: must be an int from 0 to 100000"),
        ({"max_size": True}, "max_size=True: must be an int from 1 to 100000"),
    ],
)
def test_resized_checks_like_the_constructor(sizes: dict[str, Any], message: str) -> None:
    config = PoolConfig(min_size=2, max_size=4)

    with pytest.raises(PoolConfigError) as caught:
        config.resized(**sizes)

    assert str(caught.value) == message


@pytest.mark.parametrize(("timeout", "expected"), [(None, None), (0, 0.0), (2, 2.0), (0.5, 0.5)])
def test_the_timeout_of_a_call_is_seconds_or_none(
    timeout: float | None, expected: float | None
) -> None:
    assert check_timeout(timeout) == expected


@pytest.mark.parametrize("timeout", NOT_SECONDS, ids=repr)
def test_the_timeout_of_a_call_is_checked_like_the_others(timeout: object) -> None:
    with pytest.raises(PoolConfigError, match=r"^timeout=.*use None for no limit"):
        check_timeout(timeout)


@given(st.floats() | st.integers() | st.none() | st.booleans() | st.text())
def test_a_timeout_is_either_refused_or_within_its_limits(timeout: object) -> None:
    try:
        seconds = check_timeout(timeout)
    except PoolConfigError:
        return

    assert seconds is None or 0 <= seconds <= TEN_YEARS
