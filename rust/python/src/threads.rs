//! `CoreThreadLocalPool`, which `millpond.ThreadLocalPool` extends, and the lease that it gives out.
//!
//! A thread finds its seat in a `threading.local`; what it has there, `seat.rs` says. As in `hot.rs`, the
//! ordinary cases are plain C functions: the thread has a connection, and it is there.

use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, PyObject, Py_ssize_t};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::PyTypeInfo;

use crate::acquire::{self, Limit};
use crate::field::Field;
use crate::hot::Asked;
use crate::inner::Inner;
use crate::pool::CorePool;
use crate::raw::{keywords, none, plain, positional, receiver, slowly, unary, Methods};
use crate::release::{self, Rest};
use crate::seat::Seat;

/// The engine of one thread-local pool; `millpond.ThreadLocalPool` extends it.
#[pyclass(frozen, subclass, weakref, generic, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct CoreThreadLocalPool {
    pool: OnceLock<Py<CorePool>>,
    /// The `threading.local` with the seats.
    seats: Field,
}

/// What `connection()` returns: the thread's connection for the time of a ``with`` block.
#[pyclass(frozen, weakref, generic, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct ThreadLease {
    threads: Py<CoreThreadLocalPool>,
    limit: Limit,
}

/// A new reference to a seat, for functions in which PyO3 must not drop anything.
struct Found(*mut PyObject);

impl Found {
    fn seat(&self) -> &Seat {
        // SAFETY: of that type, as `seat_raw` made sure, and alive while `self` is; attached.
        unsafe { receiver::<Seat>(self.0) }.get()
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        // SAFETY: attached, as all functions that make one; the reference is ours.
        unsafe { ffi::Py_DecRef(self.0) };
    }
}

impl CoreThreadLocalPool {
    fn pool<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, CorePool>> {
        self.pool.get().map(|pool| pool.bind(py)).ok_or_else(|| {
            PyRuntimeError::new_err("the pool is not started: call super().__init__() first")
        })
    }

    fn inner(&self) -> Option<&Inner> {
        self.pool.get()?.get().inner()
    }

    /// The seat of the calling thread, or null with or without an exception set.
    ///
    /// # Safety
    /// The thread is attached.
    unsafe fn seat_raw(&self) -> *mut PyObject {
        // SAFETY: passed on to the caller.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: attached.
        let seats = unsafe { self.seats.get_raw() };
        if seats.is_null() {
            return seats;
        }
        // SAFETY: attached, and both are alive.
        let seat = unsafe { ffi::PyObject_GetAttr(seats, intern!(py, "seat").as_ptr()) };
        // SAFETY: attached, and the reference is ours.
        unsafe { ffi::Py_DecRef(seats) };
        // SAFETY: not null where it is read.
        if seat.is_null() || unsafe { ffi::Py_TYPE(seat) } == Seat::type_object_raw(py) {
            return seat;
        }
        // SAFETY: attached, and the reference is ours.
        unsafe { ffi::Py_DecRef(seat) };
        std::ptr::null_mut()
    }

    /// As `seat_raw`, without an exception.
    ///
    /// # Safety
    /// The thread is attached.
    unsafe fn find_seat(&self) -> Option<Found> {
        // SAFETY: passed on to the caller.
        let seat = unsafe { self.seat_raw() };
        if seat.is_null() {
            // It was that the thread has none, or will come again where it can be raised.
            // SAFETY: attached.
            unsafe { ffi::PyErr_Clear() };
            return None;
        }
        Some(Found(seat))
    }

    /// The seat of the calling thread.
    fn seat<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Seat>> {
        // SAFETY: attached, as `py` shows.
        let found = std::mem::ManuallyDrop::new(unsafe { self.find_seat() }?);
        // SAFETY: the reference is `found`'s, which is not dropped.
        let seat = unsafe { Bound::from_owned_ptr(py, found.0) };
        // SAFETY: as `seat_raw` made sure.
        Some(unsafe { seat.cast_into_unchecked() })
    }

    fn seat_or_new<'py>(&self, pool: &Bound<'py, CorePool>) -> PyResult<Bound<'py, Seat>> {
        let py = pool.py();
        if let Some(seat) = self.seat(py) {
            return Ok(seat);
        }
        let seat = Bound::new(py, Seat::new(pool, pool.get().started()?)?)?;
        if let Some(seats) = self.seats.get(py) {
            seats.setattr(intern!(py, "seat"), &seat)?;
        }
        Ok(seat)
    }

    #[inline(always)]
    fn fast_enter(&self) -> Option<*mut PyObject> {
        let inner = self.inner()?;
        // SAFETY: all callers are functions that the interpreter called.
        let found = unsafe { self.find_seat() }?;
        // SAFETY: as above.
        unsafe { found.seat().fast_enter(inner) }
    }

    #[inline(always)]
    fn fast_exit(&self, of: Option<*mut PyObject>) -> Option<Rest> {
        let inner = self.inner()?;
        // SAFETY: all callers are functions that the interpreter called.
        let found = unsafe { self.find_seat() }?;
        // SAFETY: as above.
        if of.is_some_and(|connection| !unsafe { found.seat().is(connection) }) {
            return None;
        }
        // SAFETY: as above.
        unsafe { found.seat().fast_exit(inner) }
    }

    /// Enters a block, waiting if need be.
    fn enter(slf: &Bound<'_, Self>, limit: Limit) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let pool = this.pool(py)?;
        let inner = pool.get().started()?;
        let seat = this.seat_or_new(pool)?;
        seat.get().settle(py, inner);
        if let Some(connection) = seat.get().nest(py) {
            return Ok(connection.unbind());
        }
        if let Some(connection) = seat.get().reclaim(py)? {
            return Ok(connection);
        }
        let seconds = limit.map(|limit| limit.as_secs_f64());
        let occupied = slf.call_method1(intern!(py, "_occupy"), (&seat, seconds));
        if occupied.is_err() {
            seat.get().give_up(pool, inner);
        }
        Ok(occupied?.unbind())
    }

    /// Leaves a block.
    fn exit(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let pool = slf.get().pool(py)?;
        let seat = slf.get().seat(py);
        if let Some(seat) = seat.as_ref().map(Bound::get) {
            seat.settle(py, pool.get().started()?);
            if seat.depth() != 0 {
                return seat.leave(pool);
            }
            if seat.leave_inherited() {
                return Ok(());
            }
        }
        Err(CorePool::failure(pool, "not_entered", ()))
    }

    /// Leaves a block that was entered by `acquire`.
    fn leave(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let pool = slf.get().pool(py)?;
        let seat = slf.get().seat(py);
        if let Some(seat) = seat.as_ref().map(Bound::get) {
            seat.settle(py, pool.get().started()?);
            if seat.has(py, connection) {
                return match seat.depth() {
                    0 => Err(CorePool::failure(pool, "not_held", ())),
                    _ => seat.leave(pool),
                };
            }
            if seat.leave_inherited() {
                return Ok(());
            }
        }
        Err(CorePool::failure(pool, "of_another", connection))
    }

    fn finish(slf: &Bound<'_, Self>, rest: Rest) -> PyResult<()> {
        let pool = slf.get().pool(slf.py())?;
        release::finish(pool, pool.get().started()?, rest)
    }

    fn limit(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Limit> {
        let pool = slf.get().pool(slf.py())?;
        acquire::limit(pool, pool.get().started()?, timeout)
    }
}

// The doc comments here are Python's: the first lines of the docstrings in `_core.pyi`.
#[pymethods]
impl CoreThreadLocalPool {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { pool: OnceLock::new(), seats: Field::new(None) }
    }

    fn _start(&self, py: Python<'_>, pool: Py<CorePool>, seats: Py<PyAny>) -> PyResult<()> {
        self.seats.set(py, Some(seats));
        let started = self.pool.set(pool);
        started.map_err(|_| PyRuntimeError::new_err("the pool is started already"))
    }

    /// Let the calling thread's connection go before the thread ends.
    fn release_thread(&self, py: Python<'_>) -> PyResult<()> {
        let pool = self.pool(py)?;
        let inner = pool.get().started()?;
        match self.seat(py) {
            Some(seat) => {
                seat.get().settle(py, inner);
                seat.get().forsake(pool, inner)
            }
            None => Ok(()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.pool.get().map_or(Ok(()), |pool| visit.call(pool))?;
        self.seats.traverse(&visit)
    }
}

#[pymethods]
impl ThreadLease {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.threads)
    }
}

unsafe extern "C" fn acquire_(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreThreadLocalPool.
    let threads = unsafe { receiver::<CoreThreadLocalPool>(slf) };
    if count == 0 && names.is_null() {
        if let Some(connection) = threads.get().fast_enter() {
            return connection;
        }
    }
    slowly(|py| {
        // SAFETY: the vector is as the interpreter passed it.
        let asked = unsafe { Asked::of(py, "acquire", &["timeout"], args, count, names) }?;
        let limit = CoreThreadLocalPool::limit(&threads, asked.timeout.as_ref())?;
        CoreThreadLocalPool::enter(&threads, limit).map(Py::into_ptr)
    })
}

unsafe extern "C" fn release_(slf: *mut PyObject, connection: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreThreadLocalPool.
    let threads = unsafe { receiver::<CoreThreadLocalPool>(slf) };
    match threads.get().fast_exit(Some(connection)) {
        Some(rest) => finished(&threads, rest),
        None => slowly(|py| {
            // SAFETY: an argument is alive during the call.
            let connection = unsafe { Bound::from_borrowed_ptr(py, connection) };
            CoreThreadLocalPool::leave(&threads, &connection)?;
            Ok(py.None().into_ptr())
        }),
    }
}

unsafe extern "C" fn connection_(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreThreadLocalPool.
    let threads = unsafe { receiver::<CoreThreadLocalPool>(slf) };
    if count == 0 && names.is_null() {
        if let Some(inner) = threads.get().inner() {
            let limit = inner.settings.acquire_timeout;
            let lease = ThreadLease { threads: threads.to_owned().unbind(), limit };
            if let Ok(lease) = Bound::new(threads.py(), lease) {
                return lease.into_ptr();
            }
        }
    }
    slowly(|py| {
        // SAFETY: the vector is as the interpreter passed it.
        let asked = unsafe { Asked::of(py, "connection", &["timeout"], args, count, names) }?;
        let limit = CoreThreadLocalPool::limit(&threads, asked.timeout.as_ref())?;
        let lease = ThreadLease { threads: threads.to_owned().unbind(), limit };
        Ok(Bound::new(py, lease)?.into_ptr())
    })
}

unsafe extern "C" fn enter(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of ThreadLease.
    let lease = unsafe { receiver::<ThreadLease>(slf) }.get();
    if let Some(connection) = lease.threads.get().fast_enter() {
        return connection;
    }
    slowly(|py| CoreThreadLocalPool::enter(lease.threads.bind(py), lease.limit).map(Py::into_ptr))
}

unsafe extern "C" fn exit(
    slf: *mut PyObject,
    _: *mut *mut PyObject,
    _: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of ThreadLease.
    let lease = unsafe { receiver::<ThreadLease>(slf) }.get();
    match lease.threads.get().fast_exit(None) {
        // SAFETY: the interpreter called us, so the thread is attached.
        Some(rest) => finished(lease.threads.bind(unsafe { Python::assume_attached() }), rest),
        None => slowly(|py| {
            CoreThreadLocalPool::exit(lease.threads.bind(py))?;
            Ok(py.None().into_ptr())
        }),
    }
}

/// The end of a function that left a block: `None`, after what was left to do.
fn finished(threads: &Bound<'_, CoreThreadLocalPool>, rest: Rest) -> *mut PyObject {
    if matches!(rest, Rest::Nothing) {
        return none();
    }
    slowly(|py| {
        CoreThreadLocalPool::finish(threads, rest)?;
        Ok(py.None().into_ptr())
    })
}

static POOL: Methods<3> = Methods::new([
    keywords(
        c"acquire",
        c"acquire($self, *, timeout=None)\n--\n\nEnter a block in the thread's connection, which is acquired if the thread has none.",
        acquire_,
    ),
    unary(c"release", c"release($self, connection, /)\n--\n\nLeave the block that the last `acquire` entered.", release_),
    keywords(
        c"connection",
        c"connection($self, *, timeout=None)\n--\n\nLend the thread its connection for the time of a ``with`` block.",
        connection_,
    ),
]);

static LEASE: Methods<2> = Methods::new([
    plain(c"__enter__", c"__enter__($self, /)\n--\n\nEnter the block.", enter),
    positional(c"__exit__", c"__exit__($self, /, *args)\n--\n\nLeave the block.", exit),
]);

/// Puts the functions into their classes.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    POOL.install(&py.get_type::<CoreThreadLocalPool>())?;
    LEASE.install(&py.get_type::<ThreadLease>())
}
