//! The methods of `CoreSteady` that have to be fast, as plain C functions, for when nothing goes wrong.
//!
//! Wherever something does, a Python method of the subclass goes on: its name is at the call. Every
//! method that a user may have replaced (`rollback`, `_ping_check`, the driver's own) is called by
//! its name, and no lock is held while it runs.

use std::ffi::c_int;
use std::ptr::null_mut;

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::ffi::{self, PyObject, Py_ssize_t};
use pyo3::intern;
use pyo3::prelude::*;

use super::call::{call_with, done, finalize_by, names, perform, try_to, Arguments, Only};
use super::steady::CoreSteady;
use crate::raw::{keywords, none, plain, receiver, slowly, Methods};

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
    if asked.is_some_and(|bits| bits & steady.get().pings() == 0) {
        return none();
    }
    // SAFETY: attached.
    if asked.is_some() && unsafe { steady.get().is_pinged_by_driver() } {
        // SAFETY: called by the interpreter as a method of CoreSteady.
        return unsafe { ping_driver(slf) };
    }
    slowly(|py| {
        let (args, kwargs) = arguments.pack(py)?;
        let check = steady.getattr(intern!(py, "_check_alive"))?;
        check.call(args, Some(&kwargs)).map(Bound::into_ptr)
    })
}

/// Has the driver ping, without reconnecting by itself, as `PyMySQL` would, to a session that is not
/// prepared.
///
/// # Safety
/// Called by the interpreter as a method of `CoreSteady`.
#[inline]
unsafe fn ping_driver(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: passed on to the caller.
    let steady = unsafe { receiver::<CoreSteady>(slf) };
    // SAFETY: attached.
    let raw = unsafe { steady.get().raw() };
    // SAFETY: attached.
    let no = unsafe { ffi::Py_False() };
    // SAFETY: attached, and `False` lives for ever.
    let answer = unsafe { call_with(raw, names().ping.as_ptr(), no) };
    // SAFETY: our reference. Should it be the last, finalizers keep an error that is set.
    unsafe { ffi::Py_DecRef(raw) };
    // SAFETY: attached.
    if answer == unsafe { ffi::Py_None() } {
        // SAFETY: our reference, of an object that lives for ever.
        unsafe { ffi::Py_DecRef(answer) };
        // SAFETY: attached.
        let yes = unsafe { ffi::Py_True() };
        // SAFETY: as above.
        return unsafe { ffi::Py_NewRef(yes) };
    }
    if !answer.is_null() {
        // SAFETY: attached, and the reference is ours.
        match unsafe { ffi::PyObject_IsTrue(answer) } {
            1 => return answer,
            // SAFETY: our reference.
            _ => unsafe { ffi::Py_DecRef(answer) },
        }
    }
    slowly(|py| {
        let error = PyErr::take(py);
        if let Some(error) = error.as_ref().filter(|error| !error.is_instance_of::<PyException>(py))
        {
            return Err(error.clone_ref(py));
        }
        let error = error.map(|error| error.into_value(py));
        Ok(steady.call_method1(intern!(py, "_check_after"), (error,))?.into_ptr())
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
    let arguments = unsafe { Arguments::new(args, count, kwnames) };
    // SAFETY: the interpreter's call lasts.
    let force = unsafe { forced(arguments) };
    if force < 0 {
        return null_mut();
    }
    if steady.is_closed() || !(force > 0 || steady.in_transaction()) {
        return none();
    }
    // SAFETY: attached, and alive during the call.
    if unsafe { try_to(slf, names().rollback.as_ptr()) } {
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
    steady.get().end_transaction();
    // SAFETY: attached.
    let raw = unsafe { steady.get().raw() };
    // SAFETY: we own a reference to it.
    let ended = unsafe { perform(raw, name) };
    // SAFETY: our reference. Should it be the last, finalizers keep an error that is set.
    unsafe { ffi::Py_DecRef(raw) };
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
    let level = unsafe { steady.get().stated_threadsafety() };
    // SAFETY: attached.
    if !level.is_null() && level != unsafe { ffi::Py_None() } {
        return level;
    }
    // SAFETY: our reference, or null; `None` is never freed.
    unsafe { ffi::Py_DecRef(level) };
    slowly(|py| Ok(steady.call_method0(intern!(py, "_threadsafety_unknown"))?.into_ptr()))
}

unsafe extern "C" fn finalize(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter, so attached, and alive during the call.
    unsafe { finalize_by(slf, names().close_steady.as_ptr()) };
    none()
}

pub(crate) static METHODS: Methods<7> = Methods::new([
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
    plain(c"rollback", c"rollback($self, /)\n--\n\nRoll the transaction back.", rollback),
    plain(c"commit", c"commit($self, /)\n--\n\nCommit the transaction.", commit),
    plain(
        c"threadsafety",
        c"threadsafety($self, /)\n--\n\nReturn the driver's level of thread safety.",
        threadsafety,
    ),
    plain(c"__del__", c"__del__($self, /)\n--\n\nClose the connection.", finalize),
]);
