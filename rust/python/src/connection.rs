//! What a slot holds: the driver's connection, how it is reset when it comes back, and how one sees that
//! it is alive.

use millpond_core::{Pulse, Vital};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::socket;

/// One connection of a driver.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) object: Py<PyAny>,
    /// A bound method that resets the connection, looked up once; `None` when nothing is to be done.
    reset: Option<Py<PyAny>>,
    /// The socket to look at before each borrow; negative when there is none.
    socket: i32,
    /// What says without a round trip whether the connection is alive, where no socket does; `None` when
    /// nothing does.
    is_alive: Option<Py<PyAny>>,
}

impl Vital for Connection {
    fn socket(&self) -> i32 {
        self.socket
    }

    fn pulse(socket: i32) -> Pulse {
        socket::pulse(socket)
    }
}

impl Connection {
    /// A connection that `reset` cleans: `None`, the name of a method without arguments, or a callable
    /// that takes the connection.
    pub(crate) fn new(
        object: &Bound<'_, PyAny>,
        reset: &Bound<'_, PyAny>,
        socket: i32,
        is_alive: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let reset = if reset.is_none() {
            None
        } else if let Ok(name) = reset.cast::<PyString>() {
            Some(object.getattr(name)?)
        } else if reset.is_callable() {
            // A bound method of any callable: the release then calls both kinds alike.
            let method = object.py().import(intern!(object.py(), "types"))?;
            let method = method.getattr(intern!(object.py(), "MethodType"))?;
            Some(method.call1((reset, object))?)
        } else {
            return Err(PyTypeError::new_err("reset: None, a method's name or a callable"));
        };
        let reset = reset.map(Bound::unbind);
        Ok(Self { object: object.clone().unbind(), reset, socket, is_alive })
    }

    /// The address by which a release finds the slot.
    pub(crate) fn identity(object: *mut ffi::PyObject) -> u64 {
        object as usize as u64
    }

    /// Whether a release has anything to reset.
    #[inline(always)]
    pub(crate) fn needs_reset(&self) -> bool {
        self.reset.is_some()
    }

    /// Resets the connection. False when it raised; the exception is then set in the interpreter.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline(always)]
    pub(crate) unsafe fn reset(&self) -> bool {
        let Some(reset) = &self.reset else { return true };
        // SAFETY: attached, and the method is alive while `self` is.
        let result = unsafe { ffi::PyObject_CallNoArgs(reset.as_ptr()) };
        if result.is_null() {
            return false;
        }
        // SAFETY: attached, and the result is ours.
        unsafe { ffi::Py_DecRef(result) };
        true
    }

    /// Whether an acquire has to ask the driver, beside the socket.
    pub(crate) fn asks_the_driver(&self) -> bool {
        self.is_alive.is_some()
    }

    /// What to ask about the connection, see `asks_the_driver`.
    pub(crate) fn question(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.is_alive.as_ref().map(|is_alive| is_alive.clone_ref(py))
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.object)?;
        visit.call(&self.reset)?;
        visit.call(&self.is_alive)
    }
}
