"""Look for differences for longer than a test may: `cd tests; python -m differential SECONDS`.

It stops at the first story that DBUtils and millpond tell differently for no known reason, prints
the shortest one, and says how often each of the known reasons was met.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings

from differential.compare import parting, shortest
from differential.implementations import DBUTILS, MILLPOND
from differential.player import quick_collections
from differential.scripts import OPTIONS, Script, Subject, scripts

met: Counter[str] = Counter()


def explore(subject: Subject) -> None:
    """Tell some hundred stories about `subject`."""

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
            sys.exit(str(shortest(script, DBUTILS, MILLPOND)))
        met[found.difference.id if found and found.difference else "told alike"] += 1

    compare()


def main() -> None:
    """Go on until the time is over."""
    deadline = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else "60")
    with quick_collections():
        while time.monotonic() < deadline:
            for subject in OPTIONS:
                explore(subject)
    for difference, count in met.most_common():
        print(f"{count:8} {difference}")  # noqa: T201


if __name__ == "__main__":
    main()
