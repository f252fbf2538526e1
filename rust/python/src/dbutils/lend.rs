//! `connection`, `dedicated_connection` and `cache` of `CorePooledDB`, as plain C functions.
//!
//! Who has a permit may take a connection out of the idle list, or open one. Who gives a connection back
//! puts it into the list first and gives up the permit then, so that the next one finds it. No lock is
//! held while a connection is opened, tested, reset or closed: all of that is Python's, by name.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyTypeError};
use pyo3::ffi::{self, PyObject, Py_ssize_t};
use pyo3::intern;
use pyo3::prelude::*;

use super::place::{settle, Place};
use super::pooled::CorePooledDB;
use super::proxy;
use super::steady::CoreSteady;
use super::{attribute, idle};
use crate::raw::{keywords, none, plain, receiver, slowly, Methods, Owned, Pending};

pub(super) type Pool<'a, 'py> = Borrowed<'a, 'py, CorePooledDB>;

thread_local! {
    /// The connection of the proxy that is being deallocated.
    static LAST_CHANCE: Cell<*mut PyObject> = const { Cell::new(null_mut()) };
}

/// Runs `give_back` in the knowledge that nobody can give this connection back a second time: if that
/// fails, its permit is free nevertheless.
pub(super) fn with_last_chance<R>(con: *mut PyObject, give_back: impl FnOnce() -> R) -> R {
    let before = LAST_CHANCE.replace(con);
    let result = give_back();
    LAST_CHANCE.set(before);
    result
}

/// A permit of the caller's, which goes back unless it is kept.
struct Permit<'a, 'py>(Pool<'a, 'py>);

impl<'a, 'py> Permit<'a, 'py> {
    /// A permit, waited for if need be; `None` with the exception set.
    #[inline]
    fn acquire(pool: Pool<'a, 'py>) -> Option<Self> {
        if pool.get().line().try_acquire() || wait(pool) {
            return Some(Self(pool));
        }
        None
    }

    fn keep(self) {
        let _ = ManuallyDrop::new(self);
    }
}

impl Drop for Permit<'_, '_> {
    fn drop(&mut self) {
        // SAFETY: attached, as the pool's borrow shows.
        let _pending = unsafe { Pending::put_aside() };
        release(self.0);
    }
}

/// Gives a permit back. Raises nothing.
#[inline]
pub(super) fn release(pool: Pool<'_, '_>) {
    if !pool.get().line().try_release() {
        serve(pool);
    }
}

#[cold]
fn serve(pool: Pool<'_, '_>) {
    let done = slowly(|py| {
        let line = pool.get().line();
        settle(&pool, line, line.release());
        Ok(py.None().into_ptr())
    });
    // SAFETY: ours; null when the interpreter is shutting down, and then nobody waits.
    if unsafe { Owned::new(done) }.is_none() {
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() };
    }
}

/// Waits for a permit in Python, since only there a wait can be interrupted, or yield to a greenlet.
/// False with the exception set.
#[cold]
fn wait(pool: Pool<'_, '_>) -> bool {
    let done = slowly(|py| {
        let place = pool.call_method0(intern!(py, "_await_permit"))?;
        if !place.cast::<Place>()?.get().take() {
            return Err(PyRuntimeError::new_err(
                "_await_permit() returned a place without a permit",
            ));
        }
        Ok(py.None().into_ptr())
    });
    // SAFETY: a new reference, or null.
    unsafe { Owned::new(done) }.is_some()
}

/// An idle connection, tested, or a new one; `None` with the exception set.
#[inline]
pub(super) fn find_or_open(pool: Pool<'_, '_>) -> Option<Owned> {
    let py = pool.py();
    let idle = idle_list(pool)?;
    // SAFETY: attached, and the reference is ours.
    match unsafe { idle::pop(idle.as_ptr()) }.ok()? {
        Some(con) => {
            Owned::call(con.as_ptr(), intern!(py, "_ping_check"))?;
            Some(con)
        }
        None => Owned::call(pool.as_ptr(), intern!(py, "_open_noted")),
    }
}

/// Resets a connection and makes it idle, or closes it. `None` with the exception set.
#[inline]
pub(super) fn keep(pool: Pool<'_, '_>, con: *mut PyObject) -> Option<()> {
    let py = pool.py();
    let this = pool.get();
    let idle = idle_list(pool)?;
    // SAFETY: attached, and the reference is ours.
    let place = this.room.reserve(|| unsafe { idle::len(idle.as_ptr()) }).ok()?;
    let Some(_place) = place else {
        return Owned::call1(pool.as_ptr(), intern!(py, "_close_surplus"), con).map(drop);
    };
    // SAFETY: attached.
    let force = unsafe { this.reset.owned() };
    let Some(force) = force else { return missing("_reset") };
    Owned::call1(con, intern!(py, "_reset"), force.as_ptr())?;
    // SAFETY: attached; the caller's connection is alive.
    unsafe { idle::push(idle.as_ptr(), con) }.ok()
}

/// What takes over, if anything.
#[inline]
fn upkeep(pool: Pool<'_, '_>) -> Option<Owned> {
    let this = pool.get();
    // Relaxed: set before and after the field is, and a moment's delay is nobody's concern.
    if !this.tended.load(Relaxed) {
        return None;
    }
    // SAFETY: attached, as the borrow shows.
    unsafe { this.upkeep.owned() }
}

/// The same as `find_or_open`, by the upkeep's way if there is one.
#[inline]
pub(super) fn obtain(pool: Pool<'_, '_>) -> Option<Owned> {
    match upkeep(pool) {
        None => find_or_open(pool),
        Some(upkeep) => Owned::call1(upkeep.as_ptr(), intern!(pool.py(), "obtain"), pool.as_ptr()),
    }
}

/// The same as `keep`, by the upkeep's way if there is one.
#[inline]
fn retain(pool: Pool<'_, '_>, con: *mut PyObject) -> Option<()> {
    match upkeep(pool) {
        None => keep(pool, con),
        Some(upkeep) => {
            Owned::call2(upkeep.as_ptr(), intern!(pool.py(), "retain"), pool.as_ptr(), con)
                .map(drop)
        }
    }
}

#[inline]
fn idle_list(pool: Pool<'_, '_>) -> Option<Owned> {
    // SAFETY: attached, as the borrow shows.
    let idle = unsafe { pool.get().idle.owned() };
    if idle.is_none() {
        return missing("_idle_cache");
    }
    idle
}

/// The error for a pool that was not initialized.
#[cold]
fn missing<T>(name: &str) -> Option<T> {
    slowly(|_| {
        let message = format!("the pool has no attribute '{name}': call super().__init__() first");
        Err(PyAttributeError::new_err(message))
    });
    None
}

/// Whether a connection may be lent to one thread after the other. False with the exception set. It is
/// asked once: the answer is the driver's.
#[inline]
pub(super) fn is_safe(py: Python<'_>, con: &Owned) -> bool {
    // SAFETY: alive, and attached.
    if !unsafe { CoreSteady::is(con.as_ptr()) } {
        return asks_safe(py, con);
    }
    // SAFETY: just checked.
    let steady = unsafe { receiver::<CoreSteady>(con.as_ptr()) }.get();
    if !steady.is_known_safe() {
        if !asks_safe(py, con) {
            return false;
        }
        steady.note_safe();
    }
    true
}

#[cold]
fn asks_safe(py: Python<'_>, con: &Owned) -> bool {
    let Some(level) = Owned::call(con.as_ptr(), intern!(py, "threadsafety")) else { return false };
    // SAFETY: attached; the level is alive.
    match unsafe { ffi::PyObject_IsTrue(level.as_ptr()) } {
        0 => not_safe("Database module is not thread-safe."),
        enough => enough > 0,
    }
}

/// Whether a connection may be used by several threads at once. False with the exception set.
#[cold]
pub(super) fn is_shareable(py: Python<'_>, con: &Owned) -> bool {
    let Some(level) = Owned::call(con.as_ptr(), intern!(py, "threadsafety")) else { return false };
    // SAFETY: attached.
    let Some(one) = (unsafe { Owned::number(1) }) else { return false };
    // SAFETY: attached; both are alive.
    match unsafe { ffi::PyObject_RichCompareBool(level.as_ptr(), one.as_ptr(), ffi::Py_GT) } {
        0 => not_safe("Database connection is not thread-safe."),
        enough => enough > 0,
    }
}

#[cold]
fn not_safe(message: &str) -> bool {
    slowly(|py| Err(attribute::error(py, "NotSupportedError", (message,))));
    false
}

/// Lends a dedicated connection.
#[inline]
fn lend(pool: Pool<'_, '_>) -> Option<Owned> {
    let permit = Permit::acquire(pool)?;
    let con = obtain(pool)?;
    let proxy = proxy::lend(pool, con)?;
    permit.keep();
    Some(proxy)
}

/// The one argument of a method, by position or by keyword: a borrowed reference, null when it was left
/// out; `None` with the exception set.
///
/// # Safety
/// The vector is as the interpreter passed it.
#[inline]
unsafe fn argument(
    function: &str,
    name: &str,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> Option<*mut PyObject> {
    if names.is_null() && count == 0 {
        return Some(null_mut());
    }
    if names.is_null() && count == 1 {
        // SAFETY: there is one.
        return Some(unsafe { *args });
    }
    // SAFETY: passed on to the caller.
    unsafe { argument_by_name(function, name, args, count, names) }
}

#[cold]
unsafe fn argument_by_name(
    function: &str,
    name: &str,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> Option<*mut PyObject> {
    let mut value = null_mut();
    let done = slowly(|py| {
        // SAFETY: the interpreter's tuple of keyword names, alive during the call, or null.
        let names = unsafe { Bound::from_borrowed_ptr_or_opt(py, names) };
        let names: Vec<String> = names.map_or(Ok(vec![]), |names| names.extract())?;
        if let Some(unknown) = names.iter().find(|given| *given != name) {
            let message = format!("{function}() got an unexpected keyword argument '{unknown}'");
            return Err(PyTypeError::new_err(message));
        }
        let given = count.unsigned_abs() + names.len();
        if given > 1 {
            let message = format!("{function}() takes one argument ({given} given)");
            return Err(PyTypeError::new_err(message));
        }
        // SAFETY: there is one value.
        value = unsafe { *args };
        Ok(py.None().into_ptr())
    });
    // SAFETY: a new reference, or null.
    unsafe { Owned::new(done) }.map(|_| value)
}

fn result(object: Option<Owned>) -> *mut PyObject {
    object.map_or(null_mut(), Owned::into_ptr)
}

unsafe extern "C" fn connection(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CorePooledDB.
    let pool = unsafe { receiver::<CorePooledDB>(slf) };
    // SAFETY: the vector is as the interpreter passed it.
    let shareable = unsafe { argument("connection", "shareable", args, count, names) };
    let Some(shareable) = shareable else { return null_mut() };
    // SAFETY: an argument is alive during the call.
    let shareable = shareable.is_null()
        || match unsafe { ffi::PyObject_IsTrue(shareable) } {
            0 => false,
            1 => true,
            _ => return null_mut(),
        };
    if shareable && pool.get().shares.load(Relaxed) {
        return result(Owned::call(slf, intern!(pool.py(), "_share")));
    }
    result(lend(pool))
}

unsafe extern "C" fn dedicated_connection(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CorePooledDB.
    let pool = unsafe { receiver::<CorePooledDB>(slf) };
    // SAFETY: attached; it is never freed.
    let not_shareable = unsafe { ffi::Py_False() };
    result(Owned::call1(slf, intern!(pool.py(), "connection"), not_shareable))
}

unsafe extern "C" fn cache(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CorePooledDB.
    let pool = unsafe { receiver::<CorePooledDB>(slf) };
    // SAFETY: the vector is as the interpreter passed it.
    let con = unsafe { argument("cache", "con", args, count, names) };
    let Some(con) = con else { return null_mut() };
    if con.is_null() {
        return slowly(|_| Err(PyTypeError::new_err("cache() takes one argument (0 given)")));
    }
    if retain(pool, con).is_none() {
        if LAST_CHANCE.get() == con {
            drop(Permit(pool));
        }
        return null_mut();
    }
    release(pool);
    none()
}

static METHODS: Methods<3> = Methods::new([
    keywords(
        c"connection",
        c"connection($self, /, shareable=True)\n--\n\nLend a connection, waiting for one if the pool is at its limit and may block.",
        connection,
    ),
    plain(c"dedicated_connection", c"dedicated_connection($self, /)\n--\n\nLend a connection that nobody else uses meanwhile.", dedicated_connection),
    keywords(
        c"cache",
        c"cache($self, /, con)\n--\n\nTake a connection back: what a proxy does when it is closed.",
        cache,
    ),
]);

/// Puts the functions into the class.
pub(super) fn install(py: Python<'_>) -> PyResult<()> {
    METHODS.install(&py.get_type::<CorePooledDB>())
}
