//! What `pool.connection()` returns: the right to one connection for the time of a `with` block.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8};

use millpond_core::{Claim, Held, Reason};
use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use crate::acquire::{self, Lent, Terms};
use crate::inner::Inner;
use crate::pool::CorePool;
use crate::raw::finalize;
use crate::release::{self, Rest};

pub(crate) const FREE: u8 = 0;
pub(crate) const BUSY: u8 = 1;
pub(crate) const HELD: u8 = 2;
/// As HELD, but what the block got only stands in for a connection.
pub(crate) const STOOD_IN: u8 = 3;

/// What `connection()` returns: a connection for the time of a ``with`` block.
#[pyclass(frozen, weakref, generic, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Py<CorePool>,
    terms: Terms,
    hold: Hold,
}

/// What a lease has of a pool.
#[derive(Debug)]
pub(crate) struct Hold {
    /// FREE -> BUSY -> HELD -> BUSY -> FREE. BUSY is one thread's, which writes the three below.
    state: AtomicU8,
    inside: AtomicU32,
    slot: AtomicU32,
    generation: AtomicU64,
}

impl Hold {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(FREE),
            inside: AtomicU32::new(0),
            slot: AtomicU32::new(0),
            generation: AtomicU64::new(0),
        }
    }

    pub(crate) fn step(&self, from: u8, to: u8) -> bool {
        // Acquire and, in `set`, Release: hand `inside`, `slot` and `generation` from the thread that
        // entered to the one that leaves, should they be two.
        self.state.compare_exchange(from, to, Acquire, Relaxed).is_ok()
    }

    pub(crate) fn set(&self, state: u8) {
        // Release: pairs with the Acquire in `step`.
        self.state.store(state, Release);
    }

    /// What is held now, by who is BUSY.
    pub(crate) fn put(&self, inner: &Inner, claim: Claim) {
        self.inside.store(inner.id, Relaxed);
        self.slot.store(claim.slot, Relaxed);
        self.generation.store(claim.generation, Relaxed);
        self.set(HELD);
    }

    /// What is held, unless it was released already or belongs to the parent of a fork.
    pub(crate) fn held(&self, inner: &Inner) -> Option<Held> {
        if !self.is_inside(inner) {
            return None;
        }
        inner.core.held(self.slot.load(Relaxed), Some(self.generation.load(Relaxed)))
    }

    /// Whether what is held was acquired in this process.
    pub(crate) fn is_inside(&self, inner: &Inner) -> bool {
        self.inside.load(Relaxed) == inner.id
    }

    pub(crate) fn is_free(&self) -> bool {
        self.state.load(Relaxed) == FREE
    }

    /// Whether a connection is held, for who has the lease for itself.
    pub(crate) fn is_held(&mut self) -> bool {
        *self.state.get_mut() == HELD
    }
}

impl Lease {
    pub(crate) fn new(pool: Py<CorePool>, terms: Terms) -> Self {
        Self { pool, terms, hold: Hold::new() }
    }

    /// Acquires, if all that takes is a CAS: a new reference to the connection.
    #[inline(always)]
    pub(crate) fn fast_enter(&self) -> Option<*mut ffi::PyObject> {
        let inner = self.pool.get().inner().filter(|inner| inner.is_plain())?;
        if !self.hold.step(FREE, BUSY) {
            return None;
        }
        let Some(claim) = inner.try_claim() else {
            self.hold.set(FREE);
            return None;
        };
        self.hold.put(inner, claim);
        // SAFETY: the claim is ours until the block ends.
        let connection = unsafe { inner.core.value(claim) }?;
        let object = connection.object.as_ptr();
        // SAFETY: the interpreter called us, and the slot keeps the object alive.
        unsafe { ffi::Py_IncRef(object) };
        Some(object)
    }

    /// Acquires, waiting if need be.
    pub(crate) fn enter(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let pool = self.pool.bind(py);
        if !self.hold.step(FREE, BUSY) {
            return Err(CorePool::failure(pool, "entered", ()));
        }
        let acquired = pool.get().started().and_then(|inner| {
            match acquire::acquire_within(pool, inner, self.terms)? {
                Lent::Connection(claim, connection) => {
                    self.hold.put(inner, claim);
                    Ok(connection)
                }
                Lent::StandIn(object) => {
                    self.hold.set(STOOD_IN);
                    Ok(object)
                }
            }
        });
        if acquired.is_err() {
            self.hold.set(FREE);
        }
        acquired
    }

    /// Releases, but for what is out of the ordinary. `None` when nothing was done.
    #[inline(always)]
    pub(crate) fn fast_exit(&self) -> Option<Rest> {
        let inner = self.pool.get().inner().filter(|inner| inner.is_plain())?;
        if !self.hold.step(HELD, BUSY) {
            return None;
        }
        let Some(held) = self.hold.held(inner) else {
            self.hold.set(HELD);
            return None;
        };
        self.hold.set(FREE);
        // SAFETY: the interpreter called us, so the thread is attached.
        Some(unsafe { release::give_back(inner, held) })
    }

    /// Releases after a block that ended well, or by an error, which may have been the connection's end.
    pub(crate) fn exit_by(&self, py: Python<'_>, error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let pool = self.pool.bind(py);
        let inner = pool.get().started()?;
        if self.hold.step(STOOD_IN, FREE) {
            return Ok(());
        }
        if !self.hold.step(HELD, BUSY) {
            return Err(CorePool::failure(pool, "not_entered", ()));
        }
        let held = self.hold.held(inner);
        self.hold.set(FREE);
        match held {
            Some(held) if error.is_some_and(|error| is_fatal(pool, inner, held, error)) => {
                release::give_up_held(pool, inner, held, Reason::Dead).map(drop)
            }
            Some(held) => release::release_held(pool, inner, held),
            // Acquired before a fork: the connection is the parent's.
            None if !self.hold.is_inside(inner) => Ok(()),
            None => Err(CorePool::failure(pool, "not_held", ())),
        }
    }

    /// What `fast_exit` left to do.
    pub(crate) fn finish(&self, py: Python<'_>, rest: Rest) -> PyResult<()> {
        let pool = self.pool.bind(py);
        release::finish(pool, pool.get().started()?, rest)
    }
}

/// Whether the driver takes the error for the end of the connection.
fn is_fatal(
    pool: &Bound<'_, CorePool>,
    inner: &Inner,
    held: Held,
    error: &Bound<'_, PyAny>,
) -> bool {
    if !error.is_instance_of::<PyException>() {
        return false;
    }
    let fatal = acquire::connection(pool.py(), inner, held.claim()).and_then(|connection| {
        pool.call_method1(intern!(pool.py(), "_is_fatal"), (connection, error))?.is_truthy()
    });
    fatal.unwrap_or_else(|error| {
        error.write_unraisable(pool.py(), Some(pool));
        false
    })
}

#[pymethods]
impl Lease {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)
    }

    fn __repr__(&self) -> &'static str {
        if self.hold.is_free() {
            "<millpond lease, not held>"
        } else {
            "<millpond lease, held>"
        }
    }
}

/// A lease that is garbage collected while it is held was never left: the connection is closed, since
/// somebody may still be using it, and its place is free again.
impl Drop for Lease {
    fn drop(&mut self) {
        if !self.hold.is_held() || crate::EXITED.load(Relaxed) {
            return;
        }
        finalize(|py| self.hold.abandon(self.pool.bind(py)));
    }
}

impl Hold {
    /// Closes what a lease held that was garbage collected, and says so.
    pub(crate) fn abandon(&self, pool: &Bound<'_, CorePool>) {
        let Some(inner) = pool.get().inner() else { return };
        let Some(held) = self.held(inner) else { return };
        if !release::discard_held(pool, inner, held, Reason::Leaked) {
            return;
        }
        let warned = pool.call_method1(intern!(pool.py(), "_lease_lost"), (held.claim().slot,));
        if let Err(error) = warned {
            error.write_unraisable(pool.py(), Some(pool));
        }
    }
}
