"""Pools given as TOML.

    [pool]                                # or [[pool]], once for each
    kind = "millpond.Pool"                # the default; any other of `Kind`
    connect = "postgresql://db/orders"
    max_size = 20
    acquire_timeout = "none"              # None, which TOML has not

The keys are the keywords of the pool's constructor; ``preset = "RECOMMENDED"`` is
``**presets.RECOMMENDED``.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, get_args

from millpond import presets
from millpond.doctor._calls import DEFAULTS
from millpond.doctor._findings import Place
from millpond.doctor._options import Insertion, Kind, Option, PoolOptions
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["pools_of_toml"]

_KINDS: Final = get_args(Kind)
_PRESETS: Final = ("AGGRESSIVE", "CONSERVATIVE", "RECOMMENDED")
# These have a "none" of their own.
_WORDS: Final = frozenset({"reset", "pool_reset_on_return"})
_HEAD: Final = re.compile(r"\s*\[\[?\s*pool\s*\]\]?\s*(#.*)?$")
_OTHER_HEAD: Final = re.compile(r"\s*\[")
_KEY: Final = re.compile(r"""\s*["']?(?P<key>[\w.-]+)["']?\s*=\s*(?P<value>.*?)\s*(#.*)?$""")


def pools_of_toml(file: str, text: str) -> list[PoolOptions]:
    """Return the configuration of each ``[pool]`` or ``[[pool]]`` of a TOML file.

    Args:
        file: Its name, as it is shown.
        text: What is in it.

    Raises:
        PoolConfigError: It is no TOML, or a table is not the configuration of a pool.
    """
    try:
        found = tomllib.loads(text).get("pool", [])
    except tomllib.TOMLDecodeError as error:
        msg = f"{file}: is not valid TOML: {error}"
        raise PoolConfigError(msg) from None
    tables = found if isinstance(found, list) else [found]
    lines = list(_sections(text))
    return [
        _options(file, table, lines[number] if number < len(lines) else [])
        for number, table in enumerate(tables)
    ]


def _sections(text: str) -> Iterator[list[tuple[int, str]]]:
    """Return the numbered lines of each table named ``pool``."""
    section: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if _OTHER_HEAD.match(line):
            if section:
                yield section
            section = [(number, line)] if _HEAD.match(line) else []
        elif section:
            section.append((number, line))
    if section:
        yield section


def _options(file: str, table: object, lines: list[tuple[int, str]]) -> PoolOptions:
    if not isinstance(table, dict):
        msg = f"{file}: pool={table!r}: must be a table, [pool], or several, [[pool]]"
        raise PoolConfigError(msg)
    kind = table.get("kind", "millpond.Pool")
    if kind not in _KINDS:
        msg = f"{file}: kind={kind!r}: must be {' or '.join(map(repr, _KINDS))}"
        raise PoolConfigError(msg)
    head = Place(file, lines[0][0], lines[0][1]) if lines else Place(file)
    options = _preset(file, table.get("preset"), head)
    for name, value in table.items():
        if name not in {"kind", "preset"}:
            options[name] = _option(file, name, value, lines, head)
    return PoolOptions(
        kind=kind,
        options=options,
        defaults=DEFAULTS[kind],
        place=head,
        name=str(table.get("name", "")),
        insertion=Insertion("", None, form="{} = {}"),
    )


def _preset(file: str, name: object, place: Place) -> dict[str, Option]:
    if name is None:
        return {}
    if name not in _PRESETS:
        msg = f"{file}: preset={name!r}: must be {' or '.join(map(repr, _PRESETS))}"
        raise PoolConfigError(msg)
    values = getattr(presets, str(name))
    return {key: Option(value, place, from_preset=True) for key, value in values.items()}


def _option(
    file: str, name: str, value: object, lines: list[tuple[int, str]], head: Place
) -> Option:
    given: Any = None if value == "none" and name not in _WORDS else value
    url = given if isinstance(given, str) and "://" in given else ""
    for number, line in lines:
        found = _KEY.match(line)
        if found and found["key"] == name:
            place = Place(file, number, line)
            return Option(given, place, known_url=url, segment=found.span("value"))
    return Option(given, head, known_url=url)
