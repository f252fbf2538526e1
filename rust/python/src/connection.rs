//! What a slot holds: the driver's connection, and how it is reset when it comes back.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{PyTraverseError, PyVisit};

/// One connection of a driver.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) object: Py<PyAny>,
    pub(crate) reset: Reset,
}

/// How a returned connection becomes clean.
#[derive(Debug)]
pub(crate) enum Reset {
    /// Not at all.
    Nothing,
    /// By its method of this name, called without arguments.
    Method(Py<PyString>),
    /// By a function of the connection.
    Call(Py<PyAny>),
}

impl Reset {
    /// `None`, the name of a method, or a callable.
    pub(crate) fn from_python(reset: &Bound<'_, PyAny>) -> PyResult<Self> {
        if reset.is_none() {
            Ok(Self::Nothing)
        } else if let Ok(name) = reset.cast::<PyString>() {
            Ok(Self::Method(name.clone().unbind()))
        } else if reset.is_callable() {
            Ok(Self::Call(reset.clone().unbind()))
        } else {
            Err(PyTypeError::new_err("reset must be None, a method's name or a callable"))
        }
    }
}

impl Connection {
    /// The address by which a release finds the slot.
    pub(crate) fn identity(object: *mut ffi::PyObject) -> u64 {
        object as usize as u64
    }

    /// Resets the connection. False when it raised; the exception is then set in the interpreter.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline]
    pub(crate) unsafe fn reset(&self) -> bool {
        let object = self.object.as_ptr();
        let end = std::ptr::null_mut::<ffi::PyObject>();
        let result = match &self.reset {
            Reset::Nothing => return true,
            // SAFETY: attached, both pointers are alive while `self` is, and the list is terminated.
            Reset::Method(name) => unsafe {
                ffi::PyObject_CallMethodObjArgs(object, name.as_ptr(), end)
            },
            // SAFETY: as above.
            Reset::Call(callable) => unsafe {
                ffi::PyObject_CallFunctionObjArgs(callable.as_ptr(), object, end)
            },
        };
        if result.is_null() {
            return false;
        }
        // SAFETY: attached, and the result is ours.
        unsafe { ffi::Py_DecRef(result) };
        true
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.object)?;
        match &self.reset {
            Reset::Call(callable) => visit.call(callable),
            Reset::Nothing | Reset::Method(_) => Ok(()),
        }
    }
}
