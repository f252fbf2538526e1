//! `acquire`, `release`, `connection`, and the lease's `__enter__` and `__exit__`, as plain C functions.
//!
//! Measured (spike 2): through PyO3's trampolines a pair of empty methods takes about twice what the
//! whole of `acquire` and `release` takes here. So these five are put into their classes by hand, and
//! handle the ordinary case alone; all else goes on in PyO3's world, by `slowly`.

use millpond_core::Priority;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject, Py_ssize_t};
use pyo3::intern;
use pyo3::prelude::*;

use crate::acquire::{self, Terms};
use crate::asyncio;
use crate::connection::Connection;
use crate::inner::Inner;
use crate::lease::Lease;
use crate::pool::CorePool;
use crate::raw::{ended_by, keywords, none, plain, positional, receiver, slowly, unary, Methods};
use crate::release::{self, Rest};
use crate::thread;
use crate::threads;

unsafe extern "C" fn acquire_(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CorePool.
    let pool = unsafe { receiver::<CorePool>(slf) };
    if count == 0 && names.is_null() {
        if let Some(connection) = fast_acquire(pool.get()) {
            return connection;
        }
    }
    slowly(|py| {
        // SAFETY: the vector is as the interpreter passed it.
        let asked = unsafe { Asked::of(py, "acquire", &ACQUIRE, args, count, names) }?;
        let inner = pool.get().started()?;
        acquire::acquire(&pool, inner, asked.terms(&pool, inner)?).map(Py::into_ptr)
    })
}

/// A new reference to a connection, if all that takes is a CAS.
#[inline]
fn fast_acquire(pool: &CorePool) -> Option<*mut PyObject> {
    let inner = pool.inner().filter(|inner| inner.is_plain())?;
    let claim = inner.try_claim()?;
    // SAFETY: the claim is ours until we give the connection out below.
    let connection = unsafe { inner.core.value(claim) }?;
    let object = connection.object.as_ptr();
    // SAFETY: attached, and the slot keeps the object alive.
    unsafe { ffi::Py_IncRef(object) };
    Some(object)
}

unsafe extern "C" fn release_(slf: *mut PyObject, connection: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CorePool.
    let pool = unsafe { receiver::<CorePool>(slf) };
    match fast_release(pool.get(), connection) {
        Some(Rest::Nothing) => none(),
        Some(rest) => slowly(|py| {
            release::finish(&pool, pool.get().started()?, rest)?;
            Ok(py.None().into_ptr())
        }),
        None => slowly(|py| {
            // SAFETY: an argument is alive during the call.
            let connection = unsafe { Bound::from_borrowed_ptr(py, connection) };
            release::release(&pool, &connection)?;
            Ok(py.None().into_ptr())
        }),
    }
}

#[inline]
fn fast_release(pool: &CorePool, connection: *mut PyObject) -> Option<Rest> {
    let inner = pool.inner().filter(|inner| inner.is_plain())?;
    let slot = inner.core.find(Connection::identity(connection), thread::habit(inner.id))?;
    let held = inner.core.held(slot, None)?;
    // SAFETY: all callers are functions that the interpreter called.
    Some(unsafe { release::give_back(inner, held) })
}

unsafe extern "C" fn connection_(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CorePool.
    let pool = unsafe { receiver::<CorePool>(slf) };
    if count == 0 && names.is_null() {
        if let Some(inner) = pool.get().inner() {
            let limit = inner.settings.acquire_timeout;
            let lease =
                Lease::new(pool.to_owned().unbind(), Terms { limit, priority: Priority::Normal });
            if let Ok(lease) = Bound::new(pool.py(), lease) {
                return lease.into_ptr();
            }
        }
    }
    slowly(|py| {
        // SAFETY: the vector is as the interpreter passed it.
        let asked = unsafe { Asked::of(py, "connection", &CONNECTION, args, count, names) }?;
        let terms = asked.terms(&pool, pool.get().started()?)?;
        let lease = Bound::new(py, Lease::new(pool.to_owned().unbind(), terms))?.into_any();
        match asked.query_timeout {
            Some(seconds) if !seconds.is_none() => {
                let limited = pool.call_method1(intern!(py, "_limited"), (lease, seconds))?;
                Ok(limited.into_ptr())
            }
            _ => Ok(lease.into_ptr()),
        }
    })
}

unsafe extern "C" fn enter(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of Lease.
    let lease = unsafe { receiver::<Lease>(slf) };
    if let Some(connection) = lease.get().fast_enter() {
        return connection;
    }
    slowly(|py| lease.get().enter(py).map(Py::into_ptr))
}

unsafe extern "C" fn exit(
    slf: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of Lease.
    let lease = unsafe { receiver::<Lease>(slf) };
    // SAFETY: as the interpreter passed it, so the thread is attached.
    if let Some(error) = unsafe { ended_by(args, count) } {
        return slowly(|py| {
            // SAFETY: an argument is alive during the call.
            let error = unsafe { Bound::from_borrowed_ptr(py, error) };
            lease.get().exit_by(py, Some(&error))?;
            Ok(py.None().into_ptr())
        });
    }
    match lease.get().fast_exit() {
        Some(Rest::Nothing) => none(),
        Some(rest) => slowly(|py| {
            lease.get().finish(py, rest)?;
            Ok(py.None().into_ptr())
        }),
        None => slowly(|py| {
            lease.get().exit_by(py, None)?;
            Ok(py.None().into_ptr())
        }),
    }
}

const ACQUIRE: [&str; 2] = ["timeout", "priority"];
const CONNECTION: [&str; 3] = ["timeout", "priority", "query_timeout"];

/// The arguments of `acquire` and `connection`, by keyword.
#[derive(Default)]
pub(crate) struct Asked<'py> {
    pub(crate) timeout: Option<Bound<'py, PyAny>>,
    pub(crate) priority: Option<Bound<'py, PyAny>>,
    pub(crate) query_timeout: Option<Bound<'py, PyAny>>,
}

impl<'py> Asked<'py> {
    /// # Safety
    /// The vector is as the interpreter passed it.
    pub(crate) unsafe fn of(
        py: Python<'py>,
        function: &str,
        allowed: &[&str],
        args: *const *mut PyObject,
        count: Py_ssize_t,
        names: *mut PyObject,
    ) -> PyResult<Self> {
        if count != 0 {
            let message = format!("{function}() takes no positional arguments ({count} given)");
            return Err(PyTypeError::new_err(message));
        }
        let mut asked = Self::default();
        if names.is_null() {
            return Ok(asked);
        }
        // SAFETY: the interpreter's tuple of keyword names, alive during the call.
        let names = unsafe { Bound::from_borrowed_ptr(py, names) };
        let names: Vec<String> = names.extract()?;
        for (index, name) in names.iter().enumerate() {
            // SAFETY: there is one value for each name, after no positional argument.
            let value = unsafe { *args.wrapping_add(index) };
            // SAFETY: the interpreter's vector holds live objects during the call.
            let value = Some(unsafe { Bound::from_borrowed_ptr(py, value) });
            match name.as_str() {
                known if !allowed.contains(&known) => {
                    let message =
                        format!("{function}() got an unexpected keyword argument '{name}'");
                    return Err(PyTypeError::new_err(message));
                }
                "timeout" => asked.timeout = value,
                "priority" => asked.priority = value,
                _ => asked.query_timeout = value,
            }
        }
        Ok(asked)
    }

    fn terms(&self, pool: &Bound<'_, CorePool>, inner: &Inner) -> PyResult<Terms> {
        Ok(Terms {
            limit: acquire::limit(pool, inner, self.timeout.as_ref())?,
            priority: acquire::priority(pool, self.priority.as_ref())?,
        })
    }
}

static POOL: Methods<3> = Methods::new([
    keywords(
        c"acquire",
        c"acquire($self, *, timeout=None, priority=\"normal\")\n--\n\nAcquire a connection, waiting for one if all are in use.",
        acquire_,
    ),
    unary(c"release", c"release($self, connection, /)\n--\n\nGive a connection back, for the next caller to use.", release_),
    keywords(
        c"connection",
        c"connection($self, *, timeout=None, priority=\"normal\", query_timeout=None)\n--\n\nLend a connection for the time of a ``with`` block.",
        connection_,
    ),
]);

static LEASE: Methods<2> = Methods::new([
    plain(c"__enter__", c"__enter__($self, /)\n--\n\nAcquire the connection.", enter),
    positional(c"__exit__", c"__exit__($self, /, *args)\n--\n\nRelease the connection.", exit),
]);

/// Puts the functions into their classes.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    POOL.install(&py.get_type::<CorePool>())?;
    LEASE.install(&py.get_type::<Lease>())?;
    threads::install(py)?;
    asyncio::install(py)
}
