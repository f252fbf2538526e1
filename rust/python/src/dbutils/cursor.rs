//! `CoreCursor`: what `SteadyDBCursor` extends. Here is what it knows.
//!
//! Its methods are in `cursor_hot.rs`, what executes statements is in `statement.rs`, and attributes of
//! the driver's cursor are found by `forward.rs`.

use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32};

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::ffi::{self, PyObject};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

use super::call::{call, names, try_to};
use super::cursor_hot;
use super::forward;
use super::steady::unset;
use crate::field::Field;
use crate::fork;
use crate::raw::{none, slowly};

/// What a steady cursor knows; `millpond.dbutils.steady_db.SteadyDBCursor` extends it.
///
/// All atomics are relaxed: each is a flag or a number by itself.
#[pyclass(frozen, subclass, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct CoreCursor {
    con: Field,
    /// The driver's cursor.
    cursor: Field,
    args: Field,
    kwargs: Field,
    inputsizes: Field,
    outputsizes: Field,
    /// There may be sizes that wait for the next statement.
    sized: AtomicBool,
    closed: AtomicBool,
    no_failover: AtomicI64,
    /// The class does not say by itself how attributes and tough methods are made.
    plain: AtomicBool,
    /// The fork generation in which the driver's cursor was put here.
    opened_in: AtomicU32,
}

impl CoreCursor {
    /// The driver's cursor: a new reference. `None` stands in for one that is missing.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline]
    pub(crate) unsafe fn raw(&self) -> *mut PyObject {
        // SAFETY: passed on to the caller.
        let cursor = unsafe { self.cursor.get_raw() };
        if cursor.is_null() {
            none()
        } else {
            cursor
        }
    }

    /// The driver's cursor, a new reference, or null with the error set if it is missing or false.
    ///
    /// # Safety
    /// `object` is this cursor, and the thread is attached.
    #[inline]
    pub(crate) unsafe fn valid(&self, object: *mut PyObject) -> *mut PyObject {
        // SAFETY: passed on to the caller.
        let raw = unsafe { self.raw() };
        // SAFETY: our reference.
        let truth = unsafe { ffi::PyObject_IsTrue(raw) };
        if truth > 0 {
            return raw;
        }
        // SAFETY: our reference.
        unsafe { ffi::Py_DecRef(raw) };
        if truth == 0 {
            slowly(|py| {
                // SAFETY: alive during the call.
                let cursor = unsafe { Bound::from_borrowed_ptr(py, object) };
                cursor.call_method0(intern!(py, "_raise_invalid")).map(Bound::into_ptr)
            });
        }
        null_mut()
    }

    /// Closes the driver's cursor; if it can't be, so be it. False when something else happened.
    ///
    /// # Safety
    /// The thread is attached.
    pub(crate) unsafe fn close_raw(&self) -> bool {
        // SAFETY: passed on to the caller.
        let raw = unsafe { self.raw() };
        // SAFETY: we own a reference to it.
        let closed = unsafe { try_to(raw, names().close.as_ptr()) };
        // SAFETY: our reference. Should it be the last, finalizers keep an error that is set.
        unsafe { ffi::Py_DecRef(raw) };
        closed
    }

    fn clear_sizes(&self, py: Python<'_>) {
        self.inputsizes.set(py, None);
        self.outputsizes.set(py, None);
        self.sized.store(false, Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    pub(crate) fn note_closed(&self) {
        self.closed.store(true, Relaxed);
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.plain.load(Relaxed)
    }

    #[inline]
    pub(crate) fn has_sizes(&self) -> bool {
        self.sized.load(Relaxed)
    }

    /// The steady connection, or what stands in for it: a new reference, or null.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline]
    pub(crate) unsafe fn connection(&self) -> *mut PyObject {
        // SAFETY: passed on to the caller.
        unsafe { self.con.get_raw() }
    }

    /// A field that is a container from the first look on.
    fn container<'py, T>(
        field: &Field,
        py: Python<'py>,
        new: impl FnOnce() -> Bound<'py, T>,
    ) -> Bound<'py, PyAny> {
        field.get(py).unwrap_or_else(|| {
            let container = new().into_any();
            field.set(py, Some(container.clone().unbind()));
            container
        })
    }

    /// Whether the driver's cursor was made by an ancestor of this process.
    pub(crate) fn is_inherited(&self) -> bool {
        self.opened_in.load(Relaxed) != fork::generation()
    }

    fn adopt(&self, py: Python<'_>, cursor: Py<PyAny>) {
        self.opened_in.store(fork::generation(), Relaxed);
        self.cursor.set(py, Some(cursor));
    }

    /// Opens the driver's cursor, by whatever the connection has for that.
    fn open<'py>(
        con: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = con.py();
        if !args.is_empty() || kwargs.is_some() {
            return con.getattr(names().open_cursor.bind(py))?.call(args, kwargs);
        }
        // SAFETY: attached, and alive during the call.
        let cursor = unsafe { call(con.as_ptr(), names().open_cursor.as_ptr()) };
        // SAFETY: a new reference, or null with the error set.
        unsafe { Bound::from_owned_ptr_or_err(py, cursor) }
    }

    /// Whether instances of a class may take the shortcuts of `forward.rs`.
    fn is_plain_class(class: &Bound<'_, PyType>) -> PyResult<bool> {
        let py = class.py();
        let [get_attribute, get_tough_method] = ORIGINALS.get(py).expect("made with the class");
        Ok(class.getattr(intern!(py, "__getattr__"))?.is(get_attribute)
            && class.getattr(intern!(py, "_get_tough_method"))?.is(get_tough_method))
    }
}

/// `CoreCursor.__getattr__` and `CoreCursor._get_tough_method`.
static ORIGINALS: PyOnceLock<[Py<PyAny>; 2]> = PyOnceLock::new();

/// Adds the class to the module, with its functions and descriptors.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CoreCursor>()?;
    let class = module.py().get_type::<CoreCursor>();
    cursor_hot::METHODS.install(&class)?;
    let original = |name| class.getattr(name).map(Bound::unbind);
    // Whoever was first to set them, they are the same.
    let _ = ORIGINALS.set(module.py(), [original("__getattr__")?, original("_get_tough_method")?]);
    forward::install(module.py())
}

#[pymethods]
impl CoreCursor {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(con, *args, **kwargs)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        let [con, cursor, args, kwargs, inputsizes, outputsizes] =
            [(); 6].map(|()| Field::new(None));
        Self {
            con,
            cursor,
            args,
            kwargs,
            inputsizes,
            outputsizes,
            sized: AtomicBool::new(false),
            closed: AtomicBool::new(true),
            no_failover: AtomicI64::new(0),
            plain: AtomicBool::new(false),
            opened_in: AtomicU32::new(fork::generation()),
        }
    }

    /// Create a cursor on a steady connection.
    #[pyo3(signature = (con, *args, **kwargs))]
    fn __init__(
        slf: &Bound<'_, Self>,
        con: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        // For the finalizer, should anything below fail.
        this.closed.store(true, Relaxed);
        this.cursor.set(py, Some(py.None()));
        this.con.set(py, Some(con.clone().unbind()));
        // What is empty is made when somebody looks.
        let some_args = (!args.is_empty()).then(|| args.clone().into_any().unbind());
        this.args.set(py, some_args);
        this.kwargs.set(py, kwargs.map(|kwargs| kwargs.clone().into_any().unbind()));
        this.no_failover.store(0, Relaxed);
        this.clear_sizes(py);
        this.plain.store(Self::is_plain_class(&slf.get_type())?, Relaxed);
        let cursor = Self::open(con, args, kwargs).map_err(|error| Self::not_steady(con, error))?;
        this.adopt(py, cursor.unbind());
        this.closed.store(false, Relaxed);
        Ok(())
    }

    /// Forget the sizes for the next statement.
    fn _clearsizes(&self, py: Python<'_>) {
        self.clear_sizes(py);
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
    fn _cursor<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.cursor.get(py).ok_or_else(|| unset("_cursor"))
    }

    #[setter(_cursor)]
    fn set_cursor(&self, py: Python<'_>, cursor: Py<PyAny>) {
        self.adopt(py, cursor);
    }

    #[getter]
    fn _args<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        Self::container(&self.args, py, || PyTuple::empty(py))
    }

    #[setter(_args)]
    fn set_args(&self, py: Python<'_>, args: Py<PyAny>) {
        self.args.set(py, Some(args));
    }

    #[getter]
    fn _kwargs<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        Self::container(&self.kwargs, py, || PyDict::new(py))
    }

    #[setter(_kwargs)]
    fn set_kwargs(&self, py: Python<'_>, kwargs: Py<PyAny>) {
        self.kwargs.set(py, Some(kwargs));
    }

    #[getter]
    fn _inputsizes<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.sized.store(true, Relaxed);
        Self::container(&self.inputsizes, py, || PyList::empty(py))
    }

    #[setter(_inputsizes)]
    fn set_inputsizes(&self, py: Python<'_>, sizes: Py<PyAny>) {
        self.inputsizes.set(py, Some(sizes));
        self.sized.store(true, Relaxed);
    }

    #[getter]
    fn _outputsizes<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.sized.store(true, Relaxed);
        Self::container(&self.outputsizes, py, || PyDict::new(py))
    }

    #[setter(_outputsizes)]
    fn set_outputsizes(&self, py: Python<'_>, sizes: Py<PyAny>) {
        self.outputsizes.set(py, Some(sizes));
        self.sized.store(true, Relaxed);
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
    fn _no_failover(&self) -> i64 {
        self.no_failover.load(Relaxed)
    }

    #[setter(_no_failover)]
    fn set_no_failover(&self, depth: i64) {
        self.no_failover.store(depth, Relaxed);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.fields().into_iter().try_for_each(|field| field.traverse(&visit))
    }

    fn __clear__(&self, py: Python<'_>) {
        for field in self.fields() {
            field.set(py, None);
        }
    }
}

impl CoreCursor {
    fn fields(&self) -> [&Field; 6] {
        [&self.con, &self.cursor, &self.args, &self.kwargs, &self.inputsizes, &self.outputsizes]
    }

    /// What making a cursor on an object raises that has no `_cursor`.
    fn not_steady(con: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
        let py = con.py();
        if !error.is_instance_of::<PyAttributeError>(py) {
            return error;
        }
        let refusal = match con.repr() {
            Ok(con) => PyTypeError::new_err(format!("{con} is not a SteadyDBConnection.")),
            Err(error) => return error,
        };
        refusal.set_context(py, Some(error.clone_ref(py)));
        refusal.set_cause(py, Some(error));
        refusal
    }
}
