//! A moment at which the pool is to do something, on its wheel: `Pool._alarm` is called then.

use millpond_core::TimerId;
use pyo3::prelude::*;

use crate::clock::ticks;
use crate::pool::CorePool;

/// A moment at which `Pool._alarm` is called.
#[pyclass(frozen, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct Alarm {
    inside: u32,
    timer: TimerId,
    /// What it is called with.
    #[pyo3(get)]
    number: u64,
}

impl Alarm {
    pub(crate) fn set(pool: &Bound<'_, CorePool>, seconds: f64) -> PyResult<Self> {
        let ticks = ticks(Some(seconds))?;
        CorePool::with_core(pool, |inner, now, todo| {
            let (alarm, timer) = inner.core.set_alarm(now.saturating_add(ticks), todo);
            Self { inside: inner.id, timer, number: alarm.number() }
        })
    }

    /// Takes the alarm back, if it has not gone off and is not the parent's of a fork.
    pub(crate) fn cancel(&self, pool: &Bound<'_, CorePool>) -> PyResult<()> {
        CorePool::with_core(pool, |inner, _, _| {
            if inner.id == self.inside {
                inner.core.cancel_alarm(self.timer);
            }
        })
    }
}
