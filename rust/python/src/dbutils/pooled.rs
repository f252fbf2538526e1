//! `CorePooledDB`: permits, idle connections, and the methods that lend and take back.
//!
//! Who has a permit may take a connection out of the idle list, or open one. Who gives a connection back
//! puts it into the list first and gives up the permit then, so that the next one finds it. Nothing here
//! holds a lock while a connection is opened, tested, reset or closed.

use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64};
use std::sync::Arc;

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::ffi::{self, PyObject, Py_ssize_t};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::idle::{self, Room};
use super::limit;
use super::place::{settle, Line, Place, Watch};
use super::proxy;
use crate::field::Field;
use crate::raw::{keywords, none, receiver, slowly, Methods, Owned, Pending};

/// The base class of `millpond.dbutils.pooled_db.PooledDB`.
#[pyclass(frozen, subclass, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct CorePooledDB {
    /// From `Arc::into_raw`. Replaced only in the child of a fork, where the old line is leaked on
    /// purpose, so a reference to a line is good for as long as the pool lives.
    line: AtomicPtr<Line>,
    idle: Field,
    room: Room,
    maxconnections: Field,
    maxcached: Field,
    maxshared: Field,
    shares: AtomicBool,
    reset: Field,
    upkeep: Field,
}

thread_local! {
    /// The connection of the proxy that is being deallocated.
    static LAST_CHANCE: Cell<*mut PyObject> = const { Cell::new(null_mut()) };
}

/// Runs `give_back` knowing that nobody could give this connection back a second time: when that fails,
/// its permit is free nevertheless.
pub(super) fn with_last_chance<R>(con: *mut PyObject, give_back: impl FnOnce() -> R) -> R {
    let before = LAST_CHANCE.replace(con);
    let result = give_back();
    LAST_CHANCE.set(before);
    result
}

impl CorePooledDB {
    /// The permits, and those who wait for one.
    #[inline]
    pub(super) fn line(&self) -> &Arc<Line> {
        // SAFETY: an `Arc` is a pointer to what `into_raw` gives, so a place that holds this pointer can be
        // read as an `Arc`; it is never dropped as such.
        let line = unsafe { &*(&raw const self.line).cast::<Arc<Line>>() };
        line
    }
}
