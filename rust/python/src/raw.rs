//! Methods as plain C functions, put into a class by hand: what `hot.rs` and `dbutils/` are made of.
//!
//! PyO3 believes a thread in such a function to be detached. So between the entry and `slowly` nothing
//! of PyO3's is dropped: no `Py`, no `PyErr`.

use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::null_mut;

use pyo3::exceptions::{PyRuntimeError, PySystemError};
use pyo3::ffi::{self, PyMethodDef, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyClass, PyTypeInfo};

/// Goes on with everything that PyO3 offers. An error becomes the interpreter's.
pub(crate) fn slowly(work: impl FnOnce(Python<'_>) -> PyResult<*mut PyObject>) -> *mut PyObject {
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
pub(crate) unsafe fn receiver<'a, 'py, T: PyClass + PyTypeInfo>(
    object: *mut PyObject,
) -> Borrowed<'a, 'py, T> {
    // SAFETY: passed on to the caller.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: as above.
    let object = unsafe { Borrowed::from_ptr(py, object) };
    // SAFETY: as above. The interpreter checked the type: the function is a method descriptor of `T`.
    unsafe { object.cast_unchecked::<T>() }
}

/// A new reference to `None`.
pub(crate) fn none() -> *mut PyObject {
    // SAFETY: attached; all callers are functions that the interpreter called.
    let none = unsafe { ffi::Py_None() };
    // SAFETY: as above.
    unsafe { ffi::Py_NewRef(none) }
}

/// Whether an object is `None`.
pub(crate) fn is_none(object: *mut PyObject) -> bool {
    // SAFETY: attached; all callers are functions that the interpreter called.
    object == unsafe { ffi::Py_None() }
}

/// A function that takes keyword arguments.
pub(crate) const fn keywords(
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

/// A function without arguments.
pub(crate) const fn plain(
    name: &'static CStr,
    doc: &'static CStr,
    function: ffi::PyCFunction,
) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }
}

/// A function of one positional argument.
pub(crate) const fn unary(
    name: &'static CStr,
    doc: &'static CStr,
    function: ffi::PyCFunction,
) -> PyMethodDef {
    PyMethodDef { ml_flags: ffi::METH_O, ..plain(name, doc, function) }
}

/// Method definitions of one class, which the interpreter keeps pointers to for ever.
pub(crate) struct Methods<const N: usize>(UnsafeCell<[PyMethodDef; N]>);

// SAFETY: written only before `install` hands the pointers out, and never again.
unsafe impl<const N: usize> Sync for Methods<N> {}

impl<const N: usize> Methods<N> {
    pub(crate) const fn new(definitions: [PyMethodDef; N]) -> Self {
        Self(UnsafeCell::new(definitions))
    }

    /// One of the definitions, for an object that is made of it.
    pub(crate) fn definition(&'static self, index: usize) -> *mut PyMethodDef {
        assert!(index < N, "there are {N} definitions");
        self.0.get().cast::<PyMethodDef>().wrapping_add(index)
    }

    /// Puts the functions into the class.
    pub(crate) fn install(&'static self, class: &Bound<'_, PyType>) -> PyResult<()> {
        for index in 0..N {
            let definition = self.definition(index);
            // SAFETY: points into the static array, which lives for ever.
            let name = unsafe { (*definition).ml_name };
            // SAFETY: the names in it are C string literals.
            let name = unsafe { CStr::from_ptr(name) };
            let name = name.to_str().map_err(|_| PyRuntimeError::new_err("a name is not UTF-8"))?;
            // SAFETY: attached; the type and the definition are alive.
            let method = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), definition) };
            // SAFETY: a new reference, or null with the error set.
            let method = unsafe { Bound::from_owned_ptr_or_err(class.py(), method) }?;
            class.setattr(name, method)?;
        }
        Ok(())
    }
}
