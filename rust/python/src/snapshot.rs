//! What the engine knows, as Python objects for `millpond._stats`.

use std::time::Duration;

use millpond_core::{Claim, HistogramSnapshot, Reason, SlotView, State};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::clock::seconds;
use crate::inner::Inner;

/// Connections open, connections in use, and waiters.
pub(crate) fn counts(inner: &Inner) -> (usize, usize, u64) {
    let open = |state| !matches!(state, State::Empty | State::Connecting | State::Closing);
    let used = |state| matches!(state, State::InUse | State::Granted);
    (inner.core.count(open), inner.core.count(used), inner.core.waiting())
}

/// Everything at once. The parts are read one after the other, so that they may differ by what
/// happened meanwhile.
pub(crate) fn snapshot<'py>(py: Python<'py>, inner: &Inner) -> PyResult<Bound<'py, PyDict>> {
    let dict = totals(py, inner)?;
    let core = &inner.core;
    let now = inner.clock.now();
    let ages = |ticks: Vec<u64>| -> Vec<f64> {
        ticks.into_iter().map(|tick| seconds(now.saturating_sub(tick))).collect()
    };
    let (waiting, urgent) = core.waiting_since();
    dict.set_item("waiting", ages(waiting))?;
    dict.set_item("waiting_high", urgent)?;
    let failing = core.failing_since().map(|since| seconds(now.saturating_sub(since)));
    dict.set_item("failing", failing)?;
    core.observe(now);
    let views = core.views();
    let slots: PyResult<Vec<_>> = views.iter().map(|view| slot(py, inner, view, now)).collect();
    dict.set_item("slots", PyList::new(py, slots?)?)?;
    Ok(dict)
}

/// The counters and distributions alone, which take as long for any number of connections.
pub(crate) fn totals<'py>(py: Python<'py>, inner: &Inner) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let stats = inner.core.stats();
    dict.set_item("acquired", inner.core.borrows())?;
    dict.set_item("queued", stats.queued.get())?;
    dict.set_item("gave_up", stats.gave_up.get())?;
    dict.set_item("refused", stats.refused.get())?;
    dict.set_item("turned_away", stats.turned_away.get())?;
    dict.set_item("failed", stats.failed.get())?;
    dict.set_item("timed_out", stats.timed_out.get())?;
    dict.set_item("opened", stats.opened.get())?;
    dict.set_item("open_failed", stats.open_failed.get())?;
    dict.set_item("checks", stats.checks.get())?;
    dict.set_item("checks_failed", stats.checks_failed.get())?;
    dict.set_item("leaks", stats.leaks.get())?;
    let closed = PyDict::new(py);
    for reason in Reason::ALL {
        closed.set_item(reason.name(), stats.closed(reason))?;
    }
    dict.set_item("closed", closed)?;
    dict.set_item("wait_time", histogram(py, &stats.wait_time.snapshot())?)?;
    dict.set_item("use_time", histogram(py, &stats.use_time.snapshot())?)?;
    dict.set_item("open_time", histogram(py, &stats.open_time.snapshot())?)?;
    dict.set_item("check_time", histogram(py, &stats.check_time.snapshot())?)?;
    Ok(dict)
}

/// Slot, holder, seconds held and the line that acquired, of a leak.
pub(crate) fn leak(
    py: Python<'_>,
    inner: &Inner,
    claim: Claim,
) -> (u32, u64, f64, Option<Py<PyAny>>) {
    let views = inner.core.views();
    let view = views.iter().find(|view| view.slot == claim.slot);
    let (holder, since) = view.map_or((0, None), |view| (view.holder, view.held_since));
    let now = inner.clock.now();
    let held = seconds(now.saturating_sub(since.unwrap_or(now)));
    (claim.slot, holder, held, site(py, inner, claim))
}

fn site(py: Python<'_>, inner: &Inner, claim: Claim) -> Option<Py<PyAny>> {
    let sites = inner.sites.lock();
    let site = sites.get(&claim.slot)?;
    (site.generation == claim.generation).then(|| site.place.clone_ref(py))
}

fn slot<'py>(
    py: Python<'py>,
    inner: &Inner,
    view: &SlotView,
    now: u64,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let claim = Claim { slot: view.slot, generation: view.generation };
    let since = |tick: u64| seconds(now.saturating_sub(tick));
    dict.set_item("slot", view.slot)?;
    dict.set_item("id", (view.number != 0).then_some(view.number))?;
    dict.set_item("state", name(view.state))?;
    dict.set_item("uses", view.uses)?;
    dict.set_item("age", since(view.opened_at))?;
    let held = view.state == State::InUse;
    dict.set_item("holder", (held || view.kept).then_some(view.holder))?;
    dict.set_item("held", view.held_since.map(since))?;
    let latency = view.latency.map(|nanos| Duration::from_nanos(nanos).as_secs_f64());
    dict.set_item("latency", latency)?;
    dict.set_item("idle", (view.state == State::Idle).then(|| since(view.released_at)))?;
    dict.set_item("site", if held { site(py, inner, claim) } else { None })?;
    Ok(dict)
}

fn name(state: State) -> &'static str {
    match state {
        State::Empty => "empty",
        State::Connecting => "connecting",
        State::Idle => "idle",
        State::InUse => "in use",
        State::Granted => "granted",
        State::Checking => "checking",
        State::Closing => "closing",
    }
}

pub(crate) fn histogram<'py>(
    py: Python<'py>,
    times: &HistogramSnapshot,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let in_seconds = |nanos: Option<u64>| nanos.map(|n| Duration::from_nanos(n).as_secs_f64());
    dict.set_item("count", times.count())?;
    dict.set_item("sum", in_seconds(Some(times.sum())))?;
    dict.set_item("mean", in_seconds(times.mean()))?;
    for (name, quantile) in [("p50", 0.50), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
        dict.set_item(name, in_seconds(times.quantile(quantile)))?;
    }
    let filled = times.buckets().filter(|(_, count)| *count > 0);
    let filled: Vec<_> =
        filled.map(|(bounds, count)| (in_seconds(Some(*bounds.end())), count)).collect();
    dict.set_item("buckets", PyTuple::new(py, filled)?)?;
    Ok(dict)
}
