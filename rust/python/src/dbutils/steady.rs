//! `CoreSteady`: what `SteadyDBConnection` extends. Here is what it knows.
//!
//! The methods are in `steady_hot.rs`.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32};

use pyo3::exceptions::PyAttributeError;
use pyo3::ffi::{self, PyObject};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::PyTypeInfo;

use super::call::names;
use super::steady_hot;
use crate::field::Field;
use crate::fork;
use crate::raw::none;

/// What a steady connection knows; `millpond.dbutils.steady_db.SteadyDBConnection` extends it.
///
/// All atomics are relaxed: each is a flag or a number by itself, and what is published, the driver's
/// connection, goes through the lock of its field.
#[pyclass(frozen, subclass, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct CoreSteady {
    con: Field,
    failures: Field,
    threadsafety: Field,
    transaction: AtomicBool,
    closed: AtomicBool,
    usage: AtomicI64,
    maxusage: AtomicI64,
    ping: AtomicI64,
    /// The fork generation in which the connection was opened.
    opened_in: AtomicU32,
    /// Whether a pool asked for the level of thread safety of this connection, and was content.
    safe: AtomicBool,
}

impl CoreSteady {
    /// Whether an object is one, by its type.
    ///
    /// # Safety
    /// The object is alive, and the thread is attached.
    #[inline]
    pub(crate) unsafe fn is(object: *mut PyObject) -> bool {
        // SAFETY: passed on to the caller.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: passed on to the caller.
        unsafe { ffi::PyObject_TypeCheck(object, Self::type_object_raw(py)) != 0 }
    }

    /// Whether `begin` was called, and neither `commit` nor `rollback` since.
    #[inline]
    pub(crate) fn in_transaction(&self) -> bool {
        self.transaction.load(Relaxed)
    }

    /// Forgets that `begin` was called.
    #[inline]
    pub(crate) fn end_transaction(&self) {
        self.transaction.store(false, Relaxed);
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// When to check whether the connection is alive, as bits.
    #[inline]
    pub(crate) fn pings(&self) -> i64 {
        self.ping.load(Relaxed)
    }

    /// The level of thread safety: a new reference, or null.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline]
    pub(crate) unsafe fn stated_threadsafety(&self) -> *mut PyObject {
        // SAFETY: passed on to the caller.
        unsafe { self.threadsafety.get_raw() }
    }

    /// Whether `note_safe` was called since the connection was opened.
    #[inline]
    pub(super) fn is_known_safe(&self) -> bool {
        self.safe.load(Relaxed)
    }

    /// Notes that a pool need not ask for the level of thread safety again.
    pub(super) fn note_safe(&self) {
        self.safe.store(true, Relaxed);
    }

    /// Whether the limit of uses is reached.
    #[inline]
    pub(crate) fn overused(&self) -> bool {
        let limit = self.maxusage.load(Relaxed);
        limit != 0 && self.usage.load(Relaxed) >= limit
    }

    /// Counts one use.
    #[inline]
    pub(crate) fn count(&self) {
        self.usage.fetch_add(1, Relaxed);
    }

    /// Whether the error that is set is one that a new connection may help against.
    ///
    /// # Safety
    /// The thread is attached, and an error is set.
    pub(crate) unsafe fn may_recover(&self) -> bool {
        // SAFETY: passed on to the caller.
        let failures = unsafe { self.failures.get_raw() };
        if failures.is_null() {
            return false;
        }
        // SAFETY: as above; we own the reference.
        let matches = unsafe { ffi::PyErr_ExceptionMatches(failures) } != 0;
        // SAFETY: as above. The field, or whoever replaced its value, has another reference; should
        // it be the last, classes and tuples run no code when they go.
        unsafe { ffi::Py_DecRef(failures) };
        matches
    }

    /// The driver's connection: a new reference. `None` stands in for one that is missing.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline]
    pub(crate) unsafe fn raw(&self) -> *mut PyObject {
        // SAFETY: passed on to the caller.
        let con = unsafe { self.con.get_raw() };
        if con.is_null() {
            none()
        } else {
            con
        }
    }
}

/// Adds the class to the module, with its functions.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CoreSteady>()?;
    steady_hot::METHODS.install(&module.py().get_type::<CoreSteady>())
}

/// The error for a field that was never set.
pub(crate) fn unset(name: &str) -> PyErr {
    PyAttributeError::new_err(format!("{name} is not set: call super().__init__() first"))
}

#[pymethods]
impl CoreSteady {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            con: Field::new(None),
            failures: Field::new(None),
            threadsafety: Field::new(None),
            transaction: AtomicBool::new(false),
            closed: AtomicBool::new(true),
            usage: AtomicI64::new(0),
            maxusage: AtomicI64::new(0),
            ping: AtomicI64::new(0),
            opened_in: AtomicU32::new(fork::generation()),
            safe: AtomicBool::new(false),
        }
    }

    /// Store a connection of the driver's for subsequent use.
    fn _store(&self, con: Py<PyAny>, py: Python<'_>) {
        self.opened_in.store(fork::generation(), Relaxed);
        self.safe.store(false, Relaxed);
        self.con.set(py, Some(con));
        self.transaction.store(false, Relaxed);
        self.closed.store(false, Relaxed);
        self.usage.store(0, Relaxed);
    }

    /// Count one use, whatever other threads count meanwhile.
    fn _count_use(&self) {
        self.count();
    }

    /// Mark the beginning of a transaction, and tell the driver if it has ``begin()``.
    #[pyo3(signature = (*args, **kwargs))]
    fn begin(&self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let py = args.py();
        self.transaction.store(true, Relaxed);
        let con = self.con.get(py).ok_or_else(|| unset("_con"))?;
        if let Some(begin) = con.getattr_opt(names().begin.bind(py))? {
            begin.call(args, kwargs)?;
        }
        Ok(())
    }

    /// Whether the connection was opened by an ancestor of this process.
    #[getter]
    fn _inherited(&self) -> bool {
        self.opened_in.load(Relaxed) != fork::generation()
    }

    #[getter]
    fn _con<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.con.get(py).ok_or_else(|| unset("_con"))
    }

    #[setter(_con)]
    fn set_con(&self, py: Python<'_>, con: Py<PyAny>) {
        self.con.set(py, Some(con));
    }

    #[getter]
    fn _failures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.failures.get(py).ok_or_else(|| unset("_failures"))
    }

    #[setter(_failures)]
    fn set_failures(&self, py: Python<'_>, failures: Py<PyAny>) {
        self.failures.set(py, Some(failures));
    }

    #[getter]
    fn _threadsafety<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.threadsafety.get(py).ok_or_else(|| unset("_threadsafety"))
    }

    #[setter(_threadsafety)]
    fn set_threadsafety(&self, py: Python<'_>, level: Py<PyAny>) {
        self.safe.store(false, Relaxed);
        self.threadsafety.set(py, Some(level));
    }

    #[getter]
    fn _transaction(&self) -> bool {
        self.in_transaction()
    }

    #[setter(_transaction)]
    fn set_transaction(&self, begun: &Bound<'_, PyAny>) -> PyResult<()> {
        self.transaction.store(begun.is_truthy()?, Relaxed);
        Ok(())
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    #[setter(_closed)]
    fn set_closed(&self, closed: &Bound<'_, PyAny>) -> PyResult<()> {
        self.closed.store(closed.is_truthy()?, Relaxed);
        Ok(())
    }

    #[getter]
    fn _usage(&self) -> i64 {
        self.usage.load(Relaxed)
    }

    #[setter(_usage)]
    fn set_usage(&self, count: i64) {
        self.usage.store(count, Relaxed);
    }

    #[getter]
    fn _maxusage(&self) -> i64 {
        self.maxusage.load(Relaxed)
    }

    /// `None` means 0, which means no limit.
    #[setter(_maxusage)]
    fn set_maxusage(&self, limit: Option<i64>) {
        self.maxusage.store(limit.unwrap_or(0), Relaxed);
    }

    #[getter]
    fn _ping(&self) -> i64 {
        self.ping.load(Relaxed)
    }

    #[setter(_ping)]
    fn set_ping(&self, bits: i64) {
        self.ping.store(bits, Relaxed);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.con.traverse(&visit)?;
        self.failures.traverse(&visit)?;
        self.threadsafety.traverse(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.con.set(py, None);
        self.failures.set(py, None);
        self.threadsafety.set(py, None);
    }
}
