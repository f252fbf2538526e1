//! Attributes of a proxy that are those of its steady connection.
//!
//! They are asked for only after the proxy's own class was found not to have them, and the
//! `AttributeError` that says so is dear. So the names that a steady connection is known to have are
//! descriptors. They do not set: what is written to a proxy, and what a subclass defines, comes first. A
//! subclass with a `__getattr__` of its own is asked instead.

use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::forward::{self, Attribute};
use super::proxy::Hold;
use super::proxy_class::{class, hold};
use crate::raw::{receiver, slowly, Owned};

const NAMES: [&str; 9] = [
    "begin",
    "cancel",
    "commit",
    "cursor",
    "dbapi",
    "dbapi_connection",
    "ping",
    "rollback",
    "threadsafety",
];

/// What the interpreter asks for an attribute of a proxy.
pub(super) unsafe extern "C" fn getattro<const IS_SHARED: bool>(
    slf: *mut PyObject,
    name: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter.
    let found = unsafe { ffi::PyObject_GenericGetAttr(slf, name) };
    // SAFETY: alive during the call.
    let is_ours = unsafe { ffi::Py_TYPE(slf) } == class::<IS_SHARED>();
    // A subclass goes on with `__getattr__`, which may be its own.
    if !found.is_null() || !is_ours {
        return found;
    }
    // SAFETY: set when the interpreter starts, and never again.
    let missing = unsafe { ffi::PyExc_AttributeError };
    // SAFETY: attached.
    if unsafe { ffi::PyErr_ExceptionMatches(missing) } == 0 {
        return null_mut();
    }
    // SAFETY: attached.
    unsafe { ffi::PyErr_Clear() };
    // SAFETY: passed on to the caller.
    unsafe { getattr::<IS_SHARED>(slf, name) }
}

/// `__getattr__`.
pub(super) unsafe extern "C" fn getattr<const IS_SHARED: bool>(
    slf: *mut PyObject,
    name: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: a proxy, alive during the call.
    let hold = unsafe { hold(slf) };
    look_up::<IS_SHARED>(py, hold, name)
}

/// What gets a descriptor's value.
unsafe extern "C" fn get<const IS_SHARED: bool>(
    slf: *mut PyObject,
    object: *mut PyObject,
    owner: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a slot of a class that is derived from Attribute.
    let attribute = unsafe { receiver::<Attribute>(slf) };
    // SAFETY: attached; the object is alive during the call.
    if object.is_null() || unsafe { ffi::PyObject_TypeCheck(object, class::<IS_SHARED>()) } == 0 {
        return forward::missing(&attribute, owner);
    }
    // SAFETY: just checked.
    let hold = unsafe { hold(object) };
    if !hold.is_plain() {
        return forward::missing(&attribute, owner);
    }
    look_up::<IS_SHARED>(attribute.py(), hold, attribute.get().name.as_ptr())
}

/// An attribute of the steady connection: a new reference, or null with the exception set.
#[inline]
fn look_up<const IS_SHARED: bool>(
    py: Python<'_>,
    hold: &Hold,
    name: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: attached.
    let Some(con) = (unsafe { hold.con() }) else { return invalid() };
    // SAFETY: attached; both are alive.
    let found = unsafe { ffi::PyObject_GetAttr(con.as_ptr(), name) };
    if !IS_SHARED {
        return found;
    }
    // SAFETY: a new reference, or null.
    unsafe { Owned::new(found) }.map_or(null_mut(), |found| waking(py, hold, name, found))
}

/// What ends a transaction of a shared connection also tells those who wait for that.
fn waking(py: Python<'_>, hold: &Hold, name: *mut PyObject, found: Owned) -> *mut PyObject {
    let ends = [intern!(py, "commit"), intern!(py, "rollback"), intern!(py, "cancel")];
    // SAFETY: attached; names of attributes are strings.
    let is =
        |end: &&Bound<'_, PyString>| unsafe { ffi::PyUnicode_Compare(end.as_ptr(), name) } == 0;
    if !ends.iter().any(is) {
        return found.into_ptr();
    }
    // SAFETY: attached.
    let Some(pool) = (unsafe { hold.pool.owned() }) else { return found.into_ptr() };
    let waking = Owned::call1(pool.as_ptr(), intern!(py, "_waking"), found.as_ptr());
    waking.map_or(null_mut(), Owned::into_ptr)
}

/// The error for a proxy that was closed; no `AttributeError`, so not even `hasattr` takes it for one.
#[cold]
fn invalid() -> *mut PyObject {
    slowly(|py| Err(error(py, "InvalidConnectionError", ())))
}

/// An exception of `millpond.dbutils.pooled_db`.
pub(super) fn error<'py>(
    py: Python<'py>,
    class: &str,
    arguments: impl pyo3::call::PyCallArgs<'py>,
) -> PyErr {
    let class = py.import("millpond.dbutils.pooled_db").and_then(|module| module.getattr(class));
    let error = class.and_then(|class| class.call1(arguments));
    error.map_or_else(|error| error, PyErr::from_value)
}

/// Puts the descriptors into a class.
pub(super) fn install<const IS_SHARED: bool>(class: &Bound<'_, PyType>) -> PyResult<()> {
    let attribute = forward::descriptor_class(class.py(), get::<IS_SHARED>)?;
    for name in NAMES {
        class.setattr(name, attribute.call1((name, None::<usize>))?)?;
    }
    Ok(())
}
