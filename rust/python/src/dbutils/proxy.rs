//! What `PooledDB.connection()` returns: the right to use a connection until it is closed or dropped.
//!
//! Reads of attributes go to the steady connection (`attribute.rs`), writes stay here. Dropping the last
//! reference gives the connection back at once, in the same thread.
//!
//! Measured: made and dropped as a PyO3 class, a proxy took a third of the time of a whole cycle, half of
//! that for a `__dict__` that nobody used. So its class is made by hand (`proxy_class.rs`).

use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;

use super::lend::{self, Pool};
use super::proxy_class;
use crate::field::Field;
use crate::fork;
use crate::raw::{Owned, Pending};

/// An instance of `PooledDedicatedDBConnection`, or of `PooledSharedDBConnection`, as the interpreter
/// sees it.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Proxy {
    header: PyObject,
    pub(super) dict: *mut PyObject,
    pub(super) weakrefs: *mut PyObject,
    pub(super) hold: Hold,
}

/// What a proxy holds.
#[derive(Debug)]
pub(super) struct Hold {
    /// The steady connection; nothing, or `None`, once it was given back.
    pub(super) con: Field,
    pub(super) pool: Field,
    /// What counts the shares of a shared connection.
    pub(super) shared: Field,
    /// Whether `__getattr__` is ours, so that its answer need not be asked for.
    plain: AtomicBool,
    /// The fork generation in which the connection was lent.
    lent_in: AtomicU32,
}

impl Hold {
    pub(super) fn new() -> Self {
        Self {
            con: Field::new(None),
            pool: Field::new(None),
            shared: Field::new(None),
            plain: AtomicBool::new(false),
            lent_in: AtomicU32::new(fork::generation()),
        }
    }

    /// Whether attributes may be found without asking `__getattr__`.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        // Relaxed, also below: it is a flag by itself.
        self.plain.load(Relaxed)
    }

    pub(super) fn set_plain(&self, plain: bool) {
        self.plain.store(plain, Relaxed);
    }

    /// The connection is lent as of now.
    pub(super) fn begin(&self) {
        self.lent_in.store(fork::generation(), Relaxed);
    }

    /// The steady connection; `None` when it was given back.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline]
    pub(super) unsafe fn con(&self) -> Option<Owned> {
        // SAFETY: passed on to the caller.
        something(unsafe { self.con.owned() })
    }

    /// Takes the steady connection out: whoever gets it is the one to give it back.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline]
    unsafe fn take(&self) -> Option<Owned> {
        // SAFETY: passed on to the caller.
        something(unsafe { self.con.take_owned() })
    }
}

/// What there is, but for `None`.
#[inline]
fn something(object: Option<Owned>) -> Option<Owned> {
    // SAFETY: attached, were there an object.
    object.filter(|object| object.as_ptr() != unsafe { ffi::Py_None() })
}

/// Lends a dedicated connection: the proxy for it, or `None` with the exception set.
#[inline]
pub(super) fn lend(pool: Pool<'_, '_>, con: Owned) -> Option<Owned> {
    if !lend::is_safe(pool.py(), &con) {
        return None;
    }
    let proxy = proxy_class::allocate(proxy_class::dedicated())?;
    // SAFETY: just allocated.
    let hold = unsafe { proxy_class::hold(proxy.as_ptr()) };
    hold.set_plain(true);
    // What was there is null.
    hold.con.swap_raw(con.into_ptr());
    // SAFETY: attached, and the pool is alive.
    hold.pool.swap_raw(unsafe { ffi::Py_NewRef(pool.as_ptr()) });
    Some(proxy)
}

/// Gives the connection back, unless that was done. False with the exception set; then it still is to
/// be given back.
#[inline]
pub(super) fn give_back<const SHARED: bool>(py: Python<'_>, hold: &Hold) -> bool {
    // SAFETY: attached, as `py` shows.
    match unsafe { hold.take() } {
        Some(con) => give_back_taken::<SHARED>(py, hold, con),
        None => true,
    }
}

#[inline]
fn give_back_taken<const SHARED: bool>(py: Python<'_>, hold: &Hold, con: Owned) -> bool {
    if hold.lent_in.load(Relaxed) != fork::generation() {
        forget(hold, con);
        return true;
    }
    // SAFETY: attached.
    let Some(pool) = (unsafe { hold.pool.owned() }) else { return true };
    if SHARED {
        return unshare(py, hold, &pool, con);
    }
    let returned = Owned::call1(pool.as_ptr(), intern!(py, "cache"), con.as_ptr());
    if returned.is_none() {
        put(&hold.con, con);
    }
    returned.is_some()
}

#[cold]
fn unshare(py: Python<'_>, hold: &Hold, pool: &Owned, con: Owned) -> bool {
    // SAFETY: attached.
    let Some(shared) = (unsafe { hold.shared.take_owned() }) else { return true };
    let returned = Owned::call1(pool.as_ptr(), intern!(py, "unshare"), shared.as_ptr());
    if returned.is_none() {
        put(&hold.con, con);
        put(&hold.shared, shared);
    }
    returned.is_some()
}

/// What was lent before a fork is the parent's, and so is what it is shared with: dropping it would
/// close it.
#[cold]
fn forget(hold: &Hold, con: Owned) {
    let _ = con.into_ptr();
    let _ = hold.shared.swap_raw(null_mut());
}

/// Puts back what was taken.
#[cold]
fn put(field: &Field, object: Owned) {
    let before = field.swap_raw(object.into_ptr());
    // SAFETY: the thread is attached, since it had `object`; the field's reference, or null.
    drop(unsafe { Owned::new(before) });
}

/// The last reference is gone: gives the connection back, and raises nothing.
///
/// # Safety
/// The thread is attached.
#[inline]
pub(super) unsafe fn finalize<const SHARED: bool>(hold: &Hold) {
    // SAFETY: passed on to the caller.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: attached.
    let Some(con) = (unsafe { hold.take() }) else { return };
    // Whoever drops the proxy may have an exception set, and nothing may run with one.
    // SAFETY: attached.
    let _pending = unsafe { Pending::put_aside() };
    let address = con.as_ptr();
    if !lend::with_last_chance(address, || give_back_taken::<SHARED>(py, hold, con)) {
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() };
    }
}
