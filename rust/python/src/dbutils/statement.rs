//! Statements on a steady cursor, as long as they succeed.
//!
//! One that fails in a way that a new connection may help against goes on in Python, in
//! `SteadyDBCursor._retry_statement`.

use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject, Py_ssize_t};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::call::{names, perform, Arguments};
use super::cursor::CoreCursor;
use super::steady::CoreSteady;
use super::steady_hot::check;
use crate::raw::{keywords, receiver, slowly, Methods};

/// One of the driver's methods that execute something, and the cursor it is to run on.
#[derive(Clone, Copy)]
struct Statement {
    /// The steady cursor.
    object: *mut PyObject,
    name: *mut PyObject,
    /// Stored sizes are for methods whose name begins with `execute`.
    sized: bool,
    arguments: Arguments,
}

impl Statement {
    /// Executes it: a new reference to the driver's result, or null with the error set.
    ///
    /// # Safety
    /// All objects are alive during the call, `object` is a `CoreCursor`, and the thread is attached.
    unsafe fn run(self) -> *mut PyObject {
        // SAFETY: passed on to the caller.
        let cursor = unsafe { receiver::<CoreCursor>(self.object) }.get();
        // SAFETY: passed on to the caller.
        let con = unsafe { cursor.connection() };
        // SAFETY: our reference.
        let result = if !con.is_null() && unsafe { CoreSteady::is(con) } {
            // SAFETY: just checked.
            unsafe { self.run_on(con, cursor) }
        } else {
            // A stand-in for a steady connection is asked for everything by name.
            self.python("_run_statement", None)
        };
        // SAFETY: our reference, or null. Should it be the last, finalizers keep an error that is set.
        unsafe { ffi::Py_DecRef(con) };
        result
    }

    /// # Safety
    /// As for `run`, and `con` is a `CoreSteady`.
    unsafe fn run_on(self, con: *mut PyObject, cursor: &CoreCursor) -> *mut PyObject {
        // SAFETY: passed on to the caller.
        let steady = unsafe { receiver::<CoreSteady>(con) }.get();
        let transaction = steady.in_transaction();
        // SAFETY: attached.
        if !transaction && !unsafe { check(con, &names().on_execute) } {
            return null_mut();
        }
        if transaction || !steady.overused() {
            // SAFETY: passed on to the caller.
            let result = unsafe { self.attempt(cursor) };
            if !result.is_null() {
                steady.count();
                return result;
            }
            // SAFETY: an error is set.
            if !unsafe { steady.may_recover() } {
                return result;
            }
        }
        self.python("_retry_statement", Some((con, transaction)))
    }

    /// # Safety
    /// As for `run`.
    #[inline]
    unsafe fn attempt(self, cursor: &CoreCursor) -> *mut PyObject {
        let sized = self.sized && cursor.has_sizes();
        // SAFETY: attached, and alive during the call.
        if sized && !unsafe { perform(self.object, names().set_sizes.as_ptr()) } {
            return null_mut();
        }
        // SAFETY: attached.
        let raw = unsafe { cursor.raw() };
        // SAFETY: all objects are alive during the call.
        let result = unsafe { self.arguments.call(raw, self.name) };
        // SAFETY: our reference. Should it be the last, finalizers keep an error that is set.
        unsafe { ffi::Py_DecRef(raw) };
        if sized && !result.is_null() {
            // SAFETY: attached, and alive during the call.
            if !unsafe { perform(self.object, names().clear_sizes.as_ptr()) } {
                // SAFETY: our reference. Finalizers keep the error that is set.
                unsafe { ffi::Py_DecRef(result) };
                return null_mut();
            }
        }
        result
    }

    /// Goes on in one of the cursor's Python methods, with the connection, and with the error that is
    /// set, or none if the connection is overused.
    #[cold]
    fn python(self, method: &str, on: Option<(*mut PyObject, bool)>) -> *mut PyObject {
        slowly(|py| {
            let error = PyErr::take(py).map(|error| error.into_value(py));
            // SAFETY: alive during the call.
            let object = unsafe { Bound::from_borrowed_ptr(py, self.object) };
            // SAFETY: as above.
            let name = unsafe { Bound::from_borrowed_ptr(py, self.name) };
            let (args, kwargs) = self.arguments.pack(py)?;
            let result = match on {
                None => object.call_method1(method, (name, args, kwargs)),
                Some((con, transaction)) => {
                    // SAFETY: as above.
                    let con = unsafe { Bound::from_borrowed_ptr(py, con) };
                    object.call_method1(method, (name, args, kwargs, con, transaction, error))
                }
            };
            result.map(Bound::into_ptr)
        })
    }
}

/// What `cursor.execute` and its kin call: one of `TOUGH` each.
macro_rules! tough {
    ($function:ident, $name:ident, $sized:expr) => {
        unsafe extern "C" fn $function(
            slf: *mut PyObject,
            args: *const *mut PyObject,
            count: Py_ssize_t,
            kwnames: *mut PyObject,
        ) -> *mut PyObject {
            // SAFETY: the vector is as the interpreter passed it.
            let arguments = unsafe { Arguments::new(args, count, kwnames) };
            let name = names().$name.as_ptr();
            let statement = Statement { object: slf, name, sized: $sized, arguments };
            // SAFETY: `forward` makes these functions for cursors only.
            unsafe { statement.run() }
        }
    };
}

tough!(execute, execute, true);
tough!(executemany, executemany, true);
tough!(callproc, callproc, false);

/// A tough method of any other name: `slf` is a tuple of the cursor and that name.
///
/// # Safety
/// Called by the interpreter as a function that `get_tough_method` made.
unsafe fn named(slf: *mut PyObject, sized: bool, arguments: Arguments) -> *mut PyObject {
    // SAFETY: the tuple has two elements, and is alive during the call.
    let object = unsafe { ffi::PyTuple_GetItem(slf, 0) };
    // SAFETY: as above.
    let name = unsafe { ffi::PyTuple_GetItem(slf, 1) };
    // SAFETY: `get_tough_method` put a cursor there.
    unsafe { Statement { object, name, sized, arguments }.run() }
}

unsafe extern "C" fn named_execute(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the vector is as the interpreter passed it.
    let arguments = unsafe { Arguments::new(args, count, kwnames) };
    // SAFETY: called by the interpreter.
    unsafe { named(slf, true, arguments) }
}

unsafe extern "C" fn named_call(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the vector is as the interpreter passed it.
    let arguments = unsafe { Arguments::new(args, count, kwnames) };
    // SAFETY: called by the interpreter.
    unsafe { named(slf, false, arguments) }
}

/// What `cursor.execute` and its kin are made of.
pub(crate) static TOUGH: Methods<3> = Methods::new([
    keywords(c"execute", DOC, execute),
    keywords(c"executemany", DOC, executemany),
    keywords(c"callproc", DOC, callproc),
]);

/// The same for any other name, with sizes and without.
static NAMED: Methods<2> =
    Methods::new([keywords(c"execute", DOC, named_execute), keywords(c"call", DOC, named_call)]);

const DOC: &CStr = c"Call the driver's method of this name, on a new connection if need be.";

/// A tough method: a new reference, or an error if the name is no string.
pub(crate) fn tough_method(
    cursor: &Bound<'_, CoreCursor>,
    name: &Bound<'_, PyAny>,
) -> PyResult<Py<PyAny>> {
    let py = cursor.py();
    let sized = name.cast::<PyString>()?.to_cow()?.starts_with("execute");
    let bound = PyTuple::new(py, [cursor.as_any(), name])?;
    let definition = NAMED.definition(usize::from(!sized));
    // SAFETY: attached; the definition lives for ever, and a tuple is what its function expects.
    let method = unsafe { ffi::PyCFunction_NewEx(definition, bound.as_ptr(), null_mut()) };
    // SAFETY: a new reference, or null with the error set.
    unsafe { Bound::from_owned_ptr_or_err(py, method) }.map(Bound::unbind)
}
