//! A place in the line for a permit, and the bell of those who wait by other means.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::Arc;

use millpond_core::{Permits, Served, Ticket, Waker};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use super::pooled::CorePooledDB;
use crate::fork;
use crate::raw::finalize;

pub(crate) type Line = Permits<Caller>;

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const GONE: u8 = 2;

/// One who waits in the line: told by a call without arguments that it has a permit.
#[derive(Debug)]
pub(crate) struct Caller {
    seat: Arc<AtomicU8>,
    callback: Py<PyAny>,
}

impl Waker for Caller {
    type Nudge = ();

    fn nudge(&self) -> Option<()> {
        None
    }
}

/// A place in the line of those who wait for a permit, or a permit.
///
/// Dropped, it gives back what it is.
#[pyclass(frozen, weakref, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct Place {
    pool: Py<CorePooledDB>,
    line: Arc<Line>,
    /// WAITING -> GRANTED -> GONE, or WAITING -> GONE.
    seat: Arc<AtomicU8>,
    ticket: Option<Ticket>,
    generation: u32,
}

impl Place {
    fn new(pool: &Bound<'_, CorePooledDB>, seat: u8) -> Self {
        Self {
            pool: pool.clone().unbind(),
            line: pool.get().share_line(),
            seat: Arc::new(AtomicU8::new(seat)),
            ticket: None,
            generation: fork::generation(),
        }
    }

    /// A permit, if there is one and nobody waits for it.
    pub(crate) fn try_new(pool: &Bound<'_, CorePooledDB>) -> Option<Self> {
        // `then`, not `then_some`: a place that is not used would give back what it never had.
        pool.get().line().try_acquire().then(|| Self::new(pool, GRANTED))
    }

    /// Joins the line. The callback may be called right away.
    pub(crate) fn join(pool: &Bound<'_, CorePooledDB>, callback: Py<PyAny>) -> Self {
        let mut place = Self::new(pool, WAITING);
        let (ticket, served) = place.line.join(Caller { seat: place.seat.clone(), callback });
        place.ticket = Some(ticket);
        settle(pool, &place.line, served);
        place
    }
}

#[pymethods]
impl Place {
    /// Whether this is a permit by now.
    #[getter]
    fn granted(&self) -> bool {
        // Acquire: pairs with whoever granted it.
        self.seat.load(Acquire) == GRANTED
    }

    /// Take the permit out of the place, for the caller to give back.
    ///
    /// False when there is none yet.
    pub(crate) fn take(&self) -> bool {
        // AcqRel: pairs with whoever granted it.
        self.seat.compare_exchange(GRANTED, GONE, AcqRel, Relaxed).is_ok()
    }

    /// Leave the line, or give the permit back.
    fn leave(&self, py: Python<'_>) {
        // AcqRel: decides between this and the grant, which then gives the permit to somebody else.
        let before = self.seat.swap(GONE, AcqRel);
        if self.generation != fork::generation() {
            return;
        }
        match (before, self.ticket) {
            (WAITING, Some(ticket)) => drop(self.line.leave(ticket)),
            (GRANTED, _) => settle(self.pool.bind(py), &self.line, self.line.release()),
            _ => {}
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Relaxed: nobody else has the place any more but the one who grants, and `leave` decides that.
        if self.seat.load(Relaxed) == GONE {
            return;
        }
        finalize(|py| self.leave(py));
    }
}

/// Tells those who were served, and those who watch. No lock is held here, and nothing is raised: what
/// is told was done before.
#[cold]
pub(crate) fn settle(pool: &Bound<'_, CorePooledDB>, line: &Line, mut served: Served<Caller>) {
    let py = pool.py();
    loop {
        let mut passed_on = 0;
        for caller in served.waiters.drain(..) {
            // AcqRel: as in `leave`.
            if caller.seat.compare_exchange(WAITING, GRANTED, AcqRel, Relaxed).is_err() {
                passed_on += 1;
            } else if let Err(error) = caller.callback.call0(py) {
                postpone(py, error, pool);
            }
        }
        if served.watched {
            if let Err(error) = pool.call_method0(intern!(py, "_tell_watchers")) {
                postpone(py, error, pool);
            }
        }
        if passed_on == 0 {
            return;
        }
        let mut again = line.release();
        for _ in 1..passed_on {
            again.waiters.extend(line.release().waiters);
        }
        served = again;
    }
}

/// An exception out of season. Ctrl-C comes again as soon as it can; others are reported.
fn postpone(py: Python<'_>, error: PyErr, pool: &Bound<'_, CorePooledDB>) {
    if error.is_instance_of::<PyKeyboardInterrupt>(py) {
        // SAFETY: attached; it only sets a flag.
        unsafe { ffi::PyErr_SetInterrupt() };
    } else {
        error.write_unraisable(py, Some(pool));
    }
}

/// Counts those who wait for a permit by means of a lock of Python's.
///
/// As long as there are any, each release tells them. It does not know its pool: the pool's lock has it, and must not keep the pool alive.
#[pyclass(frozen, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct Watch {
    line: Arc<Line>,
}

impl Watch {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Self { line }
    }
}

#[pymethods]
impl Watch {
    /// Have each release tell, from now on.
    fn begin(&self) {
        self.line.watch();
    }

    /// End what one `begin` began.
    fn end(&self) -> PyResult<()> {
        if !self.line.is_watched() {
            return Err(PyRuntimeError::new_err("nobody watches"));
        }
        self.line.unwatch();
        Ok(())
    }
}
