"""How long callers wait for one of several servers: the formulas, and where they come from.

A pool is a queue of callers (arrivals) before c connections (servers). Where the arrivals are
independent of each other (Poisson) and the times of use exponential, this is the queue M/M/c, which
A. K. Erlang solved in 1917 ("Solution of some problems in the theory of probabilities of
significance in automatic telephone exchanges", Elektroteknikeren 13). Everything here takes the
load ``a = arrival rate * mean time of use``, in erlangs: by Little's law (J. D. C. Little, "A proof
for the queuing formula L = λW", Operations Research 9, 1961) the connections that are in use on
average.
"""

from __future__ import annotations

import math

__all__ = ["erlang_b", "erlang_c", "mean_wait", "smallest", "variability", "wait_quantile"]


def erlang_b(servers: int, load: float) -> float:
    """Return the share of callers that find all servers busy, if none may wait (M/M/c/c).

    By the recursion ``B(n) = a B(n-1) / (n + a B(n-1))``, ``B(0) = 1``, which neither overflows nor
    cancels (R. B. Cooper, "Introduction to Queueing Theory", 2nd edition 1981).
    """
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """Return the share of callers that have to wait, if all may (M/M/c).

    ``C = B / (1 - rho (1 - B))`` with ``rho = a / c``; 1.0 where ``a ≥ c``, as the queue then grows
    without end. Source as for `erlang_b`.
    """
    return _waiting_share(servers, load, erlang_b(servers, load))


def variability(cv_use: float = 1.0, cv_arrivals: float = 1.0) -> float:
    """Return by how much waits are longer than in M/M/c with the same load.

    The correction of Allen and Cunneen: ``(cv_arrivals² + cv_use²) / 2`` (A. O. Allen,
    "Probability, Statistics, and Queueing Theory with Computer Science Applications", 1990). With
    Poisson arrivals, M/G/c, it is that of A. M. Lee and P. A. Longton, "Queueing processes
    associated with airline passenger check-in", Operational Research Quarterly 10, 1959; it is
    exact for one server (Pollaczek and Khinchine) and for M/M/c. With many servers and a light load
    it is a little low for times of use that vary less than exponential ones, and a little high for
    others: T. Kimura, "A two-moment approximation for the mean waiting time in the GI/G/s queue",
    Management Science 32, 1986.

    Args:
        cv_use: Coefficient of variation (standard deviation / mean) of the time of use: 0 if all
            are equal, 1 if exponential, more for a mixture of short and long ones.
        cv_arrivals: The same of the time between arrivals: 1 for independent ones, more for bursts.
    """
    return (cv_arrivals**2 + cv_use**2) / 2


def mean_wait(servers: int, load: float, use_time: float, factor: float = 1.0) -> float:
    """Return the seconds that a caller waits on average, those that need not wait included.

    ``C / (c - a) * use_time * factor``; infinite where ``a ≥ c``.

    Args:
        servers: Connections.
        load: Arrival rate * mean time of use.
        use_time: Mean time of use, in seconds.
        factor: What `variability` gives.
    """
    return _mean(servers, load, erlang_c(servers, load), use_time * factor)


def wait_quantile(
    servers: int, load: float, use_time: float, probability: float, factor: float = 1.0
) -> float:
    """Return the seconds that a share of the callers do not exceed with their wait.

    ``P(wait > t) = C exp(-(c - a) t / use_time)`` in M/M/c, first come first served; with `factor`
    the waits of those who wait are taken for exponential still, with a mean so many times as long.

    Args:
        servers: Connections.
        load: Arrival rate * mean time of use.
        use_time: Mean time of use, in seconds.
        probability: The share of the callers, such as 0.95.
        factor: What `variability` gives.
    """
    return _quantile(servers, load, erlang_c(servers, load), use_time * factor, probability)


def smallest(
    load: float,
    use_time: float,
    target: float,
    *,
    probability: float | None = None,
    factor: float = 1.0,
) -> tuple[int, float]:
    """Return the fewest servers for which waits meet a target, and the wait then.

    Args:
        load: Arrival rate * mean time of use.
        use_time: Mean time of use, in seconds.
        target: Seconds, above 0.
        probability: For the wait that this share of the callers does not exceed. ``None``, the
            default, is for the mean wait.
        factor: What `variability` gives.
    """
    servers, blocked = 0, 1.0
    while True:
        servers += 1
        blocked = load * blocked / (servers + load * blocked)
        share = _waiting_share(servers, load, blocked)
        if probability is None:
            wait = _mean(servers, load, share, use_time * factor)
        else:
            wait = _quantile(servers, load, share, use_time * factor, probability)
        if wait <= target:
            return servers, wait


def _waiting_share(servers: int, load: float, blocked: float) -> float:
    return 1.0 if load >= servers else blocked / (1.0 - load / servers * (1.0 - blocked))


def _mean(servers: int, load: float, share: float, scale: float) -> float:
    return math.inf if load >= servers else share * scale / (servers - load)


def _quantile(servers: int, load: float, share: float, scale: float, probability: float) -> float:
    if load >= servers:
        return math.inf
    if share <= 1.0 - probability:
        # Also where the share is too small for a float.
        return 0.0
    return math.log(share / (1.0 - probability)) * scale / (servers - load)
