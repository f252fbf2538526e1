"""``--vary``: one parameter of the workload or of the pool takes several values, one at a time."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import typer

from millpond._config import PoolConfig
from millpond.cli._options import number
from millpond.cli.bench._workload import Workload
from millpond.errors import PoolConfigError

__all__ = ["POOL_PARAMETERS", "WORKLOAD_PARAMETERS", "Variation", "variation"]

_MOST_VALUES = 20

_Set = Callable[[Workload, Any], Workload]

WORKLOAD_PARAMETERS: Final[dict[str, tuple[Callable[[object], Any], _Set]]] = {
    "max_size": (number(int, 1, 1000), lambda workload, value: replace(workload, size=value)),
    "threads": (number(int, 1, 1000), lambda workload, value: replace(workload, threads=value)),
    "tasks": (number(int, 1, 10_000), lambda workload, value: replace(workload, threads=value)),
    "hold_ms": (
        number(float, 0.0, 60_000.0),
        lambda workload, value: replace(workload, hold=value / 1000.0),
    ),
}
"""What every pool can be measured with: how it is read, and what it makes of a workload."""

_NOT_VALUES = frozenset(
    [
        "max_size",
        "name",
        "driver",
        "connect_kwargs",
        "configure",
        "on_acquire",
        "on_release",
        "on_close",
    ]
)

POOL_PARAMETERS: Final = tuple(
    field.name for field in dataclasses.fields(PoolConfig) if field.name not in _NOT_VALUES
)
"""Keywords of `millpond.Pool` that can be written in a command line."""

_WORDS = {"none": None, "true": True, "false": False}


@dataclass(frozen=True)
class Variation:
    """One parameter and its values.

    Attributes:
        parameter: Its name.
        values: In the order they were given.
        workloads: One for each value.
    """

    parameter: str
    values: tuple[Any, ...]
    workloads: tuple[Workload, ...]

    @property
    def is_for_all(self) -> bool:
        """Whether other pools can be measured with it as well."""
        return self.parameter in WORKLOAD_PARAMETERS


def variation(text: str, base: Workload) -> Variation:
    """Read ``parameter=value,value,...`` against the workload that it varies.

    Raises:
        typer.BadParameter: It has another form, there is no such parameter, or a value is not
            allowed. The message says what is.
    """
    name, equals, rest = text.partition("=")
    texts = [value.strip() for value in rest.split(",")]
    if not equals or not all(texts):
        message = f"{text!r} has another form; allowed: parameter=value,value,..."
        raise _refused(message)
    if len(texts) > _MOST_VALUES:
        raise _refused(_too_many(text))
    other = "threads" if base.tasks else "tasks"
    if name in WORKLOAD_PARAMETERS and name != other:
        read, put = WORKLOAD_PARAMETERS[name]
        values = [_read(text, read, value) for value in texts]
        return _variation(text, name, values, [put(base, value) for value in values])
    if name in POOL_PARAMETERS:
        pairs = [_with_option(base, text, name, value) for value in texts]
        return _variation(text, name, [value for value, _ in pairs], [each for _, each in pairs])
    allowed = ", ".join(
        (*(each for each in WORKLOAD_PARAMETERS if each != other), *POOL_PARAMETERS)
    )
    message = f"{text!r}: there is no parameter {name!r} to vary; allowed: {allowed}"
    raise _refused(message)


def _variation(
    text: str, name: str, values: Sequence[Any], workloads: Sequence[Workload]
) -> Variation:
    # 1 and 1.0 are the same; true is not 1.
    if len({(isinstance(value, bool), value) for value in values}) < len(values):
        raise _refused(_too_many(text))
    return Variation(name, tuple(values), tuple(workloads))


def _too_many(text: str) -> str:
    return f"{text!r} is not allowed; allowed: up to {_MOST_VALUES} values, each once"


def _read(text: str, read: Callable[[object], Any], value: str) -> Any:  # noqa: ANN401 - a number
    try:
        return read(value)
    except typer.BadParameter as error:
        message = f"{text!r}: {error.message}"
        raise _refused(message) from None


def _literal(text: str) -> Any:  # noqa: ANN401 - what the pool will be given
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _with_option(base: Workload, text: str, name: str, told: str) -> tuple[Any, Workload]:
    """Return a value as the pool takes it, and the workload with it."""
    known: dict[str, Any] = {"max_size": base.size, "acquire_timeout": base.patience}
    refused = None
    # A word is itself where its meaning is not allowed: reset=none.
    for value in (_literal(told), told):
        options = {**base.options, name: value}
        try:
            PoolConfig(**known | options)
        except PoolConfigError as error:
            refused = refused or error
        else:
            return value, replace(base, options=options)
    message = f"{text!r}: {refused}"
    raise _refused(message)


def _refused(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="'--vary'")
