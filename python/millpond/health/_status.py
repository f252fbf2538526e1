"""What a judge says about a pool: `HealthStatus`, and the `Alert`s in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from millpond._stats import PoolStats

Severity: TypeAlias = Literal["warning", "error", "critical"]

# From the mildest on.
SEVERITIES: Final[tuple[Severity, ...]] = ("warning", "error", "critical")


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is not as it should be.

    Attributes:
        severity: ``"warning"``, ``"error"`` or ``"critical"``.
        message: What is wrong, with the pool's name, on one line.
        metric: The name of the rule, which stays the same: ``"utilization"``, ``"mean_wait"``,
            ``"failure_rate"``, ``"leaks"``, ``"open_failures"``, ``"failing"`` or
            ``"turned_away"``.
        value: What the rule looks at, when it was last above the threshold. Shares are from 0.0 to
            1.0, times in seconds.
        threshold: What it must not be above.
    """

    severity: Severity
    message: str
    metric: str
    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class HealthStatus:
    """How a pool is.

    Attributes:
        healthy: Whether there is no alert, but for warnings.
        alerts: What is not as it should be, the worst first.
        stats: The statistics that this is judged by.
    """

    healthy: bool
    alerts: tuple[Alert, ...]
    stats: PoolStats = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON; the keys are the fields' names."""
        return {**self.verdict(), "stats": self.stats.to_dict()}

    def verdict(self) -> dict[str, Any]:
        """Return the same without the statistics."""
        return {"healthy": self.healthy, "alerts": [asdict(alert) for alert in self.alerts]}
