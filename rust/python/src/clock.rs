//! What time it is: coarse and cheap, precise, or as a test says.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

use millpond_core::{Ticks, NEVER};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

const NANOS_PER_TICK: u64 = 1_000_000;

/// The clock of one pool. All ticks of a process have the same origin.
#[derive(Debug)]
pub(crate) enum Clock {
    /// The machine's monotonic clock.
    Machine,
    /// Nanoseconds that a test sets.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The tick, cheap and some milliseconds late: for the fast path.
    #[inline(always)]
    pub(crate) fn coarse(&self) -> Ticks {
        match self {
            Self::Machine => machine::coarse_nanos() / NANOS_PER_TICK,
            Self::Manual(nanos) => nanos.load(SeqCst) / NANOS_PER_TICK,
        }
    }

    /// The tick, exact.
    pub(crate) fn now(&self) -> Ticks {
        self.nanos() / NANOS_PER_TICK
    }

    /// Nanoseconds, exact.
    pub(crate) fn nanos(&self) -> u64 {
        match self {
            Self::Machine => machine::nanos(),
            Self::Manual(nanos) => nanos.load(SeqCst),
        }
    }
}

/// Seconds as ticks, rounded up; `None` never comes.
pub(crate) fn ticks(seconds: Option<f64>) -> PyResult<Ticks> {
    let Some(seconds) = seconds else { return Ok(NEVER) };
    let duration = Duration::try_from_secs_f64(seconds)
        .map_err(|error| PyValueError::new_err(format!("{seconds} seconds: {error}")))?;
    let ticks = duration.as_nanos().div_ceil(u128::from(NANOS_PER_TICK));
    Ok(Ticks::try_from(ticks).unwrap_or(NEVER))
}

/// Ticks as seconds.
pub(crate) fn seconds(ticks: Ticks) -> f64 {
    Duration::from_millis(ticks).as_secs_f64()
}

/// A clock that stands still until it is told to go on, for tests.
#[pyclass(frozen, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct ManualClock {
    pub(crate) nanos: Arc<AtomicU64>,
}

#[pymethods]
impl ManualClock {
    #[new]
    fn new() -> Self {
        // Not zero, so that "never" and "at the start" can't be mistaken for each other.
        Self { nanos: Arc::new(AtomicU64::new(1_000 * 1_000_000_000)) }
    }

    /// Let some seconds pass.
    fn advance(&self, seconds: f64) -> PyResult<()> {
        let step = ticks(Some(seconds))?;
        self.nanos.fetch_add(step * NANOS_PER_TICK, SeqCst);
        Ok(())
    }

    /// Return the time in seconds, of no particular origin.
    fn now(&self) -> f64 {
        Duration::from_nanos(self.nanos.load(SeqCst)).as_secs_f64()
    }
}

#[cfg(target_os = "linux")]
mod machine {
    /// 3 ns instead of 22, and up to one scheduler tick (1 to 10 ms) late.
    #[inline(always)]
    pub(super) fn coarse_nanos() -> u64 {
        read(libc::CLOCK_MONOTONIC_COARSE)
    }

    pub(super) fn nanos() -> u64 {
        read(libc::CLOCK_MONOTONIC)
    }

    #[inline(always)]
    fn read(clock: libc::clockid_t) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for the result. Both clocks exist since Linux 2.6.32, and
        // if the call failed all the same, time would stand still, which harms nothing.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
    }
}

#[cfg(not(target_os = "linux"))]
mod machine {
    use std::sync::OnceLock;
    use std::time::Instant;

    pub(super) fn coarse_nanos() -> u64 {
        nanos()
    }

    pub(super) fn nanos() -> u64 {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }
}
