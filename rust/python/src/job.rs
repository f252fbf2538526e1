//! A job for a worker: open, validate, reset or close one connection.
//!
//! A job is a right: it ends with one of its methods, or, dropped without (the worker died, or no
//! thread could be started), gives the slot up by itself.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use millpond_core::{Claim, GivenBack, Job as Task, Reason, State, Ticks};
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::acquire;
use crate::clock::ticks;
use crate::connection::Connection;
use crate::heard;
use crate::inner::Inner;
use crate::pool::{CorePool, Todo};
use crate::raw::finalize;
use crate::release;
use crate::thread::InHook;

/// How long a pool waits before it opens again what it could not even begin to open.
const PAUSE: Ticks = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Open,
    Check,
    Close,
    /// Begun by who releases the connection, and handed to nobody by the engine.
    Reset,
}

/// The right and the duty to open, check, reset or close one connection, for a worker or a task.
#[pyclass(frozen, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct Job {
    pool: Py<CorePool>,
    /// The inside that the job is for: not that of a forked child.
    inside: u32,
    kind: Kind,
    claim: Claim,
    connection: Option<Py<PyAny>>,
    reason: Option<Reason>,
    ended: AtomicBool,
}

impl Job {
    /// Hands a task to a worker.
    pub(crate) fn start(pool: &Bound<'_, CorePool>, inner: &Inner, task: Task<Connection>) {
        let py = pool.py();
        let (kind, claim, connection, reason) = match task {
            Task::Open(claim) => (Kind::Open, claim, None, None),
            Task::Check(claim) => {
                let connection = acquire::connection(py, inner, claim).ok();
                (Kind::Check, claim, connection, None)
            }
            Task::Close(claim, connection, reason) => {
                let object = connection.map(|connection| connection.object);
                (Kind::Close, claim, object, Some(reason))
            }
        };
        let job = Self::new(pool, inner, kind, claim, connection, reason);
        let submitted =
            Bound::new(py, job).and_then(|job| pool.call_method1(intern!(py, "_submit"), (job,)));
        if let Err(error) = submitted {
            error.write_unraisable(py, Some(pool));
        }
    }

    fn new(
        pool: &Bound<'_, CorePool>,
        inner: &Inner,
        kind: Kind,
        claim: Claim,
        connection: Option<Py<PyAny>>,
        reason: Option<Reason>,
    ) -> Self {
        let ended = AtomicBool::new(false);
        Self {
            pool: pool.clone().unbind(),
            inside: inner.id,
            kind,
            claim,
            connection,
            reason,
            ended,
        }
    }

    /// The job of resetting what its holder gives back; for drivers whose reset has to be awaited. `None`
    /// when the connection only stood in for one.
    pub(crate) fn reset(
        pool: &Bound<'_, CorePool>,
        connection: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Self>> {
        let inner = pool.get().started()?;
        let Some(held) = release::find_held(pool, inner, connection)? else { return Ok(None) };
        let seconds = heard::use_of(inner, held.claim());
        let claim =
            CorePool::with_core(pool, |inner, now, todo| inner.core.reset_later(held, now, todo))?;
        let Some(claim) = claim else { return Err(CorePool::failure(pool, "not_held", ())) };
        let object = Some(connection.clone().unbind());
        heard::released(pool, inner, claim, seconds, None)?;
        Ok(Some(Self::new(pool, inner, Kind::Reset, claim, object, None)))
    }

    /// Runs `end` on the engine, unless the job ended before, or belongs to another process.
    fn end<R>(
        &self,
        py: Python<'_>,
        end: impl FnOnce(&Inner, Ticks, &mut Todo) -> R,
    ) -> PyResult<Option<R>> {
        let pool = self.pool.bind(py);
        let same = pool.get().started()?.id == self.inside;
        // SeqCst: nothing depends on the order, and a job is no hot path.
        if self.ended.swap(true, SeqCst) || !same {
            return Ok(None);
        }
        CorePool::with_core(pool, end).map(Some)
    }
}

impl Job {
    fn fail(&self, inner: &Inner, now: Ticks, todo: &mut Todo) {
        if self.kind == Kind::Reset {
            inner.core.retire_reset(self.claim, Reason::Reset, now, todo);
        } else {
            inner.core.check_failed(self.claim, now, todo);
        }
    }
}

/// Seconds as nanoseconds: a tick is a million of them.
fn nanos(seconds: f64) -> PyResult<u64> {
    ticks(Some(seconds * 1e6))
}

/// The kind of job that a slot in this state has.
pub(crate) fn kind_of(state: State) -> &'static str {
    match state {
        State::Connecting => Kind::Open.name(),
        State::Checking => Kind::Check.name(),
        _ => Kind::Close.name(),
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Check => "check",
            Self::Close => "close",
            Self::Reset => "reset",
        }
    }
}

#[pymethods]
impl Job {
    /// What is to be done.
    #[getter]
    fn kind(&self) -> &'static str {
        self.kind.name()
    }

    /// The connection to check, to reset or to close, ``None`` if there is none.
    #[getter]
    fn connection(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.connection.as_ref().map(|connection| connection.clone_ref(py))
    }

    /// Why it is closed, as a key of `PoolStats.closed`.
    #[getter]
    fn reason(&self) -> Option<&'static str> {
        self.reason.map(Reason::name)
    }

    /// The number of the connection's place in the pool.
    #[getter]
    fn slot(&self) -> u32 {
        self.claim.slot
    }

    /// Whether the job still has its slot: not given up on, and not of another process.
    #[getter]
    fn current(&self, py: Python<'_>) -> PyResult<bool> {
        let inner = self.pool.bind(py).get().started()?;
        Ok(inner.id == self.inside && inner.core.is_current(self.claim))
    }

    /// Call a hook of the pool, marking the thread so that it can't wait for its own pool.
    #[pyo3(signature = (function, /, *args))]
    fn call(&self, function: &Bound<'_, PyAny>, args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        let _guard = InHook::of(self.inside);
        function.call1(args.clone()).map(Bound::unbind)
    }

    /// End an open job with a connection. False when nobody wants it: the caller closes it.
    fn filled(
        &self,
        connection: &Bound<'_, PyAny>,
        reset: &Bound<'_, PyAny>,
        seconds: f64,
        socket: i32,
        is_alive: Option<Py<PyAny>>,
    ) -> PyResult<bool> {
        let value = Connection::new(connection, reset, socket, is_alive)?;
        let identity = Connection::identity(connection.as_ptr());
        let inner = self.pool.bind(connection.py()).get().started()?;
        if inner.core.find(identity, 0).is_some() {
            return Err(PyValueError::new_err("the connection is in the pool already"));
        }
        if value.asks_the_driver() {
            inner.ask_the_driver();
        }
        let nanos = nanos(seconds)?;
        let kept = self.end(connection.py(), |inner, now, todo| {
            inner.core.stats().open_time.record(nanos);
            inner.core.fill(self.claim, value, identity, now, todo)
        })?;
        Ok(matches!(kept, Some(Ok(()))))
    }

    /// End an open job without a connection. False when the job had been given up on before.
    fn open_failed(&self, py: Python<'_>, retry_in: f64, pause: bool) -> PyResult<bool> {
        let retry_in = ticks(Some(retry_in))?;
        let ours = self.end(py, |inner, now, todo| {
            inner.core.open_failed(self.claim, now.saturating_add(retry_in), pause, now, todo)
        })?;
        Ok(ours.unwrap_or(false))
    }

    /// End a check job: the connection is alive, as it said after so many seconds.
    fn passed(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let nanos = nanos(seconds)?;
        let passed = self.end(py, |inner, now, todo| {
            inner.core.note_check(self.claim, nanos);
            inner.core.check_passed(self.claim, now, todo);
        });
        passed.map(drop)
    }

    /// End a check job: the connection is alive, but so slow that it is closed.
    fn slow(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let nanos = nanos(seconds)?;
        let ended = self.end(py, |inner, now, todo| {
            inner.core.note_check(self.claim, nanos);
            inner.core.check_slow(self.claim, now, todo)
        });
        ended.map(drop)
    }

    /// End a check or reset job: the connection is of no more use.
    fn failed(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, |inner, now, todo| self.fail(inner, now, todo)).map(drop)
    }

    /// End a reset job: the connection is as the next borrower wants it.
    fn was_reset(&self, py: Python<'_>) -> PyResult<()> {
        let ended = self.end(py, |inner, now, todo| {
            if !inner.core.is_current(self.claim) {
                return; // too late
            }
            match inner.core.end_reset(self.claim, now, || inner.clock.nanos()) {
                GivenBack::Idle | GivenBack::NotHeld => {}
                GivenBack::Attention => inner.core.after_release(now, todo),
                GivenBack::Spent(reason) => {
                    inner.core.retire_reset(self.claim, reason, now, todo);
                }
            }
        });
        ended.map(drop)
    }

    /// End a close job.
    fn closed(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, |inner, now, todo| inner.core.closed(self.claim, now, todo)).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)?;
        visit.call(&self.connection)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if *self.ended.get_mut() || crate::EXITED.load(Relaxed) {
            return;
        }
        finalize(|py| {
            let ended = match self.kind {
                Kind::Open => self.end(py, |inner, now, todo| {
                    inner.core.open_failed(self.claim, now + PAUSE, true, now, todo);
                }),
                Kind::Check | Kind::Reset => {
                    self.end(py, |inner, now, todo| self.fail(inner, now, todo))
                }
                Kind::Close => self.end(py, |inner, now, todo| {
                    inner.core.closed(self.claim, now, todo);
                }),
            };
            if let Err(error) = ended {
                error.write_unraisable(py, None);
            }
        });
    }
}
