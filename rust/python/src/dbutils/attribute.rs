//! Attributes of a proxy that are those of its steady connection.
//!
//! `__getattr__` is asked only after an `AttributeError` was made and thrown away, so the names that a
//! steady connection is known to have are descriptors. They do not set: what is written to a proxy, and
//! what a subclass defines, comes first. A subclass with a `__getattr__` of its own is asked instead.

use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::forward::{self, Attribute};
use super::proxy::{Hold, Proxy};
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

pub(super) unsafe extern "C" fn getattr<T: Proxy>(
    slf: *mut PyObject,
    name: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of the proxy.
    let proxy = unsafe { receiver::<T>(slf) };
    look_up(proxy.py(), proxy.get(), name)
}

unsafe extern "C" fn get<T: Proxy>(
    slf: *mut PyObject,
    object: *mut PyObject,
    _: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a slot of a class that is derived from Attribute.
    let attribute = unsafe { receiver::<Attribute>(slf) };
    let py = attribute.py();
    // SAFETY: attached; the object is alive during the call.
    let ours = !object.is_null()
        && unsafe { ffi::PyObject_TypeCheck(object, T::type_object_raw(py)) } != 0;
    if !ours {
        return forward::missing(&attribute);
    }
    // SAFETY: just checked.
    let proxy = unsafe { receiver::<T>(object) }.get();
    if !proxy.hold().is_plain() {
        return forward::missing(&attribute);
    }
    look_up(py, proxy, attribute.get().name.as_ptr())
}

/// An attribute of the steady connection: a new reference, or null with the exception set.
#[inline]
fn look_up<T: Proxy>(py: Python<'_>, proxy: &T, name: *mut PyObject) -> *mut PyObject {
    // SAFETY: attached.
    let Some(con) = (unsafe { proxy.hold().con() }) else { return invalid() };
    // SAFETY: attached; both are alive.
    let found = unsafe { ffi::PyObject_GetAttr(con.as_ptr(), name) };
    if found.is_null() || proxy.shared().is_none() {
        return found;
    }
    // SAFETY: a new reference.
    match unsafe { Owned::new(found) } {
        Some(found) => waking(py, proxy.hold(), name, found),
        None => null_mut(),
    }
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
    let Some(pool) = (unsafe { hold.pool() }) else { return found.into_ptr() };
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
pub(super) fn install<T: Proxy>(py: Python<'_>) -> PyResult<()> {
    let class = forward::descriptor_class(py, get::<T>)?;
    for name in NAMES {
        py.get_type::<T>().setattr(name, class.call1((name, None::<usize>))?)?;
    }
    Ok(())
}
