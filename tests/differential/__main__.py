"""Look for differences for longer than a test may: `cd tests; python -m differential SECONDS SEED`.

It stops at the first story that DBUtils and millpond tell differently for no known reason, prints
it and the shortest one, and says how often each of the known reasons was met. The same seed, by
default 0, makes up the same stories; several at once take a process each.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from itertools import count

from hypothesis import HealthCheck, Phase, given, seed, settings

from differential.compare import both_tellings, parting
from differential.implementations import DBUTILS, MILLPOND
from differential.scripts import OPTIONS, Script, Subject, scripts

met: Counter[str] = Counter()


def explore(subject: Subject, number: int) -> None:
    """Tell some hundred stories about `subject`, the same for the same number."""

    @seed(number)
    @settings(
        max_examples=300,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(scripts(subject))
    def compare(script: Script) -> None:
        found = parting(script, DBUTILS, MILLPOND)
        if found is not None and found.difference is None:
            sys.exit(both_tellings(found, DBUTILS, MILLPOND))
        met[found.difference.id if found and found.difference else "told alike"] += 1

    compare()


def main() -> None:
    """Go on until the time is over."""
    given_seconds, first = (*sys.argv[1:3], *("60", "0")[len(sys.argv) - 1 :])
    deadline = time.monotonic() + float(given_seconds)
    numbers = count(1_000_000 * int(first))
    while time.monotonic() < deadline:
        for subject in OPTIONS:
            explore(subject, next(numbers))
    print(f"{sum(met.values()):8} stories from seed {first}")  # noqa: T201
    for difference, times in met.most_common():
        print(f"{times:8} {difference}")  # noqa: T201


if __name__ == "__main__":
    main()
