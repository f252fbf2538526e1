"""The ledger of a soak: what was found, in words and as plain values."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millpond.drivers import redact

if TYPE_CHECKING:
    from millpond import PoolStats
    from soak.account import Account


@dataclass
class Ledger:
    """What a soak found."""

    url: str
    seed: int
    account: Account
    seconds: float
    stats: PoolStats | None = None
    checks: list[tuple[str, bool, str]] = field(default_factory=list)

    def check(self, what: str, holds: bool, detail: str = "") -> None:  # noqa: FBT001
        """Note whether something is as it has to be."""
        self.checks.append((what, holds, detail))

    @property
    def sound(self) -> bool:
        """Whether all is as it has to be."""
        return all(holds for _, holds, _ in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        account, stats = self.account, self.stats
        gaps = account.gaps()
        return {
            "url": redact(self.url),
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "sound": self.sound,
            "checks": [
                {"what": what, "holds": holds, "detail": detail}
                for what, holds, detail in self.checks
            ],
            "requests": dict(sorted(account.requests.items())),
            "errors": dict(account.errors.most_common()),
            "faults": self._faults(),
            "unavailable": {
                "seconds": round(sum(gaps), 2),
                "times": len(gaps),
                "longest": round(max(gaps, default=0.0), 2),
            },
            "opened": stats.opened if stats else 0,
            "open_failed": stats.open_failed if stats else 0,
            "closed": {name: count for name, count in stats.closed.items() if count}
            if stats
            else {},
            "acquired": stats.acquired if stats else 0,
            "gave_up": stats.gave_up if stats else 0,
            "turned_away": stats.turned_away if stats else 0,
        }

    def _faults(self) -> dict[str, dict[str, float]]:
        recoveries = self.account.recoveries()
        found: dict[str, dict[str, float]] = {}
        for name in sorted({fault.name for fault in self.account.faults}):
            ones = [fault for fault in self.account.faults if fault.name == name]
            times = recoveries.get(name, [0.0])
            found[name] = {
                "times": len(ones),
                "errors": sum(fault.errors for fault in ones),
                "median_ms": round(1000 * statistics.median(times), 1),
                "longest_ms": round(1000 * max(times), 1),
            }
        return found


def as_text(ledger: Ledger) -> str:
    """Write a ledger for people."""
    told = ledger.to_dict()
    succeeded = sum(n for name, n in told["requests"].items() if "failed" not in name)
    failed = sum(told["requests"].values()) - succeeded
    away = told["unavailable"]
    closed = ", ".join(f"{count} {reason}" for reason, count in told["closed"].items())
    gone, silent = f"{told['turned_away']} turned away", f"at most {away['longest']} s"
    lines = [
        f"{told['url']}: {told['seconds']:.0f} s, seed {told['seed']}",
        f"{succeeded} requests answered, {failed} failed",
        f"{told['acquired']} acquires, {told['gave_up']} gave up, {gone}",
        f"{away['times']} times without any answer: {away['seconds']} s in all, {silent}",
        f"{told['opened']} connections opened, {told['open_failed']} attempts failed",
        f"closed: {closed}",
        "",
        f"{'fault':<24}{'times':>7}{'errors':>8}{'to the next answer: median':>28}{'longest':>10}",
    ]
    lines += [
        f"{name:<24}{one['times']:>7}{one['errors']:>8}{one['median_ms']:>25} ms"
        f"{one['longest_ms']:>7} ms"
        for name, one in told["faults"].items()
    ]
    lines += ["", *(f"{count:>7}  {error}" for error, count in told["errors"].items()), ""]
    for check in told["checks"]:
        detail = f": {check['detail']}" if check["detail"] and not check["holds"] else ""
        lines.append(f"{'  ok  ' if check['holds'] else 'FAILED'}  {check['what']}{detail}")
    return "\n".join(lines)
