"""Whether a pool is well: rules over its statistics, alerts, and who is told of them.

`HealthMonitor` is what is imported; it is in `millpond` too.

```text
_monitor   HealthMonitor: one pool, asked or in the background; callbacks
_judge     Judge: alerts that are raised and cleared, with hysteresis; knows no pool
_rules     what is asked of the statistics, and the thresholds
_status    Alert, HealthStatus: what is answered
```
"""

from millpond.health._judge import Judge
from millpond.health._monitor import HealthMonitor
from millpond.health._rules import Thresholds
from millpond.health._status import Alert, HealthStatus

__all__ = ["Alert", "HealthMonitor", "HealthStatus", "Judge", "Thresholds"]
