//! The methods of `CoreCursor` that are plain C functions: how it ends, and where attributes come from.

use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::call::{finalize_by, names};
use super::cursor::CoreCursor;
use super::statement::tough_method;
use crate::raw::{none, plain, receiver, slowly, unary, Methods};

unsafe extern "C" fn close(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreCursor.
    let cursor = unsafe { receiver::<CoreCursor>(slf) }.get();
    if cursor.is_closed() {
        return none();
    }
    // What an ancestor of this process opened is the ancestor's to close.
    // SAFETY: attached.
    if !cursor.is_inherited() && !unsafe { cursor.close_raw() } {
        return null_mut();
    }
    cursor.note_closed();
    none()
}

unsafe extern "C" fn finalize(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreCursor.
    let cursor = unsafe { receiver::<CoreCursor>(slf) }.get();
    // SAFETY: attached, and alive during the call.
    unsafe { finalize_by(slf, names().close.as_ptr()) };
    if cursor.is_inherited() {
        // This reference stays for ever: the driver must not finalize what an ancestor uses.
        // SAFETY: attached.
        let _ = unsafe { cursor.raw() };
    }
    none()
}

unsafe extern "C" fn get_attribute(slf: *mut PyObject, name: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreCursor.
    let cursor = unsafe { receiver::<CoreCursor>(slf) };
    // SAFETY: the receiver is the object.
    let raw = unsafe { cursor.get().valid(slf) };
    if raw.is_null() {
        return raw;
    }
    let attribute = slowly(|py| {
        // SAFETY: alive during the call.
        let name = unsafe { Bound::from_borrowed_ptr(py, name) };
        let text = name.cast::<PyString>()?.to_cow()?;
        if text.starts_with("execute") || text.starts_with("call") {
            let tough = cursor.call_method1(intern!(py, "_get_tough_method"), (&name,))?;
            return Ok(tough.into_ptr());
        }
        // SAFETY: we own a reference to it.
        unsafe { Bound::from_borrowed_ptr(py, raw) }
            .getattr(name.cast::<PyString>()?)
            .map(Bound::into_ptr)
    });
    // SAFETY: our reference. Should it be the last, finalizers keep an error that is set.
    unsafe { ffi::Py_DecRef(raw) };
    attribute
}

unsafe extern "C" fn get_tough_method(slf: *mut PyObject, name: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreCursor.
    let cursor = unsafe { receiver::<CoreCursor>(slf) };
    slowly(|py| {
        // SAFETY: alive during the call.
        let name = unsafe { Bound::from_borrowed_ptr(py, name) };
        tough_method(&cursor, &name).map(Py::into_ptr)
    })
}

pub(crate) static METHODS: Methods<4> = Methods::new([
    plain(
        c"close",
        c"close($self, /)\n--\n\nClose the cursor. Another time does nothing.",
        close,
    ),
    plain(c"__del__", c"__del__($self, /)\n--\n\nClose the cursor.", finalize),
    unary(
        c"__getattr__",
        c"__getattr__($self, name, /)\n--\n\nReturn a tough method, or an attribute of the driver's cursor.",
        get_attribute,
    ),
    unary(
        c"_get_tough_method",
        c"_get_tough_method($self, name, /)\n--\n\nReturn a method of the driver's cursor that survives the loss of the connection.",
        get_tough_method,
    ),
]);
