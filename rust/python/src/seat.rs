//! One thread's place in a `ThreadLocalPool`: its connection, and how many of its blocks are open.
//!
//! A seat is in a `threading.local` and nowhere else. So it ends with its thread, or with its greenlet
//! where gevent says what a thread is, and the connection goes with it. Only its own thread uses it;
//! the atomics are there since the interpreter could finalize it in another.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use millpond_core::{Claim, Reason};
use pyo3::ffi::{self, PyObject};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use crate::acquire;
use crate::connection::Connection;
use crate::field::Field;
use crate::heard::Way;
use crate::inner::Inner;
use crate::pool::CorePool;
use crate::raw::finalize;
use crate::release::{self, Rest};
use crate::thread;
use crate::ticket::Ticket;

/// What one thread has of a ``ThreadLocalPool``.
#[pyclass(frozen, generic, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct Seat {
    /// Weak: a thread that lives on must not keep a pool open that nobody has any more.
    pool: Py<PyWeakrefReference>,
    process: u32,
    /// The inside that the connection is of: another one since a fork.
    inside: AtomicU32,
    slot: AtomicU32,
    depth: AtomicU32,
    /// Blocks that are open since before a fork: their connection is the parent's.
    inherited: AtomicU32,
    connection: Field,
}

impl Seat {
    pub(crate) fn new(pool: &Bound<'_, CorePool>, inner: &Inner) -> PyResult<Self> {
        Ok(Self {
            pool: PyWeakrefReference::new(pool)?.unbind(),
            process: std::process::id(),
            inside: AtomicU32::new(inner.id),
            slot: AtomicU32::new(0),
            depth: AtomicU32::new(0),
            inherited: AtomicU32::new(0),
            connection: Field::new(None),
        })
    }

    /// How many blocks are open.
    pub(crate) fn depth(&self) -> u32 {
        self.depth.load(Relaxed)
    }

    /// Enters one more block: a new reference to the connection, if all that takes is a CAS.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline(always)]
    pub(crate) unsafe fn fast_enter(&self, inner: &Inner) -> Option<*mut PyObject> {
        if self.inside.load(Relaxed) != inner.id {
            return None;
        }
        // SAFETY: attached.
        let connection = unsafe { self.connection.get_raw() };
        if connection.is_null() {
            return None;
        }
        let depth = self.depth();
        if depth != 0 || (inner.is_plain() && self.claim(inner, connection).is_some()) {
            self.depth.store(depth + 1, Relaxed);
            return Some(connection);
        }
        // SAFETY: attached, and the reference is ours.
        unsafe { ffi::Py_DecRef(connection) };
        None
    }

    /// Leaves a block, if nothing is out of the ordinary. `None` when nothing was done.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline(always)]
    pub(crate) unsafe fn fast_exit(&self, inner: &Inner) -> Option<Rest> {
        if self.inside.load(Relaxed) != inner.id {
            return None;
        }
        match self.depth() {
            1 if inner.is_plain() => {
                // SAFETY: attached.
                let connection = unsafe { self.connection.get_raw() };
                if connection.is_null() {
                    return None;
                }
                let slot = self.find(inner, connection);
                // SAFETY: attached, and the reference is ours.
                unsafe { ffi::Py_DecRef(connection) };
                let held = inner.core.held(slot?, None)?;
                // SAFETY: attached.
                let rest = unsafe { release::give_back(inner, held) };
                // After the reset: should that use this pool, it is inside of the block.
                self.depth.store(0, Relaxed);
                Some(rest)
            }
            0 | 1 => None,
            depth => {
                self.depth.store(depth - 1, Relaxed);
                Some(Rest::Nothing)
            }
        }
    }

    /// Whether this is the connection of the seat, for functions in which PyO3 must not drop anything.
    ///
    /// # Safety
    /// The thread is attached.
    #[inline(always)]
    pub(crate) unsafe fn is(&self, connection: *mut PyObject) -> bool {
        // SAFETY: attached.
        let own = unsafe { self.connection.get_raw() };
        // SAFETY: attached, and the reference is ours, or null.
        unsafe { ffi::Py_XDECREF(own) };
        own == connection
    }

    /// Whether this is the connection of the seat.
    pub(crate) fn has(&self, py: Python<'_>, connection: &Bound<'_, PyAny>) -> bool {
        self.connection.get(py).is_some_and(|own| own.is(connection))
    }

    /// After a fork: forgets the parent's connection, and which blocks were open with it. The leaked
    /// inside of the parent still refers to the connection, so nothing is finalized here.
    pub(crate) fn settle(&self, py: Python<'_>, inner: &Inner) {
        if self.inside.swap(inner.id, Relaxed) != inner.id {
            self.inherited.fetch_add(self.depth.swap(0, Relaxed), Relaxed);
            self.connection.set(py, None);
        }
    }

    /// Leaves a block that was open before a fork, if there is one.
    pub(crate) fn leave_inherited(&self) -> bool {
        let left = self.inherited.load(Relaxed).checked_sub(1);
        left.inspect(|left| self.inherited.store(*left, Relaxed)).is_some()
    }

    /// Enters one more of the blocks that are open.
    pub(crate) fn nest<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let connection = self.connection.get(py)?;
        let depth = self.depth();
        (depth != 0).then(|| {
            self.depth.store(depth + 1, Relaxed);
            connection
        })
    }

    /// Leaves a block; the outermost one releases the connection.
    pub(crate) fn leave(&self, pool: &Bound<'_, CorePool>) -> PyResult<()> {
        let depth = self.depth();
        if depth > 1 {
            self.depth.store(depth - 1, Relaxed);
            return Ok(());
        }
        let released = match self.connection.get(pool.py()) {
            Some(connection) => release::release(pool, &connection),
            None => Err(CorePool::failure(pool, "not_held", ())),
        };
        // Whatever came of it: the connection is resting or closed.
        self.depth.store(0, Relaxed);
        released
    }

    /// After an exception on the way into a block: what was acquired for it is closed.
    pub(crate) fn give_up(&self, pool: &Bound<'_, CorePool>, inner: &Inner) {
        if self.depth.swap(0, Relaxed) != 0 {
            self.close_held(pool, inner, Reason::Discarded);
        }
    }

    /// Lets the connection go: at once, or when the blocks that are open are left.
    pub(crate) fn forsake(&self, pool: &Bound<'_, CorePool>, inner: &Inner) -> PyResult<()> {
        let py = pool.py();
        let Some(connection) = self.connection.get(py) else { return Ok(()) };
        if self.depth() == 0 {
            self.connection.set(py, None);
        }
        self.forsake_one(pool, inner, &connection)
    }

    fn forsake_one(
        &self,
        pool: &Bound<'_, CorePool>,
        inner: &Inner,
        connection: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let identity = Connection::identity(connection.as_ptr());
        let slot = self.slot.load(Relaxed);
        if inner.id != self.inside.load(Relaxed) {
            return Ok(());
        }
        CorePool::with_core(pool, |inner, now, todo| {
            inner.core.forsake(identity, slot, now, todo);
        })
    }

    fn close_held(&self, pool: &Bound<'_, CorePool>, inner: &Inner, reason: Reason) {
        let Some(connection) = self.connection.get(pool.py()) else { return };
        let slot = self.find(inner, connection.as_ptr());
        if let Some(held) = slot.and_then(|slot| inner.core.held(slot, None)) {
            release::discard_held(pool, inner, held, reason);
        }
    }

    #[inline(always)]
    fn claim(&self, inner: &Inner, connection: *mut PyObject) -> Option<Claim> {
        // As in `try_claim`: without a validator and without tracing nobody asks what time it is.
        let now = if inner.is_timed() { inner.clock.coarse() } else { 0 };
        let identity = Connection::identity(connection);
        let claim = inner.core.reclaim(identity, self.slot.load(Relaxed), now)?;
        self.slot.store(claim.slot, Relaxed);
        inner.core.note_borrow(claim, thread::ident(), || inner.clock.nanos());
        if inner.is_timed() {
            inner.core.note_held(claim, now);
        }
        Some(claim)
    }

    #[inline(always)]
    fn find(&self, inner: &Inner, connection: *mut PyObject) -> Option<u32> {
        inner.core.find(Connection::identity(connection), self.slot.load(Relaxed))
    }

    /// Enters the outermost block with what was claimed; `None` when that turned out to be dead.
    fn hold(
        &self,
        pool: &Bound<'_, CorePool>,
        inner: &Inner,
        claim: Claim,
        way: Way,
    ) -> PyResult<Option<Py<PyAny>>> {
        // Before the hook: should it use this pool, it is inside of the block.
        self.depth.store(1, Relaxed);
        let acquired = acquire::hand_out(pool, inner, claim, way);
        if !matches!(acquired, Ok(Some(_))) {
            self.depth.store(0, Relaxed);
        }
        Ok(acquired?.map(|(_, connection)| connection))
    }

    fn pool<'py>(&self, py: Python<'py>) -> Option<Bound<'py, CorePool>> {
        self.pool.bind(py).upgrade_as::<CorePool>().ok().flatten()
    }
}

#[pymethods]
impl Seat {
    /// Take the thread's own connection again; ``None`` when it is not there or not ready.
    pub(crate) fn reclaim(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(pool) = self.pool(py) else { return Ok(None) };
        let inner = pool.get().started()?;
        let Some(connection) = self.connection.get(py) else { return Ok(None) };
        if let Some(claim) = self.claim(inner, connection.as_ptr()) {
            let way = Way { since: Instant::now(), queued: false };
            return self.hold(&pool, inner, claim, way);
        }
        let identity = Connection::identity(connection.as_ptr());
        let slot = self.slot.load(Relaxed);
        CorePool::with_core(&pool, |inner, now, todo| inner.core.prove(identity, slot, now, todo))?;
        Ok(None)
    }

    /// Take the connection that a ticket was granted, to keep; ``None`` while it has to wait on.
    fn take(&self, py: Python<'_>, ticket: &Ticket) -> PyResult<Option<Py<PyAny>>> {
        let Some(pool) = self.pool(py) else { return Ok(None) };
        let inner = pool.get().started()?;
        let Some(claim) = ticket.accept(py, thread::ident())? else { return Ok(None) };
        if let Some(held) = inner.core.held(claim.slot, Some(claim.generation)) {
            inner.core.keep(held);
        }
        let connection = acquire::connection(py, inner, claim)?;
        self.slot.store(claim.slot, Relaxed);
        // There is one before if a signal handler used the pool while its thread waited in it.
        if let Some(before) = self.connection.swap(py, Some(connection)) {
            self.forsake_one(&pool, inner, &before)?;
        }
        let connection = self.hold(&pool, inner, claim, ticket.way())?;
        if connection.is_none() {
            ticket.queue_again(&pool, inner)?;
        }
        Ok(connection)
    }

    /// Whether the thread's connection is being validated right now.
    #[getter]
    fn proving(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(pool) = self.pool(py) else { return Ok(false) };
        let inner = pool.get().started()?;
        let connection = self.connection.get(py);
        Ok(connection.is_some_and(|connection| {
            let identity = Connection::identity(connection.as_ptr());
            inner.core.is_proving(identity, self.slot.load(Relaxed))
        }))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)?;
        self.connection.traverse(&visit)
    }
}

/// The thread has ended: its connection is closed, and its place is for whoever waits for one.
impl Drop for Seat {
    fn drop(&mut self) {
        // In the child of a fork the threads of the parent end before anything else happens, while the
        // pool is still the parent's, and its locks maybe taken for ever.
        if self.process != std::process::id() || crate::EXITED.load(Relaxed) {
            return;
        }
        finalize(|py| self.end(py));
    }
}

impl Seat {
    fn end(&self, py: Python<'_>) {
        let Some(pool) = self.pool(py) else { return };
        let Some(inner) = pool.get().inner() else { return };
        if self.inside.load(Relaxed) != inner.id {
            return;
        }
        if self.depth() > 0 {
            // A block that was never left, in a generator for example: nobody will reset the connection.
            return self.close_held(&pool, inner, Reason::Leaked);
        }
        if let Err(error) = self.forsake(&pool, inner) {
            error.write_unraisable(py, None);
        }
    }
}
