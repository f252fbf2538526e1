//! `acquire`, `release`, `connection`, and the lease's `__enter__` and `__exit__`, as plain C functions.
//!
//! Measured (spike 2): through PyO3's trampolines a pair of empty methods takes about twice what the
//! whole of `acquire` and `release` takes here. So these five are put into their classes by hand, and
//! handle the ordinary case alone; all else goes on in PyO3's world, by `slowly`.
//!
//! PyO3 believes a thread in such a function to be detached. So between the entry and `slowly` nothing
//! of PyO3's is dropped: no `Py`, no `PyErr`.

use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::null_mut;

use pyo3::exceptions::{PyRuntimeError, PySystemError, PyTypeError};
use pyo3::ffi::{self, PyMethodDef, PyObject, Py_ssize_t};
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyClass, PyTypeInfo};

use crate::acquire;
use crate::connection::Connection;
use crate::lease::Lease;
use crate::pool::CorePool;
use crate::release::{self, Rest};
use crate::thread;

/// Goes on with everything that PyO3 offers. An error becomes the interpreter's.
fn slowly(work: impl FnOnce(Python<'_>) -> PyResult<*mut PyObject>) -> *mut PyObject {
    let attached = Python::try_attach(|py| {
        let result = catch_unwind(AssertUnwindSafe(|| work(py)));
        let result = result.unwrap_or_else(|_| Err(PySystemError::new_err("millpond panicked")));
        result.unwrap_or_else(|error| {
            error.restore(py);
            null_mut()
        })
    });
    attached.unwrap_or_else(|| {
        let message = c"the interpreter is shutting down";
        // SAFETY: set when the interpreter starts, and never again.
        let class = unsafe { ffi::PyExc_RuntimeError };
        // SAFETY: the interpreter called us, so the thread is attached, whatever PyO3 allows.
        unsafe { ffi::PyErr_SetString(class, message.as_ptr()) };
        null_mut()
    })
}

/// The object behind a pointer that the interpreter passed as `self`.
///
/// # Safety
/// `object` is an instance of `T` and stays so for `'a`, and the thread is attached.
#[inline]
unsafe fn receiver<'a, 'py, T: PyClass + PyTypeInfo>(
    object: *mut PyObject,
) -> Borrowed<'a, 'py, T> {
    // SAFETY: passed on to the caller.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: as above.
    let object = unsafe { Borrowed::from_ptr(py, object) };
    // SAFETY: as above. The interpreter checked the type: the function is a method descriptor of `T`.
    unsafe { object.cast_unchecked::<T>() }
}

fn none() -> *mut PyObject {
    // SAFETY: attached; all callers are functions that the interpreter called.
    let none = unsafe { ffi::Py_None() };
    // SAFETY: as above.
    unsafe { ffi::Py_NewRef(none) }
}

unsafe extern "C" fn acquire_(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CorePool.
    let pool = unsafe { receiver::<CorePool>(slf) };
    if count == 0 && names.is_null() {
        if let Some(connection) = fast_acquire(pool.get()) {
            return connection;
        }
    }
    slowly(|py| {
        // SAFETY: the vector is as the interpreter passed it.
        let timeout = unsafe { timeout(py, "acquire", args, count, names) }?;
        acquire::acquire(&pool, timeout.as_ref()).map(|(_, connection)| connection.into_ptr())
    })
}

/// A new reference to a connection, if all that takes is a CAS.
#[inline]
fn fast_acquire(pool: &CorePool) -> Option<*mut PyObject> {
    let inner = pool.inner().filter(|inner| inner.plain)?;
    let claim = inner.try_claim()?;
    // SAFETY: the claim is ours until we give the connection out below.
    let connection = unsafe { inner.core.value(claim) }?;
    let object = connection.object.as_ptr();
    // SAFETY: attached, and the slot keeps the object alive.
    unsafe { ffi::Py_IncRef(object) };
    Some(object)
}

unsafe extern "C" fn release_(slf: *mut PyObject, connection: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CorePool.
    let pool = unsafe { receiver::<CorePool>(slf) };
    match fast_release(pool.get(), connection) {
        Some(Rest::Nothing) => none(),
        Some(rest) => slowly(|py| {
            release::finish(&pool, pool.get().started()?, rest)?;
            Ok(py.None().into_ptr())
        }),
        None => slowly(|py| {
            // SAFETY: an argument is alive during the call.
            let connection = unsafe { Bound::from_borrowed_ptr(py, connection) };
            release::release(&pool, &connection)?;
            Ok(py.None().into_ptr())
        }),
    }
}

#[inline]
fn fast_release(pool: &CorePool, connection: *mut PyObject) -> Option<Rest> {
    let inner = pool.inner().filter(|inner| inner.plain)?;
    let slot = inner.core.find(Connection::identity(connection), thread::habit(inner.id))?;
    let held = inner.core.held(slot, None)?;
    // SAFETY: all callers are functions that the interpreter called.
    Some(unsafe { release::give_back(inner, held) })
}

unsafe extern "C" fn connection_(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CorePool.
    let pool = unsafe { receiver::<CorePool>(slf) };
    if count == 0 && names.is_null() {
        if let Some(inner) = pool.get().inner() {
            let lease = Lease::new(pool.to_owned().unbind(), inner.settings.acquire_timeout);
            if let Ok(lease) = Bound::new(pool.py(), lease) {
                return lease.into_ptr();
            }
        }
    }
    slowly(|py| {
        // SAFETY: the vector is as the interpreter passed it.
        let timeout = unsafe { timeout(py, "connection", args, count, names) }?;
        let limit = acquire::limit(&pool, pool.get().started()?, timeout.as_ref())?;
        let lease = Lease::new(pool.to_owned().unbind(), limit);
        Ok(Bound::new(py, lease)?.into_ptr())
    })
}

unsafe extern "C" fn enter(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of Lease.
    let lease = unsafe { receiver::<Lease>(slf) };
    if let Some(connection) = lease.get().fast_enter() {
        return connection;
    }
    slowly(|py| lease.get().enter(py).map(Py::into_ptr))
}

unsafe extern "C" fn exit(
    slf: *mut PyObject,
    _: *mut *mut PyObject,
    _: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of Lease.
    let lease = unsafe { receiver::<Lease>(slf) };
    match lease.get().fast_exit() {
        Some(Rest::Nothing) => none(),
        Some(rest) => slowly(|py| {
            lease.get().finish(py, rest)?;
            Ok(py.None().into_ptr())
        }),
        None => slowly(|py| {
            lease.get().exit(py)?;
            Ok(py.None().into_ptr())
        }),
    }
}

/// The one argument of `acquire` and `connection`, by keyword.
///
/// # Safety
/// The vector is as the interpreter passed it.
unsafe fn timeout<'py>(
    py: Python<'py>,
    function: &str,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if count != 0 {
        let message = format!("{function}() takes no positional arguments ({count} given)");
        return Err(PyTypeError::new_err(message));
    }
    if names.is_null() {
        return Ok(None);
    }
    // SAFETY: the interpreter's tuple of keyword names, alive during the call.
    let names = unsafe { Bound::from_borrowed_ptr(py, names) };
    let names: Vec<String> = names.extract()?;
    if let Some(name) = names.iter().find(|name| *name != "timeout") {
        let message = format!("{function}() got an unexpected keyword argument '{name}'");
        return Err(PyTypeError::new_err(message));
    }
    if names.is_empty() {
        return Ok(None);
    }
    // SAFETY: there is one value for each name, after no positional argument.
    let value = unsafe { *args };
    // SAFETY: the interpreter's vector holds live objects during the call.
    Ok(Some(unsafe { Bound::from_borrowed_ptr(py, value) }))
}

/// Method definitions that the interpreter keeps pointers to for ever.
struct Definitions(UnsafeCell<[PyMethodDef; 5]>);

// SAFETY: written only before `install` hands the pointers out, and never again.
unsafe impl Sync for Definitions {}

static DEFINITIONS: Definitions = Definitions(UnsafeCell::new([
    keywords(
        c"acquire",
        c"acquire($self, *, timeout=None)\n--\n\nAcquire a connection, waiting for one if all are in use.",
        acquire_,
    ),
    PyMethodDef {
        ml_name: c"release".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: release_ },
        ml_flags: ffi::METH_O,
        ml_doc: c"release($self, connection, /)\n--\n\nGive a connection back, for the next caller to use.".as_ptr(),
    },
    keywords(
        c"connection",
        c"connection($self, *, timeout=None)\n--\n\nLend a connection for the time of a ``with`` block.",
        connection_,
    ),
    PyMethodDef {
        ml_name: c"__enter__".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: enter },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"__enter__($self, /)\n--\n\nAcquire the connection.".as_ptr(),
    },
    PyMethodDef {
        ml_name: c"__exit__".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: exit },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: c"__exit__($self, /, *args)\n--\n\nRelease the connection.".as_ptr(),
    },
]));

const fn keywords(
    name: &'static CStr,
    doc: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

/// Puts the functions into their classes.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let pool = py.get_type::<CorePool>();
    let lease = py.get_type::<Lease>();
    for (index, class) in [&pool, &pool, &pool, &lease, &lease].into_iter().enumerate() {
        install_one(py, index, class)?;
    }
    Ok(())
}

fn install_one(py: Python<'_>, index: usize, class: &Bound<'_, PyType>) -> PyResult<()> {
    let definition = DEFINITIONS.0.get().cast::<PyMethodDef>().wrapping_add(index);
    // SAFETY: `index` is below 5, so this points into the static array, which lives for ever.
    let name = unsafe { (*definition).ml_name };
    // SAFETY: the names in it are C string literals.
    let name = unsafe { CStr::from_ptr(name) };
    let name = name.to_str().map_err(|_| PyRuntimeError::new_err("a name is not UTF-8"))?;
    // SAFETY: attached; the type and the definition are alive.
    let method = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), definition) };
    // SAFETY: a new reference, or null with the error set.
    let method = unsafe { Bound::from_owned_ptr_or_err(py, method) }?;
    class.setattr(name, method)
}
