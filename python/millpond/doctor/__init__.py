"""Reads how a pool is configured and used, and says what will hurt.

Nothing here runs the program that is looked at, or needs a pool: data come in and findings go out.
Only `ask` connects to anything.

    _findings       Finding, and what a rule yields
    _rules          what a rule is; its docstring is its page
    _options        the configuration of a pool, whoever's it is
    _registry       the list of all rules
    _engine         subjects in, findings out
    *_rules         the rules, by what they are about
    outside         rules about what is in no source: servers, errors, loads, processes
    ask             asks servers and processes
"""

from millpond.doctor._engine import Selection, examine
from millpond.doctor._findings import SEVERITIES, Change, Finding, Place, Remark, Severity
from millpond.doctor._options import UNKNOWN, Option, PoolOptions
from millpond.doctor._project import read_config, read_paths
from millpond.doctor._registry import RULES
from millpond.doctor._rules import Rule, Rules

__all__ = [
    "RULES",
    "SEVERITIES",
    "UNKNOWN",
    "Change",
    "Finding",
    "Option",
    "Place",
    "PoolOptions",
    "Remark",
    "Rule",
    "Rules",
    "Selection",
    "Severity",
    "examine",
    "read_config",
    "read_paths",
]
