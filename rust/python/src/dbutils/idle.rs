//! The idle connections of a pool: whatever object its attribute holds, which is a list unless the user
//! put something else there, and how many of them it may have.

use std::ptr::null_mut;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;

use crate::raw::Owned;

/// Whether this interpreter was built to run without the GIL: then only methods of lists are atomic.
static FREE_THREADED: AtomicBool = AtomicBool::new(false);

/// Finds out about the interpreter.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    let version: String = py.import("sys")?.getattr("version")?.extract()?;
    // Relaxed, here and below: set when the module is imported, before anybody can ask.
    FREE_THREADED.store(version.contains("free-threading build"), Relaxed);
    Ok(())
}

/// The error that a list raises, or was raised by what stands in for one.
#[derive(Debug)]
pub(super) struct Raised;

/// Takes the connection out that was idle for the longest time.
///
/// # Safety
/// The object is alive, and the thread is attached.
#[inline]
pub(super) unsafe fn pop(idle: *mut PyObject) -> Result<Option<Owned>, Raised> {
    // SAFETY: passed on to the caller.
    if unsafe { ffi::PyList_CheckExact(idle) } == 0 || FREE_THREADED.load(Relaxed) {
        // SAFETY: passed on to the caller.
        return unsafe { pop_by_name(idle) };
    }
    // SAFETY: a list.
    if unsafe { ffi::PyList_Size(idle) } == 0 {
        return Ok(None);
    }
    // SAFETY: it has at least one element. Nothing runs between this and the next line.
    let first = unsafe { ffi::PyList_GetItem(idle, 0) };
    // SAFETY: the list keeps it alive until now.
    let first = unsafe { Owned::another(first) };
    // SAFETY: a list; without replacements, the elements are deleted.
    let deleted = unsafe { ffi::PyList_SetSlice(idle, 0, 1, null_mut()) };
    if deleted < 0 {
        return Err(Raised);
    }
    Ok(first)
}

#[cold]
unsafe fn pop_by_name(idle: *mut PyObject) -> Result<Option<Owned>, Raised> {
    // SAFETY: passed on to the caller.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: passed on to the caller.
    let zero = unsafe { Owned::number(0) }.ok_or(Raised)?;
    if let Some(con) = Owned::call1(idle, intern!(py, "pop"), zero.as_ptr()) {
        return Ok(Some(con));
    }
    // SAFETY: set when the interpreter starts, and never again.
    let class = unsafe { ffi::PyExc_IndexError };
    // SAFETY: attached.
    if unsafe { ffi::PyErr_ExceptionMatches(class) } == 0 {
        return Err(Raised);
    }
    // SAFETY: attached.
    unsafe { ffi::PyErr_Clear() };
    Ok(None)
}

/// Puts a connection behind the others.
///
/// # Safety
/// The objects are alive, and the thread is attached.
#[inline]
pub(super) unsafe fn push(idle: *mut PyObject, con: *mut PyObject) -> Result<(), Raised> {
    // SAFETY: passed on to the caller.
    if unsafe { ffi::PyList_CheckExact(idle) } != 0 {
        // SAFETY: a list. This is atomic on every build.
        return if unsafe { ffi::PyList_Append(idle, con) } < 0 { Err(Raised) } else { Ok(()) };
    }
    // SAFETY: passed on to the caller.
    let py = unsafe { Python::assume_attached() };
    Owned::call1(idle, intern!(py, "append"), con).map(drop).ok_or(Raised)
}

/// The number of idle connections.
///
/// # Safety
/// The object is alive, and the thread is attached.
#[inline]
pub(super) unsafe fn len(idle: *mut PyObject) -> Result<u64, Raised> {
    // SAFETY: passed on to the caller.
    let len = if unsafe { ffi::PyList_CheckExact(idle) } != 0 {
        // SAFETY: a list.
        unsafe { ffi::PyList_Size(idle) }
    } else {
        // SAFETY: passed on to the caller.
        unsafe { ffi::PyObject_Size(idle) }
    };
    u64::try_from(len).map_err(|_| Raised)
}

/// How many connections may be idle, counting those that are on their way to be.
///
/// A connection is reset between the look at the list and its arrival there. So that the next one to
/// look does not take the same place, it is counted here meanwhile.
#[derive(Debug)]
pub(super) struct Room {
    /// `NO_LIMIT` for as many as there are.
    limit: AtomicU64,
    /// In the lower half how many are on their way; in the upper half how many ever were, so that a look
    /// that something came in between of fails.
    coming: AtomicU64,
}

const NO_LIMIT: u64 = u64::MAX;
const ONE_MORE: u64 = (1 << 32) + 1;

/// The right to put one connection into the list.
#[derive(Debug)]
pub(super) struct Reservation<'a>(Option<&'a Room>);

impl Room {
    pub(super) fn new() -> Self {
        Self { limit: AtomicU64::new(NO_LIMIT), coming: AtomicU64::new(0) }
    }

    /// Changes the limit; `None` for no limit.
    pub(super) fn limit_to(&self, limit: Option<u64>) {
        // Relaxed, here and below: whoever looks meanwhile may see the old or the new limit.
        self.limit.store(limit.unwrap_or(NO_LIMIT), Relaxed);
    }

    pub(super) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit != NO_LIMIT)
    }

    /// A place, if there is one. `len` looks at the list.
    #[inline]
    pub(super) fn reserve(
        &self,
        len: impl Fn() -> Result<u64, Raised>,
    ) -> Result<Option<Reservation<'_>>, Raised> {
        let Some(limit) = self.limit() else { return Ok(Some(Reservation(None))) };
        loop {
            // Acquire: pairs with the end of a reservation, so that what arrived is in the list.
            let coming = self.coming.load(Acquire);
            if len()? + (coming & u64::from(u32::MAX)) >= limit {
                return Ok(None);
            }
            let next = coming.wrapping_add(ONE_MORE);
            // AcqRel: as above, for whoever comes next.
            if self.coming.compare_exchange(coming, next, AcqRel, Relaxed).is_ok() {
                return Ok(Some(Reservation(Some(self))));
            }
        }
    }
}

impl Drop for Reservation<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(room) = self.0 {
            // Release: pairs with the look in `reserve`. The connection is in the list by now.
            room.coming.fetch_sub(1, Release);
        }
    }
}

/// A limit as users state it: anything false for none, and any number, of which the next integer counts.
/// Nobody gets in under a negative limit.
pub(super) fn limit(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    if !value.is_truthy()? {
        return Ok(None);
    }
    if let Ok(whole) = value.extract::<i64>() {
        return Ok(Some(whole.try_into().unwrap_or(0)));
    }
    let Ok(number) = value.extract::<f64>() else {
        let given = value.repr()?;
        let message = format!("{name} must be a number, or 0 or None for no limit, not {given}");
        return Err(PyTypeError::new_err(message));
    };
    // Nothing is as much as NaN or more. The cast stops at the ends of what an integer can be.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    let bounded = number.ceil() as u64;
    Ok((!number.is_nan()).then_some(bounded))
}
