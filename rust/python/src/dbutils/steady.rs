//! `CoreSteady`: what `SteadyDBConnection` extends. Here is what happens when nothing goes wrong.
//!
//! Wherever something does, a Python method of the subclass goes on: its name is at the call. Every
//! method that a user may have replaced (`rollback`, `_ping_check`, the driver's own) is called by
//! its name, and no lock is held while it runs.

use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32};

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::ffi::{self, PyMethodDef, PyObject, Py_ssize_t};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::PyTypeInfo;

use super::call::{call, call_with, done, forgive, names, Arguments, Only};
use crate::field::Field;
use crate::fork;
use crate::raw::{keywords, none, receiver, slowly, Methods};

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
    unsafe fn raw(&self) -> *mut PyObject {
        // SAFETY: passed on to the caller.
        let con = unsafe { self.con.get_raw() };
        if con.is_null() {
            none()
        } else {
            con
        }
    }
}

/// `steady._ping_check(bit)`, unless a transaction forbids it. False when that failed.
///
/// # Safety
/// Both are the same object, and the thread is attached.
#[inline]
pub(crate) unsafe fn check(object: *mut PyObject, bit: &Py<PyAny>) -> bool {
    let name = names().ping_check.as_ptr();
    // SAFETY: passed on to the caller.
    let result = unsafe { call_with(object, name, bit.as_ptr()) };
    // SAFETY: our reference, or null.
    unsafe { done(result) }
}

unsafe extern "C" fn ping_check(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreSteady.
    let steady = unsafe { receiver::<CoreSteady>(slf) };
    // SAFETY: the vector is as the interpreter passed it.
    let arguments = unsafe { Arguments::new(args, count, kwnames) };
    let asked = match arguments.only() {
        Only::Nothing => Some(1),
        // SAFETY: an argument is alive during the call.
        Only::One(bits) => Some(unsafe { ffi::PyLong_AsLongLong(bits) }),
        Only::More => None,
    };
    // SAFETY: attached.
    if asked == Some(-1) && !unsafe { ffi::PyErr_Occurred() }.is_null() {
        return null_mut();
    }
    if asked.is_some_and(|bits| bits & steady.get().ping.load(Relaxed) == 0) {
        return none();
    }
    slowly(|py| {
        let (args, kwargs) = arguments.pack(py)?;
        let check = steady.getattr(intern!(py, "_check_alive"))?;
        check.call(args, Some(&kwargs)).map(Bound::into_ptr)
    })
}

unsafe extern "C" fn reset(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreSteady.
    let steady = unsafe { receiver::<CoreSteady>(slf) }.get();
    // SAFETY: the vector is as the interpreter passed it.
    let force = unsafe { forced(Arguments::new(args, count, kwnames)) };
    if force < 0 {
        return null_mut();
    }
    if steady.closed.load(Relaxed) || !(force > 0 || steady.in_transaction()) {
        return none();
    }
    // SAFETY: attached, and alive during the call.
    let result = unsafe { call(slf, names().rollback.as_ptr()) };
    // SAFETY: our reference, or null; in that case an error is set.
    if unsafe { done(result) || forgive() } {
        none()
    } else {
        null_mut()
    }
}

/// The truth of the argument of `_reset`: 0 or 1, or -1 with the error set.
///
/// # Safety
/// Called while the interpreter's call lasts.
#[inline]
unsafe fn forced(arguments: Arguments) -> c_int {
    match arguments.only() {
        Only::Nothing => 0,
        // SAFETY: an argument is alive during the call.
        Only::One(force) => unsafe { ffi::PyObject_IsTrue(force) },
        Only::More => {
            let mut force = -1;
            let parsed = slowly(|py| {
                let (args, kwargs) = arguments.pack(py)?;
                let wrong = || PyTypeError::new_err("_reset() takes one argument, 'force'");
                let value = kwargs.get_item("force")?.ok_or_else(wrong)?;
                if args.len() + kwargs.len() != 1 {
                    return Err(wrong());
                }
                force = c_int::from(value.is_truthy()?);
                Ok(none())
            });
            // SAFETY: our reference, or null.
            unsafe { done(parsed) };
            force
        }
    }
}

/// Ends the transaction with one of the driver's methods.
///
/// # Safety
/// Called by the interpreter as a method of `CoreSteady`.
#[inline]
unsafe fn end(slf: *mut PyObject, name: *mut PyObject) -> *mut PyObject {
    // SAFETY: passed on to the caller.
    let steady = unsafe { receiver::<CoreSteady>(slf) };
    steady.get().transaction.store(false, Relaxed);
    // SAFETY: attached.
    let raw = unsafe { steady.get().raw() };
    // SAFETY: we own a reference to it.
    let result = unsafe { call(raw, name) };
    // SAFETY: our reference. Should it be the last, finalizers keep an error that is set.
    unsafe { ffi::Py_DecRef(raw) };
    // SAFETY: our reference, or null.
    let ended = unsafe { done(result) };
    // SAFETY: an error is set when it is asked.
    let lost = !ended && unsafe { steady.get().may_recover() };
    if ended {
        return none();
    }
    if !lost {
        return null_mut();
    }
    slowly(|py| {
        let error = PyErr::fetch(py);
        let raised = steady.call_method1(intern!(py, "_reopen_after"), (error.value(py),))?;
        Ok(raised.into_ptr())
    })
}

unsafe extern "C" fn rollback(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreSteady.
    unsafe { end(slf, names().rollback.as_ptr()) }
}

unsafe extern "C" fn commit(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreSteady.
    unsafe { end(slf, names().commit.as_ptr()) }
}

unsafe extern "C" fn open_cursor(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreSteady.
    let steady = unsafe { receiver::<CoreSteady>(slf) };
    // SAFETY: the vector is as the interpreter passed it.
    let arguments = unsafe { Arguments::new(args, count, kwnames) };
    let transaction = steady.get().in_transaction();
    // SAFETY: attached.
    if !transaction && !unsafe { check(slf, &names().on_cursor) } {
        return null_mut();
    }
    let overused = !transaction && steady.get().overused();
    if !overused {
        // SAFETY: attached.
        let raw = unsafe { steady.get().raw() };
        // SAFETY: we own a reference to it.
        let cursor = unsafe { arguments.call(raw, names().cursor.as_ptr()) };
        // SAFETY: our reference.
        unsafe { ffi::Py_DecRef(raw) };
        // SAFETY: an error is set when it is asked.
        if !cursor.is_null() || !unsafe { steady.get().may_recover() } {
            return cursor;
        }
    }
    slowly(|py| {
        let error = PyErr::take(py).map(|error| error.into_value(py));
        let (args, kwargs) = arguments.pack(py)?;
        let reopen = steady.getattr(intern!(py, "_reopen_cursor"))?;
        Ok(reopen.call1((error, transaction, args, kwargs))?.into_ptr())
    })
}

unsafe extern "C" fn threadsafety(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreSteady.
    let steady = unsafe { receiver::<CoreSteady>(slf) };
    // SAFETY: attached.
    let level = unsafe { steady.get().threadsafety.get_raw() };
    // SAFETY: attached.
    if !level.is_null() && level != unsafe { ffi::Py_None() } {
        return level;
    }
    // SAFETY: our reference, or null; `None` is never freed.
    unsafe { ffi::Py_DecRef(level) };
    slowly(|py| Ok(steady.call_method0(intern!(py, "_threadsafety_unknown"))?.into_ptr()))
}

static METHODS: Methods<6> = Methods::new([
    keywords(
        c"_ping_check",
        c"_ping_check($self, /, ping=1, reconnect=True)\n--\n\nCheck whether the connection is alive, and reopen it if it is not.",
        ping_check,
    ),
    keywords(
        c"_reset",
        c"_reset($self, /, force=False)\n--\n\nRoll back, if that is forced or a transaction has begun.",
        reset,
    ),
    keywords(
        c"_cursor",
        c"_cursor($self, /, *args, **kwargs)\n--\n\nReturn a new cursor of the driver's, on a new connection if need be.",
        open_cursor,
    ),
    PyMethodDef {
        ml_name: c"rollback".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: rollback },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"rollback($self, /)\n--\n\nRoll the transaction back.".as_ptr(),
    },
    PyMethodDef {
        ml_name: c"commit".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: commit },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"commit($self, /)\n--\n\nCommit the transaction.".as_ptr(),
    },
    PyMethodDef {
        ml_name: c"threadsafety".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: threadsafety },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"threadsafety($self, /)\n--\n\nReturn the driver's level of thread safety.".as_ptr(),
    },
]);

/// Adds the class to the module, with its functions.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CoreSteady>()?;
    METHODS.install(&module.py().get_type::<CoreSteady>())
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
        }
    }

    /// Store a connection of the driver's for subsequent use.
    fn _store(&self, con: Py<PyAny>, py: Python<'_>) {
        self.opened_in.store(fork::generation(), Relaxed);
        self.con.set(py, Some(con));
        self.transaction.store(false, Relaxed);
        self.closed.store(false, Relaxed);
        self.usage.store(0, Relaxed);
    }

    /// Count one use, whatever other threads count meanwhile.
    fn _count_use(&self) {
        self.count();
    }

    /// Mark the beginning of a transaction, and tell the driver if it has `begin()`.
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
