"""What ``millpond doctor`` is told beside files: servers, loads, errors, processes.

Everything becomes a subject of the doctor's rules, together with the pools that the files have.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import typer

from millpond.cli._options import blaming
from millpond.doctor import PoolOptions
from millpond.doctor.ask import ServerUnreachable, ask, ask_process
from millpond.doctor.outside import (
    Fleet,
    Pattern,
    RunningPool,
    Symptoms,
    Workload,
    configurations,
    read_errors,
    read_keywords,
    read_log,
    together,
)

__all__ = ["Arrivals", "Outside"]

# What asks for the URL in the environment variable of this name.
_ENVIRONMENT = "env"
_VARIABLE = "DATABASE_URL"


class Arrivals(Enum):
    """How users come, as an option has it."""

    STEADY = "steady"
    BURSTY = "bursty"


@dataclass(frozen=True)
class Outside:
    """The options of the command that are about something else than files.

    Attributes:
        pool: Keywords of a pool, as in a call.
        server: The URL of the server, or ``"env"``.
        workers: Processes, ``None`` if not said.
        users: Users at the same time.
        query: Seconds for which a connection is held.
        think: Seconds between two of them.
        pattern: How users come.
        http_timeout: Seconds for which they wait.
        errors: A text, or ``@`` and the name of a file.
        processes: URLs or files of ``/pool.json``.
    """

    pool: str | None = None
    server: str | None = None
    workers: int | None = None
    users: int | None = None
    query: float | None = None
    think: float = 1.0
    pattern: Pattern = "steady"
    http_timeout: float | None = None
    errors: str | None = None
    processes: tuple[str, ...] = ()

    @property
    def is_all(self) -> bool:
        """Whether there is something to look at without any file."""
        said = (self.pool, self.server, self.users, self.query, self.errors)
        return any(each is not None for each in said) or bool(self.processes)

    def subjects(self, found: Sequence[object]) -> list[object]:
        """Return what there is to look at, beside what was found in files.

        Args:
            found: The subjects from files. Their pools are those that the rest is about.

        Raises:
            typer.BadParameter: An option's value is not allowed, or nobody answers.
        """
        own = self._own_pools()
        running = self._running()
        read = [each for each in found if isinstance(each, PoolOptions)]
        # Pools that are in files are known better from there.
        told = [] if read or own else configurations(running)
        subjects: list[object] = [*own, *told, *running]
        if len({pool.where for pool in running}) > 1:
            subjects.append(Fleet(tuple(running)))
        pools = (*read, *own, *(told if self.workers is None else _of_one(running, told)))
        load = self._load(pools)
        subjects += [] if load is None else [load]
        subjects += self._symptoms(pools, load)
        subjects += self._server(pools)
        return subjects

    def _own_pools(self) -> list[PoolOptions]:
        with blaming("'--pool'"):
            return [] if self.pool is None else [read_keywords(self.pool)]

    def _running(self) -> list[RunningPool]:
        with blaming("'--process'"):
            return [pool for source in self.processes for pool in ask_process(source)]

    def _load(self, pools: tuple[PoolOptions, ...]) -> Workload | None:
        if self.users is None and self.query is None:
            return None
        if self.users is None or self.query is None:
            message = "--users and --query-ms belong together: how many, and how long a query takes"
            raise typer.BadParameter(message)
        load = Workload(
            users=self.users,
            query_time=self.query,
            think_time=self.think,
            pattern=self.pattern,
            workers=self.workers or 1,
            pools=pools,
            http_timeout=self.http_timeout,
        )
        with blaming("'--users'"):
            _ = load.sizing
        return load

    def _symptoms(self, pools: tuple[PoolOptions, ...], load: Workload | None) -> list[Symptoms]:
        if self.errors is None:
            return []
        with blaming("'--errors'"):
            is_file = self.errors.startswith("@")
            log = read_log(Path(self.errors[1:])) if is_file else read_errors(self.errors)
        needed = None if load is None else load.sizing.size
        return [replace(log, pools=pools, needed=needed, workers=self.workers or 1)]

    def _server(self, pools: tuple[PoolOptions, ...]) -> list[object]:
        if self.server is None:
            return []
        url = os.environ.get(_VARIABLE, "") if self.server == _ENVIRONMENT else self.server
        if not url:
            message = f"{_VARIABLE} is not set, which --server {_ENVIRONMENT} asks for"
            raise typer.BadParameter(message)
        workers = self.workers or 1
        try:
            with blaming("'--server'"):
                facts = ask(url)
        except ServerUnreachable as error:
            # Why it does not let us in is what somebody wants to know.
            symptoms = replace(read_errors(str(error)), pools=pools, workers=workers)
            if symptoms.counts:
                return [symptoms]
            raise typer.BadParameter(str(error), param_hint="'--server'") from None
        return [together(facts, pools, workers=workers, http_timeout=self.http_timeout)]


def _of_one(running: Sequence[RunningPool], told: list[PoolOptions]) -> list[PoolOptions]:
    """Return the pools of the first process: the others are alike, and counted as workers."""
    first = [pool for pool in running if pool.where == running[0].where]
    return configurations(first) if told else []
