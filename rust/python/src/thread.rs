//! What a thread remembers: its own name, its last slot, and whether it runs a hook of a pool.

use std::cell::Cell;

use std::ffi::c_ulong;

// In the stable ABI (pythread.h), and left out by PyO3.
unsafe extern "C" {
    fn PyThread_get_thread_ident() -> c_ulong;
}

/// What the fast path wants to know of its thread, in one place, for one look.
pub(crate) struct Thread {
    /// `threading.get_ident()`; 0 until somebody asks.
    ident: Cell<u64>,
    /// The pool in which the thread last acquired; pools count from 1.
    pool: Cell<u32>,
    /// The slot in which it found a connection there.
    slot: Cell<u32>,
    /// The pool whose hook the thread runs; 0 for none.
    hook_of: Cell<u32>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread { ident: Cell::new(0), pool: Cell::new(0), slot: Cell::new(0), hook_of: Cell::new(0) }
    };
}

impl Thread {
    #[inline(always)]
    pub(crate) fn with<R>(look: impl FnOnce(&Self) -> R) -> R {
        THREAD.with(look)
    }

    /// The slot to try first. One for all pools is enough: a wrong guess costs one look.
    #[inline(always)]
    pub(crate) fn habit(&self, pool: u32) -> u32 {
        if self.pool.get() == pool {
            self.slot.get()
        } else {
            0
        }
    }

    #[inline(always)]
    pub(crate) fn set_habit(&self, pool: u32, slot: u32) {
        self.pool.set(pool);
        self.slot.set(slot);
    }

    /// The thread's `threading.get_ident()`.
    #[inline(always)]
    pub(crate) fn ident(&self) -> u64 {
        match self.ident.get() {
            0 => self.find_ident(),
            ident => ident,
        }
    }

    #[cold]
    fn find_ident(&self) -> u64 {
        // SAFETY: has no preconditions.
        let ident = unsafe { PyThread_get_thread_ident() } as u64;
        self.ident.set(ident);
        ident
    }
}

/// See [`Thread::habit`].
#[inline(always)]
pub(crate) fn habit(pool: u32) -> u32 {
    Thread::with(|thread| thread.habit(pool))
}

/// See [`Thread::set_habit`].
pub(crate) fn set_habit(pool: u32, slot: u32) {
    Thread::with(|thread| thread.set_habit(pool, slot));
}

/// See [`Thread::ident`].
pub(crate) fn ident() -> u64 {
    Thread::with(Thread::ident)
}

/// Forgets the name after a fork, since the child's only thread may have another.
pub(crate) fn forget() {
    Thread::with(|thread| thread.ident.set(0));
}

/// Whether the thread runs a hook of this pool.
pub(crate) fn in_hook_of(pool: u32) -> bool {
    Thread::with(|thread| thread.hook_of.get() == pool)
}

/// Marks the thread as running a hook of a pool, until the guard goes.
pub(crate) struct InHook {
    before: u32,
}

impl InHook {
    pub(crate) fn of(pool: u32) -> Self {
        Self { before: Thread::with(|thread| thread.hook_of.replace(pool)) }
    }
}

impl Drop for InHook {
    fn drop(&mut self) {
        Thread::with(|thread| thread.hook_of.set(self.before));
    }
}
