//! Methods as plain C functions, put into a class by hand: what `hot.rs` and `dbutils/` are made of.
//!
//! PyO3 believes a thread in such a function to be detached. So between the entry and `slowly` nothing
//! of PyO3's is dropped: no `Py`, no `PyErr`.

use std::cell::UnsafeCell;
use std::ffi::{c_long, c_void, CStr};
use std::mem::ManuallyDrop;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::{null_mut, NonNull};

use pyo3::exceptions::{PyRuntimeError, PySystemError};
use pyo3::ffi::{self, PyMethodDef, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};
use pyo3::{PyClass, PyTypeInfo};

use crate::vectorcall;

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

/// Runs the end of an object that still has something to give back.
///
/// Not by `attach`, which would panic while the interpreter is finalizing; then there is nothing left to
/// save.
pub(crate) fn finalize(work: impl FnOnce(Python<'_>)) {
    Python::try_attach(|py| {
        // Whoever drops the object may have an exception set, and nothing may run with one.
        // SAFETY: attached.
        let _pending = unsafe { Pending::put_aside() };
        work(py);
    });
}

/// The exception that ended a block, of the arguments of `__exit__`: its class, itself, and where it was
/// raised; or three times `None`.
///
/// # Safety
/// The vector is as the interpreter passed it, and the thread is attached.
pub(crate) unsafe fn ended_by(
    args: *mut *mut PyObject,
    count: ffi::Py_ssize_t,
) -> Option<*mut PyObject> {
    if count < 2 {
        return None;
    }
    // SAFETY: the vector has a second object, which is alive during the call.
    let error = unsafe { *args.wrapping_add(1) };
    (!is_none(error)).then_some(error)
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

/// A function of any positional arguments.
pub(crate) const fn positional(
    name: &'static CStr,
    doc: &'static CStr,
    function: ffi::PyCFunctionFast,
) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: function },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: doc.as_ptr(),
    }
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

/// A table that the interpreter reads, and keeps pointers to for ever.
pub(crate) struct Table<T, const N: usize>(UnsafeCell<[T; N]>);

// SAFETY: what is in it are names and functions, which are written here and never again.
unsafe impl<T, const N: usize> Sync for Table<T, N> {}

impl<T, const N: usize> Table<T, N> {
    pub(crate) const fn new(entries: [T; N]) -> Self {
        Self(UnsafeCell::new(entries))
    }

    pub(crate) const fn as_ptr(&'static self) -> *mut c_void {
        self.0.get().cast()
    }
}

/// A strong reference in such a function: PyO3's own would put off its drop.
#[derive(Debug)]
pub(crate) struct Owned(NonNull<PyObject>);

impl Owned {
    /// Takes over a new reference; `None` stands for null, mostly with the exception set.
    ///
    /// # Safety
    /// The reference is the caller's, and the thread is attached as long as the result lives.
    #[inline]
    pub(crate) unsafe fn new(object: *mut PyObject) -> Option<Self> {
        NonNull::new(object).map(Self)
    }

    /// Another reference to an object.
    ///
    /// # Safety
    /// The object is alive, and the thread is attached as long as the result lives.
    #[inline]
    pub(crate) unsafe fn another(object: *mut PyObject) -> Option<Self> {
        // SAFETY: passed on to the caller.
        let object = unsafe { ffi::Py_XNewRef(object) };
        // SAFETY: a new reference, or null.
        unsafe { Self::new(object) }
    }

    /// A number; `None` with the exception set.
    ///
    /// # Safety
    /// The thread is attached as long as the result lives.
    pub(crate) unsafe fn number(number: c_long) -> Option<Self> {
        // SAFETY: passed on to the caller.
        let object = unsafe { ffi::PyLong_FromLong(number) };
        // SAFETY: a new reference, or null.
        unsafe { Self::new(object) }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut PyObject {
        self.0.as_ptr()
    }

    /// Hands the reference over.
    #[inline]
    pub(crate) fn into_ptr(self) -> *mut PyObject {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// `object.name()`; `None` with the exception set.
    #[inline]
    pub(crate) fn call(object: *mut PyObject, name: &Bound<'_, PyString>) -> Option<Self> {
        // SAFETY: attached, as `name` shows; the caller's object is alive.
        let result = unsafe { vectorcall::call(object, name.as_ptr()) };
        // SAFETY: a new reference, or null.
        unsafe { Self::new(result) }
    }

    /// `object.name(argument)`; `None` with the exception set.
    #[inline]
    pub(crate) fn call1(
        object: *mut PyObject,
        name: &Bound<'_, PyString>,
        argument: *mut PyObject,
    ) -> Option<Self> {
        // SAFETY: as in `call`; the argument is the caller's.
        let result = unsafe { vectorcall::call_with(object, name.as_ptr(), argument) };
        // SAFETY: a new reference, or null.
        unsafe { Self::new(result) }
    }
}

impl Owned {
    /// `object.name(first, second)`; `None` with the exception set.
    #[cold]
    pub(crate) fn call2(
        object: *mut PyObject,
        name: &Bound<'_, PyString>,
        first: *mut PyObject,
        second: *mut PyObject,
    ) -> Option<Self> {
        let end = null_mut::<PyObject>();
        // SAFETY: as in `call1`.
        let result =
            unsafe { ffi::PyObject_CallMethodObjArgs(object, name.as_ptr(), first, second, end) };
        // SAFETY: a new reference, or null.
        unsafe { Self::new(result) }
    }
}

impl Drop for Owned {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: attached, as `new` demands, and the reference is ours.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) };
    }
}

/// Puts an exception aside, while something runs that must not see it, and back in the end.
#[derive(Debug)]
pub(crate) struct Pending([*mut PyObject; 3]);

impl Pending {
    /// # Safety
    /// The thread is attached until the result is dropped.
    #[inline]
    pub(crate) unsafe fn put_aside() -> Self {
        let [mut class, mut value, mut traceback] = [null_mut(); 3];
        // SAFETY: attached.
        if !unsafe { ffi::PyErr_Occurred() }.is_null() {
            // SAFETY: attached, and the places are ours.
            unsafe { ffi::PyErr_Fetch(&raw mut class, &raw mut value, &raw mut traceback) };
        }
        Self([class, value, traceback])
    }
}

impl Drop for Pending {
    #[inline]
    fn drop(&mut self) {
        let [class, value, traceback] = self.0;
        if !class.is_null() {
            // SAFETY: attached, and the references are those that `put_aside` got.
            unsafe { ffi::PyErr_Restore(class, value, traceback) };
        }
    }
}
