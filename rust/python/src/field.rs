//! A field of an object that refers to another Python object, and may be set at any time by any thread.
//!
//! With the GIL the lock is never contended; without it a plain pointer could be freed between its
//! load and the increment of its count. Under the lock there is only that increment, never a decrement,
//! so no Python code runs there and nobody detaches.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use parking_lot::Mutex;
use pyo3::ffi::{self, PyObject};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::raw::Owned;

/// One reference, or none.
#[derive(Debug)]
pub(crate) struct Field(Mutex<Reference>);

/// A strong reference that is dropped by hand, or null.
#[derive(Debug)]
struct Reference(*mut PyObject);

// SAFETY: a reference may be used by any thread that is attached, and all methods that use it are
// called by such threads only.
unsafe impl Send for Reference {}

impl Field {
    pub(crate) fn new(object: Option<Py<PyAny>>) -> Self {
        Self(Mutex::new(Reference(object.map_or(null_mut(), Py::into_ptr))))
    }

    /// A new reference, or null.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline]
    pub(crate) unsafe fn get_raw(&self) -> *mut PyObject {
        let place = self.0.lock();
        // SAFETY: the reference keeps the object alive while the lock is held.
        unsafe { ffi::Py_XINCREF(place.0) };
        place.0
    }

    /// The same for functions that PyO3 knows nothing of.
    ///
    /// # Safety
    /// The thread is attached as long as the result lives.
    #[inline]
    pub(crate) unsafe fn owned(&self) -> Option<Owned> {
        // SAFETY: passed on to the caller.
        let object = unsafe { self.get_raw() };
        // SAFETY: a new reference, or null.
        unsafe { Owned::new(object) }
    }

    /// Takes the reference out, likewise.
    ///
    /// # Safety
    /// The thread is attached as long as the result lives.
    #[inline]
    pub(crate) unsafe fn take_owned(&self) -> Option<Owned> {
        let object = self.swap_raw(null_mut());
        // SAFETY: the field's own reference, or null, and now ours.
        unsafe { Owned::new(object) }
    }

    /// Puts a reference in and takes the old one out; either may be null. The caller owns what it gets.
    #[inline]
    pub(crate) fn swap_raw(&self, object: *mut PyObject) -> *mut PyObject {
        std::mem::replace(&mut self.0.lock().0, object)
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        // SAFETY: attached, as `py` shows.
        let object = unsafe { self.get_raw() };
        // SAFETY: a new reference, or null.
        unsafe { Bound::from_owned_ptr_or_opt(py, object) }
    }

    /// Sets the field. What was there is dropped after the lock is released.
    pub(crate) fn set(&self, py: Python<'_>, object: Option<Py<PyAny>>) {
        drop(self.swap(py, object));
    }

    pub(crate) fn swap<'py>(
        &self,
        py: Python<'py>,
        object: Option<Py<PyAny>>,
    ) -> Option<Bound<'py, PyAny>> {
        let old = self.swap_raw(object.map_or(null_mut(), Py::into_ptr));
        // SAFETY: the field's own reference, or null, and now ours.
        unsafe { Bound::from_owned_ptr_or_opt(py, old) }
    }

    /// Shows the reference to the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Nobody is stopped while it holds the lock; if that were wrong, the object would live on.
        let Some(place) = self.0.try_lock() else { return Ok(()) };
        // SAFETY: the garbage collector runs in a thread that is attached.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: only looked at, and never dropped: the count stays the field's.
        let object = unsafe { Bound::<PyAny>::from_owned_ptr_or_opt(py, place.0) };
        let object = std::mem::ManuallyDrop::new(object.map(Bound::unbind));
        visit.call(&*object)
    }

    /// The same for a class that is made by hand.
    ///
    /// # Safety
    /// Called by the garbage collector with what it gave.
    pub(crate) unsafe fn visit_raw(&self, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
        let Some(place) = self.0.try_lock().filter(|place| !place.0.is_null()) else { return 0 };
        // SAFETY: passed on to the caller; the reference keeps the object alive.
        unsafe { visit(place.0, arg) }
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let object = self.0.get_mut().0;
        // SAFETY: an object's fields are dropped by the interpreter's deallocation, which is attached.
        unsafe { ffi::Py_XDECREF(object) };
    }
}
