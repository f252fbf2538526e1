//! Calls of Python methods from plain C functions, and the names of those methods.
//!
//! Everything here is called by C functions that the interpreter called: the thread is attached.

use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject, Py_ssize_t};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::raw::slowly;
pub(crate) use crate::vectorcall::{call, call_with};

/// Interned strings and small numbers that the hot functions pass on.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) begin: Py<PyString>,
    pub(crate) callproc: Py<PyString>,
    pub(crate) close: Py<PyString>,
    pub(crate) close_steady: Py<PyString>,
    pub(crate) commit: Py<PyString>,
    pub(crate) cursor: Py<PyString>,
    pub(crate) execute: Py<PyString>,
    pub(crate) executemany: Py<PyString>,
    pub(crate) open_cursor: Py<PyString>,
    pub(crate) ping_check: Py<PyString>,
    pub(crate) rollback: Py<PyString>,
    pub(crate) set_sizes: Py<PyString>,
    pub(crate) clear_sizes: Py<PyString>,
    /// The bits of `ping` for "when a cursor is made" and "when a statement is executed".
    pub(crate) on_cursor: Py<PyAny>,
    pub(crate) on_execute: Py<PyAny>,
}

static NAMES: PyOnceLock<Names> = PyOnceLock::new();

/// The names, after `prepare`.
#[inline]
pub(crate) fn names() -> &'static Names {
    // SAFETY: the interpreter called the C function that asks.
    let py = unsafe { Python::assume_attached() };
    NAMES.get(py).expect("the module makes the names before its classes")
}

/// Makes the names, once, when the module is imported.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    let text = |text: &str| PyString::intern(py, text).unbind();
    let number = |number: u8| number.into_pyobject(py).map(|object| object.into_any().unbind());
    let names = Names {
        begin: text("begin"),
        callproc: text("callproc"),
        close: text("close"),
        close_steady: text("_close"),
        commit: text("commit"),
        cursor: text("cursor"),
        execute: text("execute"),
        executemany: text("executemany"),
        open_cursor: text("_cursor"),
        ping_check: text("_ping_check"),
        rollback: text("rollback"),
        set_sizes: text("_setsizes"),
        clear_sizes: text("_clearsizes"),
        on_cursor: number(2)?,
        on_execute: number(4)?,
    };
    // Somebody else's names, were there any, would be the same.
    let _ = NAMES.set(py, names);
    Ok(())
}

/// Calls `object.name()` for what it does. False when it failed, so that an error is set.
///
/// # Safety
/// The objects are alive during the call, and the thread is attached.
#[inline]
pub(crate) unsafe fn perform(object: *mut PyObject, name: *mut PyObject) -> bool {
    // SAFETY: passed on to the caller.
    let result = unsafe { call(object, name) };
    // SAFETY: our reference, or null.
    unsafe { done(result) }
}

/// The same, where an `Exception` is no failure, but a `BaseException` is.
///
/// # Safety
/// The objects are alive during the call, and the thread is attached.
#[inline]
pub(crate) unsafe fn try_to(object: *mut PyObject, name: *mut PyObject) -> bool {
    // SAFETY: passed on to the caller.
    let performed = unsafe { perform(object, name) };
    // SAFETY: an error is set when it is asked.
    performed || unsafe { forgive() }
}

/// Does what a finalizer has to do by a method of its object. Nobody could catch an error.
///
/// # Safety
/// The objects are alive during the call, and the thread is attached.
pub(crate) unsafe fn finalize_by(object: *mut PyObject, name: *mut PyObject) {
    // SAFETY: passed on to the caller.
    let performed = unsafe { perform(object, name) };
    if !performed {
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() };
    }
}

/// Drops the result of a call. False when it was null, so that an error is set.
///
/// # Safety
/// `result` is a reference of the caller's, or null, and the thread is attached.
#[inline]
pub(crate) unsafe fn done(result: *mut PyObject) -> bool {
    // SAFETY: passed on to the caller.
    unsafe { ffi::Py_DecRef(result) };
    !result.is_null()
}

/// Forgets the error that is set, if it is an `Exception`. False when it is not, and stays.
///
/// # Safety
/// The thread is attached, and an error is set.
unsafe fn forgive() -> bool {
    // SAFETY: set when the interpreter starts, and never again.
    let class = unsafe { ffi::PyExc_Exception };
    // SAFETY: passed on to the caller.
    let forgivable = unsafe { ffi::PyErr_ExceptionMatches(class) } != 0;
    if forgivable {
        // SAFETY: passed on to the caller.
        unsafe { ffi::PyErr_Clear() };
    }
    forgivable
}

/// The arguments that the interpreter passed to a C function, on their way to another function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments {
    values: *const *mut PyObject,
    positional: usize,
    names: *mut PyObject,
}

/// The commonest arguments.
pub(crate) enum Only {
    Nothing,
    /// One positional argument: a borrowed reference.
    One(*mut PyObject),
    More,
}

impl Arguments {
    /// # Safety
    /// The vector and the tuple of names are as the interpreter passed them, and the result is used
    /// during that call only.
    #[inline]
    pub(crate) unsafe fn new(
        values: *const *mut PyObject,
        count: Py_ssize_t,
        names: *mut PyObject,
    ) -> Self {
        Self { values, positional: count.unsigned_abs(), names }
    }

    /// `object.name(*args, **kwargs)`: a new reference, or null with the error set.
    ///
    /// # Safety
    /// The objects are alive during the call, and the thread is attached.
    #[inline]
    pub(crate) unsafe fn call(self, object: *mut PyObject, name: *mut PyObject) -> *mut PyObject {
        if !self.names.is_null() || self.positional > 3 {
            // SAFETY: passed on to the caller.
            return unsafe { self.call_packed(object, name) };
        }
        match self.only() {
            // SAFETY: passed on to the caller.
            Only::Nothing => return unsafe { call(object, name) },
            // SAFETY: passed on to the caller.
            Only::One(one) => return unsafe { call_with(object, name, one) },
            Only::More => {}
        }
        // Null ends the list of arguments, so what is left over is not looked at.
        let [one, two, three] = [0, 1, 2].map(|index| self.get(index));
        let end = null_mut::<PyObject>();
        // SAFETY: passed on to the caller.
        unsafe { ffi::PyObject_CallMethodObjArgs(object, name, one, two, three, end) }
    }

    #[inline]
    pub(crate) fn only(self) -> Only {
        match (self.positional, self.names.is_null()) {
            (0, true) => Only::Nothing,
            (1, true) => Only::One(self.get(0)),
            _ => Only::More,
        }
    }

    /// A borrowed argument, or null beyond the last positional one.
    #[inline]
    fn get(self, index: usize) -> *mut PyObject {
        if index >= self.positional {
            return null_mut();
        }
        // SAFETY: below the number of values.
        unsafe { self.value(index) }
    }

    /// A borrowed value of the vector.
    ///
    /// # Safety
    /// The index is below the number of positional arguments and names.
    #[inline]
    unsafe fn value(self, index: usize) -> *mut PyObject {
        // SAFETY: within the interpreter's vector, as the caller says.
        let value = unsafe { self.values.add(index) };
        // SAFETY: as above; the interpreter filled it.
        unsafe { *value }
    }

    #[cold]
    unsafe fn call_packed(self, object: *mut PyObject, name: *mut PyObject) -> *mut PyObject {
        slowly(|py| {
            // SAFETY: alive during the call, as the caller says.
            let object = unsafe { Bound::from_borrowed_ptr(py, object) };
            // SAFETY: as above; all names are strings.
            let name = unsafe { Bound::from_borrowed_ptr(py, name) }.cast_into::<PyString>()?;
            let (args, kwargs) = self.pack(py)?;
            object.getattr(name)?.call(args, Some(&kwargs)).map(Bound::into_ptr)
        })
    }

    /// What a Python function with `args` and `kwargs` would be given.
    pub(crate) fn pack(self, py: Python<'_>) -> PyResult<(Bound<'_, PyTuple>, Bound<'_, PyDict>)> {
        let value = |index| {
            // SAFETY: below the length of the vector, here and in the loop.
            let value = unsafe { self.value(index) };
            // SAFETY: the vector's objects are alive during the call.
            unsafe { Bound::from_borrowed_ptr(py, value) }
        };
        let args = PyTuple::new(py, (0..self.positional).map(value))?;
        let kwargs = PyDict::new(py);
        // SAFETY: the interpreter's tuple of names, alive during the call, or null.
        if let Some(names) = unsafe { Bound::from_borrowed_ptr_or_opt(py, self.names) } {
            for (index, name) in names.cast_into::<PyTuple>()?.iter().enumerate() {
                kwargs.set_item(name, value(self.positional + index))?;
            }
        }
        Ok((args, kwargs))
    }
}
