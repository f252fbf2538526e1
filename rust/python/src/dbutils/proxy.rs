//! What `PooledDB.connection()` returns: the right to use a connection until it is closed or dropped.
//!
//! Reads of attributes go to the steady connection (`attribute.rs`), writes stay here. Dropping the last
//! reference gives the connection back at once, in the same thread.

use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

use pyo3::ffi::{self, PyMethodDef, PyObject, Py_ssize_t};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::PyClass;

use super::attribute;
use super::lend;
use super::pooled::CorePooledDB;
use crate::field::Field;
use crate::fork;
use crate::raw::{none, receiver, Methods, Owned, Pending};

/// What both proxies have.
#[derive(Debug)]
pub(super) struct Hold {
    /// The steady connection; nothing, or `None`, once it was given back.
    con: Field,
    pool: Field,
    /// Whether `__getattr__` is ours, so that its answer need not be asked for.
    plain: AtomicBool,
    /// The fork generation in which the connection was lent.
    lent_in: AtomicU32,
}

/// A proxy for a connection that nobody else uses meanwhile.
#[pyclass(frozen, subclass, dict, weakref, module = "millpond.dbutils.pooled_db")]
#[derive(Debug)]
pub(crate) struct PooledDedicatedDBConnection {
    hold: Hold,
}

/// A proxy for a connection that others may use, too.
#[pyclass(frozen, subclass, dict, weakref, module = "millpond.dbutils.pooled_db")]
#[derive(Debug)]
pub(crate) struct PooledSharedDBConnection {
    hold: Hold,
    shared: Field,
}

/// One of the two.
pub(super) trait Proxy:
    PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync
{
    fn hold(&self) -> &Hold;

    /// Where a proxy of a shared connection has what it shares.
    fn shared(&self) -> Option<&Field>;
}

impl Proxy for PooledDedicatedDBConnection {
    fn hold(&self) -> &Hold {
        &self.hold
    }

    fn shared(&self) -> Option<&Field> {
        None
    }
}

impl Proxy for PooledSharedDBConnection {
    fn hold(&self) -> &Hold {
        &self.hold
    }

    fn shared(&self) -> Option<&Field> {
        Some(&self.shared)
    }
}

impl Hold {
    fn new(plain: bool) -> Self {
        Self {
            con: Field::new(None),
            pool: Field::new(None),
            plain: AtomicBool::new(plain),
            lent_in: AtomicU32::new(fork::generation()),
        }
    }

    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        // Relaxed: it is a flag by itself.
        self.plain.load(Relaxed)
    }

    /// The steady connection; `None` when it was given back.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline]
    pub(super) unsafe fn con(&self) -> Option<Owned> {
        // SAFETY: passed on to the caller; a new reference.
        unsafe { something(self.con.get_raw()) }
    }

    /// The pool.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline]
    pub(super) unsafe fn pool(&self) -> Option<Owned> {
        // SAFETY: passed on to the caller; a new reference.
        unsafe { something(self.pool.get_raw()) }
    }
}

/// Takes over a reference, but for null and `None`.
///
/// # Safety
/// The thread is attached, and the reference is the caller's.
#[inline]
unsafe fn something(object: *mut PyObject) -> Option<Owned> {
    // SAFETY: passed on to the caller.
    let object = unsafe { Owned::new(object) };
    // SAFETY: attached.
    let none = unsafe { ffi::Py_None() };
    object.filter(|object| object.as_ptr() != none)
}

/// Puts back what was taken.
#[cold]
fn put(field: &Field, object: Owned) {
    // SAFETY: the thread is attached, since it has `object`; the old reference is ours now.
    drop(unsafe { Owned::new(field.swap_raw(object.into_ptr())) });
}

/// Lends a dedicated connection: the proxy for it, or `None` with the exception set.
#[inline]
pub(super) fn lend(pool: Borrowed<'_, '_, CorePooledDB>, con: Owned) -> Option<Owned> {
    let py = pool.py();
    if !lend::is_safe(py, &con, false) {
        return None;
    }
    let proxy = match Bound::new(py, PooledDedicatedDBConnection { hold: Hold::new(true) }) {
        Ok(proxy) => proxy,
        Err(error) => {
            error.restore(py);
            return None;
        }
    };
    let hold = &proxy.get().hold;
    // Only now: a proxy that could not be made gives nothing back. What was there is null.
    hold.con.swap_raw(con.into_ptr());
    // SAFETY: attached, and the pool is alive.
    hold.pool.swap_raw(unsafe { ffi::Py_NewRef(pool.as_ptr()) });
    // SAFETY: a new reference.
    unsafe { Owned::new(proxy.into_ptr()) }
}

/// Gives the connection back, unless that was done. False with the exception set; then it still is to
/// be given back.
#[inline]
fn give_back<T: Proxy>(py: Python<'_>, proxy: &T) -> bool {
    let hold = proxy.hold();
    // Whoever gets it out of the field is the one to give it back.
    // SAFETY: attached; the reference was the field's.
    let Some(con) = (unsafe { something(hold.con.swap_raw(null_mut())) }) else { return true };
    if hold.lent_in.load(Relaxed) != fork::generation() {
        // It is the parent's, and so is what it is shared with: dropping it would close it.
        let _ = con.into_ptr();
        if let Some(shared) = proxy.shared() {
            let _ = shared.swap_raw(null_mut());
        }
        return true;
    }
    // SAFETY: attached.
    let pool = unsafe { Owned::new(hold.pool.get_raw()) };
    let pool = pool.as_ref().map_or_else(|| py.None().as_ptr(), Owned::as_ptr);
    let Some(field) = proxy.shared() else {
        if Owned::call1(pool, intern!(py, "cache"), con.as_ptr()).is_some() {
            return true;
        }
        put(&hold.con, con);
        return false;
    };
    // SAFETY: attached; the reference was the field's.
    let shared = unsafe { Owned::new(field.swap_raw(null_mut())) };
    let given = shared.as_ref().map_or_else(|| con.as_ptr(), Owned::as_ptr);
    if Owned::call1(pool, intern!(py, "unshare"), given).is_some() {
        return true;
    }
    put(&hold.con, con);
    if let Some(shared) = shared {
        put(field, shared);
    }
    false
}

/// The last reference is gone: gives the connection back, and raises nothing.
#[inline]
fn finalize<T: Proxy>(proxy: &T) {
    // SAFETY: the interpreter deallocates the proxy, so the thread is attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: attached.
    let Some(con) = (unsafe { proxy.hold().con() }) else { return };
    // Whoever drops the proxy may have an exception set, and nothing may run with one.
    // SAFETY: attached.
    let _pending = unsafe { Pending::put_aside() };
    if !lend::with_last_chance(con.as_ptr(), || give_back(py, proxy)) {
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() };
    }
}

impl Drop for PooledDedicatedDBConnection {
    fn drop(&mut self) {
        finalize(self);
    }
}

impl Drop for PooledSharedDBConnection {
    fn drop(&mut self) {
        finalize(self);
    }
}

unsafe extern "C" fn close<T: Proxy>(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of the proxy.
    let proxy = unsafe { receiver::<T>(slf) };
    if give_back(proxy.py(), proxy.get()) {
        none()
    } else {
        null_mut()
    }
}

/// For subclasses, whose `close` may be their own, and for the garbage collector.
unsafe extern "C" fn del(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method.
    let py = unsafe { Python::assume_attached() };
    if Owned::call(slf, intern!(py, "close")).is_none() {
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() };
    }
    none()
}

unsafe extern "C" fn enter(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: attached, and alive during the call.
    unsafe { ffi::Py_NewRef(slf) }
}

unsafe extern "C" fn exit(
    slf: *mut PyObject,
    _: *mut *mut PyObject,
    _: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method.
    let py = unsafe { Python::assume_attached() };
    match Owned::call(slf, intern!(py, "close")) {
        Some(_) => none(),
        None => null_mut(),
    }
}

const fn no_arguments(
    name: &'static std::ffi::CStr,
    doc: &'static std::ffi::CStr,
    function: ffi::PyCFunction,
) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }
}

const fn methods<T: Proxy>() -> Methods<5> {
    Methods::new([
        no_arguments(
            c"close",
            c"close($self, /)\n--\n\nGive the connection back to the pool; again, do nothing.",
            close::<T>,
        ),
        no_arguments(
            c"__del__",
            c"__del__($self, /)\n--\n\nGive the connection back to the pool.",
            del,
        ),
        no_arguments(c"__enter__", c"__enter__($self, /)\n--\n\nReturn the proxy.", enter),
        PyMethodDef {
            ml_name: c"__exit__".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: exit },
            ml_flags: ffi::METH_FASTCALL,
            ml_doc: c"__exit__($self, /, *exc)\n--\n\nClose the proxy.".as_ptr(),
        },
        PyMethodDef {
            ml_name: c"__getattr__".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: attribute::getattr::<T> },
            ml_flags: ffi::METH_O,
            ml_doc:
                c"__getattr__($self, name, /)\n--\n\nReturn an attribute of the steady connection."
                    .as_ptr(),
        },
    ])
}

static DEDICATED: Methods<5> = methods::<PooledDedicatedDBConnection>();
static SHARED: Methods<5> = methods::<PooledSharedDBConnection>();

/// Adds the classes to the module, with their functions.
pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<PooledDedicatedDBConnection>()?;
    module.add_class::<PooledSharedDBConnection>()?;
    DEDICATED.install(&py.get_type::<PooledDedicatedDBConnection>())?;
    SHARED.install(&py.get_type::<PooledSharedDBConnection>())?;
    attribute::install::<PooledDedicatedDBConnection>(py)?;
    attribute::install::<PooledSharedDBConnection>(py)
}

/// Begins the life of a proxy that Python makes.
fn initialize<T: Proxy>(
    slf: &Bound<'_, T>,
    pool: Py<PyAny>,
    con: &Bound<'_, PyAny>,
    needs_more: bool,
) -> PyResult<()> {
    let py = slf.py();
    let hold = slf.get().hold();
    hold.con.set(py, None);
    // SAFETY: a new reference.
    let Some(owned) = (unsafe { Owned::new(con.clone().into_ptr()) }) else { return Ok(()) };
    if !lend::is_safe(py, &owned, needs_more) {
        drop(owned);
        return Err(PyErr::fetch(py));
    }
    let ours = py.get_type::<T>().getattr(intern!(py, "__getattr__"))?;
    let plain = slf.as_any().get_type().getattr(intern!(py, "__getattr__"))?.is(&ours);
    // Relaxed: nobody else has the proxy yet.
    hold.plain.store(plain, Relaxed);
    hold.lent_in.store(fork::generation(), Relaxed);
    hold.pool.set(py, Some(pool));
    hold.con.set(py, Some(con.clone().unbind()));
    drop(owned);
    Ok(())
}

#[pymethods]
impl PooledDedicatedDBConnection {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { hold: Hold::new(false) }
    }

    fn __init__(slf: &Bound<'_, Self>, pool: Py<PyAny>, con: &Bound<'_, PyAny>) -> PyResult<()> {
        initialize(slf, pool, con, false)
    }

    #[getter]
    fn _con(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.hold.con.get(py).map(Bound::unbind)
    }

    #[setter]
    fn set__con(&self, py: Python<'_>, con: Option<Py<PyAny>>) {
        self.hold.con.set(py, con);
    }

    #[getter]
    fn _pool(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.hold.pool.get(py).map(Bound::unbind)
    }

    #[setter]
    fn set__pool(&self, py: Python<'_>, pool: Option<Py<PyAny>>) {
        self.hold.pool.set(py, pool);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hold.con.traverse(&visit)?;
        self.hold.pool.traverse(&visit)
    }

    // The garbage collector called `__del__` before, so there is nothing to give back any more.
    fn __clear__(&self, py: Python<'_>) {
        self.hold.con.set(py, None);
        self.hold.pool.set(py, None);
    }
}

#[pymethods]
impl PooledSharedDBConnection {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { hold: Hold::new(false), shared: Field::new(None) }
    }

    fn __init__(
        slf: &Bound<'_, Self>,
        pool: Py<PyAny>,
        shared_con: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let con = shared_con.getattr(intern!(slf.py(), "con"))?;
        slf.get().shared.set(slf.py(), Some(shared_con.clone().unbind()));
        initialize(slf, pool, &con, true)
    }

    #[getter]
    fn _con(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.hold.con.get(py).map(Bound::unbind)
    }

    #[setter]
    fn set__con(&self, py: Python<'_>, con: Option<Py<PyAny>>) {
        self.hold.con.set(py, con);
    }

    #[getter]
    fn _pool(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.hold.pool.get(py).map(Bound::unbind)
    }

    #[setter]
    fn set__pool(&self, py: Python<'_>, pool: Option<Py<PyAny>>) {
        self.hold.pool.set(py, pool);
    }

    #[getter]
    fn _shared_con(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.shared.get(py).map(Bound::unbind)
    }

    #[setter]
    fn set__shared_con(&self, py: Python<'_>, shared: Option<Py<PyAny>>) {
        self.shared.set(py, shared);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let fields = [&self.hold.con, &self.hold.pool, &self.shared];
        fields.into_iter().try_for_each(|field| field.traverse(&visit))
    }

    // As above.
    fn __clear__(&self, py: Python<'_>) {
        for field in [&self.hold.con, &self.hold.pool, &self.shared] {
            field.set(py, None);
        }
    }
}
