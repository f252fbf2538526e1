//! `CorePooledDB`: permits, idle connections, and what Python sees of them. `lend.rs` has what is hot.

use std::ptr::null_mut;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicPtr};
use std::sync::Arc;

use pyo3::exceptions::PyAttributeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::idle::{self, Room};
use super::lend;
use super::place::{settle, Line, Place, Watch};
use crate::field::Field;
use crate::raw::Owned;

/// The base class of `millpond.dbutils.pooled_db.PooledDB`.
#[pyclass(frozen, subclass, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct CorePooledDB {
    /// From `Arc::into_raw`. Replaced only in the child of a fork, where the old line is leaked on
    /// purpose, so a reference to a line is good for as long as the pool lives.
    line: AtomicPtr<Line>,
    pub(super) idle: Field,
    pub(super) room: Room,
    /// Whether `maxshared` is true.
    pub(super) shares: AtomicBool,
    pub(super) reset: Field,
    /// What takes over from the ordinary way to lend and keep connections, if anything.
    pub(super) upkeep: Field,
    /// Whether there is something.
    pub(super) tended: AtomicBool,
    maxconnections: Field,
    maxcached: Field,
    maxshared: Field,
}

impl CorePooledDB {
    /// The permits, and those who wait for one.
    #[inline]
    pub(super) fn line(&self) -> &Line {
        // Acquire: pairs with the swap in `_begin_in_child`.
        let line = self.line.load(Acquire);
        // SAFETY: from `Arc::into_raw`, and given up in `drop` only, which has the pool for itself.
        unsafe { &*line }
    }

    /// The same, to keep.
    pub(super) fn share_line(&self) -> Arc<Line> {
        let line: *const Line = self.line();
        // SAFETY: as in `line`: the pool's own count is there.
        unsafe { Arc::increment_strong_count(line) };
        // SAFETY: the count that was added is ours.
        unsafe { Arc::from_raw(line) }
    }
}

/// What a plain C function returned: nothing when it set the exception.
fn owned(py: Python<'_>, object: Option<Owned>) -> PyResult<Py<PyAny>> {
    let object = object.map_or(null_mut(), Owned::into_ptr);
    // SAFETY: a new reference, or null with the exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, object) }.map(Bound::unbind)
}

fn field<'py>(
    slf: &Bound<'py, CorePooledDB>,
    field: &Field,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    field.get(py).ok_or_else(|| match slf.get_type().name() {
        Ok(class) => {
            PyAttributeError::new_err(format!("'{class}' object has no attribute '{name}'"))
        }
        Err(error) => error,
    })
}

#[pymethods]
impl CorePooledDB {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        let line = Arc::into_raw(Arc::new(Line::new(None)));
        Self {
            line: AtomicPtr::new(line.cast_mut()),
            idle: Field::new(None),
            room: Room::new(),
            shares: AtomicBool::new(false),
            reset: Field::new(None),
            upkeep: Field::new(None),
            tended: AtomicBool::new(false),
            maxconnections: Field::new(None),
            maxcached: Field::new(None),
            maxshared: Field::new(None),
        }
    }

    #[getter]
    fn _idle_cache<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        field(slf, &slf.get().idle, "_idle_cache")
    }

    #[setter(_idle_cache)]
    fn set_idle_cache(&self, py: Python<'_>, idle: Py<PyAny>) {
        self.idle.set(py, Some(idle));
    }

    #[getter]
    fn _connections(&self) -> u64 {
        self.line().in_use()
    }

    #[setter(_connections)]
    fn set_connections(slf: &Bound<'_, Self>, connections: &Bound<'_, PyAny>) -> PyResult<()> {
        // What is false would be no limit, and is no connection.
        let in_use = idle::limit("_connections", connections)?.unwrap_or(0);
        let line = slf.get().line();
        settle(slf, line, line.set_in_use(in_use));
        Ok(())
    }

    #[getter]
    fn _maxconnections<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        field(slf, &slf.get().maxconnections, "_maxconnections")
    }

    #[setter(_maxconnections)]
    fn set_maxconnections(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let limit = idle::limit("_maxconnections", value)?;
        slf.get().maxconnections.set(slf.py(), Some(value.clone().unbind()));
        let line = slf.get().line();
        settle(slf, line, line.set_limit(limit));
        Ok(())
    }

    #[getter]
    fn _maxcached<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        field(slf, &slf.get().maxcached, "_maxcached")
    }

    #[setter(_maxcached)]
    fn set_maxcached(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let limit = idle::limit("_maxcached", value)?;
        self.maxcached.set(value.py(), Some(value.clone().unbind()));
        self.room.limit_to(limit);
        Ok(())
    }

    #[getter]
    fn _maxshared<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        field(slf, &slf.get().maxshared, "_maxshared")
    }

    #[setter(_maxshared)]
    fn set_maxshared(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let shares = value.is_truthy()?;
        self.maxshared.set(value.py(), Some(value.clone().unbind()));
        // Relaxed, here and where it is read: it is a flag by itself.
        self.shares.store(shares, Relaxed);
        Ok(())
    }

    #[getter]
    fn _reset<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        field(slf, &slf.get().reset, "_reset")
    }

    #[setter(_reset)]
    fn set_reset(&self, py: Python<'_>, reset: Py<PyAny>) {
        self.reset.set(py, Some(reset));
    }

    #[getter]
    fn _upkeep(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.upkeep.get(py).map(Bound::unbind)
    }

    #[setter(_upkeep)]
    fn set_upkeep(&self, py: Python<'_>, upkeep: Option<Py<PyAny>>) {
        // Relaxed: see where it is read.
        self.tended.store(upkeep.is_some(), Relaxed);
        self.upkeep.set(py, upkeep);
    }

    /// Return a permit, if there is one and nobody waits for it.
    fn _try_permit(slf: &Bound<'_, Self>) -> Option<Place> {
        Place::try_new(slf)
    }

    /// Join the line of those who wait for a permit.
    fn _join(slf: &Bound<'_, Self>, callback: Py<PyAny>) -> Place {
        Place::join(slf, callback)
    }

    /// Take a permit, whatever the limit says.
    fn _force_permit(&self) {
        self.line().force();
    }

    /// Give a permit back.
    fn _release_permit(slf: &Bound<'_, Self>) {
        lend::release(slf.as_borrowed());
    }

    /// Return what counts those who watch for permits.
    fn _watch(&self) -> Watch {
        Watch::new(self.share_line())
    }

    /// Return an idle connection, tested, or a new one, by the upkeep's way if there is one. The caller has
    /// a permit.
    fn _obtain(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        owned(slf.py(), lend::obtain(slf.as_borrowed()))
    }

    /// Return an idle connection, tested, or a new one, as without an upkeep.
    fn _find_or_open(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        owned(slf.py(), lend::find_or_open(slf.as_borrowed()))
    }

    /// Reset a connection and make it idle, or close it, as without an upkeep. The permit stays in use.
    fn _keep(slf: &Bound<'_, Self>, con: &Bound<'_, PyAny>) -> PyResult<()> {
        match lend::keep(slf.as_borrowed(), con.as_ptr()) {
            Some(()) => Ok(()),
            None => Err(PyErr::fetch(slf.py())),
        }
    }

    /// Count a caller that may not wait.
    fn _refuse(&self) {
        self.line().refuse();
    }

    /// Return how often permits were given out, waited for, given up on and refused.
    fn _tally<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let line = self.line();
        let tally = PyDict::new(py);
        tally.set_item("in_use", line.in_use())?;
        tally.set_item("waiting", line.waiting())?;
        tally.set_item("acquired", line.acquired.get())?;
        tally.set_item("queued", line.queued.get())?;
        tally.set_item("gave_up", line.gave_up.get())?;
        tally.set_item("refused", line.refused.get())?;
        Ok(tally)
    }

    /// In the child of a fork: begin with no permit in use and nobody in the line. The old line stays as
    /// it is for ever, since its mutex may be in the hands of a thread that does not exist here.
    fn _new_line(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let value = this.maxconnections.get(slf.py());
        let limit = value.map_or(Ok(None), |value| idle::limit("_maxconnections", &value))?;
        let line = Arc::into_raw(Arc::new(Line::new(limit)));
        // AcqRel: pairs with the load in `line`.
        this.line.swap(line.cast_mut(), AcqRel);
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let limits = [&self.maxconnections, &self.maxcached, &self.maxshared];
        let others = [&self.idle, &self.reset, &self.upkeep];
        limits.into_iter().chain(others).try_for_each(|field| field.traverse(&visit))
    }

    fn __clear__(&self, py: Python<'_>) {
        for field in [&self.idle, &self.reset, &self.upkeep] {
            field.set(py, None);
        }
    }
}

impl Drop for CorePooledDB {
    fn drop(&mut self) {
        let line: *const Line = *self.line.get_mut();
        // SAFETY: the pool's own count of the line of now.
        drop(unsafe { Arc::from_raw(line) });
    }
}
