"""What the doctor says about things that are in no source: servers, errors, loads, processes.

As everywhere in the doctor but in `millpond.doctor.ask`, data come in and findings go out.

    _server, _server_case       what a server told, and the pools before it
    _symptoms                   what a log says
    _load                       users and their queries, and the connections which they need
    _keywords                   a pool in words
    _running                    pools at work, as their process tells
    _advice                     what to set, in the pool's own words
    *_rules                     the rules
"""

from typing import Any, Final

from millpond.doctor._rules import Rules
from millpond.doctor.outside import (
    _load_rules,
    _running_connection_rules,
    _running_use_rules,
    _running_wait_rules,
    _server_bouncer_rules,
    _server_room_rules,
    _server_time_rules,
    _symptom_pool_rules,
    _symptom_session_rules,
    _symptom_timeout_rules,
    _symptom_transaction_rules,
)
from millpond.doctor.outside._keywords import read_keywords
from millpond.doctor.outside._load import Pattern, Workload
from millpond.doctor.outside._running import Fleet, RunningPool, configurations, read_document
from millpond.doctor.outside._server import ServerFacts
from millpond.doctor.outside._server_case import ServerCase, together
from millpond.doctor.outside._symptoms import Symptoms, read_errors, read_log

__all__ = [
    "MODULES",
    "Fleet",
    "Pattern",
    "RunningPool",
    "ServerCase",
    "ServerFacts",
    "Symptoms",
    "Workload",
    "configurations",
    "read_document",
    "read_errors",
    "read_keywords",
    "read_log",
    "together",
]

MODULES: Final[tuple[Rules[Any], ...]] = (
    _server_room_rules.RULES,
    _server_time_rules.RULES,
    _server_bouncer_rules.RULES,
    _symptom_pool_rules.RULES,
    _symptom_session_rules.RULES,
    _symptom_transaction_rules.RULES,
    _symptom_timeout_rules.RULES,
    _load_rules.RULES,
    _running_wait_rules.RULES,
    _running_use_rules.RULES,
    _running_use_rules.FLEET_RULES,
    _running_connection_rules.RULES,
)
"""The rules of this package."""
