"""All rules. A module of rules is made known by its line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from millpond.doctor import (
    _async_rules,
    _creation_rules,
    _dbutils_rules,
    _django_rules,
    _file_rules,
    _holding_rules,
    _order_rules,
    _return_rules,
    _session_rules,
    _size_rules,
    _sqlalchemy_rules,
    _time_rules,
    _work_rules,
    outside,
)

if TYPE_CHECKING:
    from millpond.doctor._rules import Rule, Rules

__all__ = ["RULES"]

_MODULES: Final[tuple[Rules[Any], ...]] = (
    _file_rules.RULES,
    _time_rules.RULES,
    _order_rules.RULES,
    _session_rules.RULES,
    _size_rules.RULES,
    _sqlalchemy_rules.RULES,
    _sqlalchemy_rules.PROJECT_RULES,
    _dbutils_rules.RULES,
    _django_rules.RULES,
    _django_rules.PROJECT_RULES,
    _creation_rules.RULES,
    _return_rules.RULES,
    _holding_rules.RULES,
    _work_rules.RULES,
    _async_rules.RULES,
    _async_rules.PROJECT_RULES,
    *outside.MODULES,
)


def _by_code() -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for rule in (rule for rules in _MODULES for rule in rules):
        if rule.code in found:
            msg = f"two rules have the code {rule.code}"
            raise ValueError(msg)
        found[rule.code] = rule
    return dict(sorted(found.items()))


RULES: Final = _by_code()
"""Every rule by its code, in the order of the codes."""
