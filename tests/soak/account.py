"""What happened during a soak, counted: answers, errors, faults, and the time without answers."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

# As long as answers come faster than this, the database is available.
AVAILABLE: Final = 0.25


@dataclass
class Fault:
    """One fault: what, from when to when, and what it cost."""

    name: str
    began: float
    ended: float = 0.0
    errors: int = 0


@dataclass
class Account:
    """The books of one soak. All times are `time.monotonic()`."""

    began: float = field(default_factory=time.monotonic)
    requests: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    borrowed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, request: str) -> None:
        """Note that a request got what it wanted."""
        with self._lock:
            self.requests[request] += 1
            self.answers.append(time.monotonic())

    def failed(self, request: str, error: BaseException, *, expected: bool) -> None:
        """Note that a request got an error."""
        said = f"{type(error).__name__}: {_words(error)}"
        with self._lock:
            self.requests[f"{request}, failed"] += 1
            self.errors[said] += 1
            if not expected:
                self.unexpected.append(f"{request}: {said}")
            if self.faults:
                self.faults[-1].errors += 1

    def is_wrong(self, what: str) -> None:
        """Note a wrong answer, which must not be."""
        with self._lock:
            self.wrong.append(what)

    def borrowing(self) -> None:
        """Note that a connection was borrowed."""
        with self._lock:
            self.borrowed += 1

    def fault(self, name: str) -> Fault:
        """Note that a fault begins."""
        fault = Fault(name, time.monotonic())
        with self._lock:
            self.faults.append(fault)
        return fault

    def gaps(self) -> list[float]:
        """Return the times without any answer that were longer than is usual."""
        moments = [self.began, *sorted(self.answers)]
        times = (after - before for before, after in itertools.pairwise(moments))
        return [one for one in times if one > AVAILABLE]

    def recoveries(self) -> dict[str, list[float]]:
        """Return for each kind of fault the seconds from its end to the next answer."""
        answers = sorted(self.answers)
        found: dict[str, list[float]] = {}
        position = 0
        for fault in self.faults:
            while position < len(answers) and answers[position] <= fault.ended:
                position += 1
            if fault.ended and position < len(answers):
                found.setdefault(fault.name, []).append(answers[position] - fault.ended)
        return found


def _words(error: BaseException) -> str:
    """Return what an error says, without what differs from one to the next."""
    first = (str(error).strip().splitlines() or [""])[0]
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?(e-?\d+)?", "N", first)[:100]
