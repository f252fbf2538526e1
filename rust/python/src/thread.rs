//! What a thread remembers: its own name, its last slot, and whether it runs a hook of a pool.

use std::cell::Cell;

use std::ffi::c_ulong;

// In the stable ABI (pythread.h), and left out by PyO3.
unsafe extern "C" {
    fn PyThread_get_thread_ident() -> c_ulong;
}

/// The slot of a pool in which a thread last found a connection.
#[derive(Clone, Copy)]
struct Habit {
    pool: u32,
    slot: u32,
}

thread_local! {
    static HABIT: Cell<Habit> = const { Cell::new(Habit { pool: 0, slot: 0 }) };
    static IDENT: Cell<u64> = const { Cell::new(0) };
    /// The pool whose hook the thread runs; 0 for none. Pools count from 1.
    static HOOK_OF: Cell<u32> = const { Cell::new(0) };
}

/// The slot to try first. One for all pools is enough: a wrong guess costs one look.
#[inline]
pub(crate) fn habit(pool: u32) -> u32 {
    let habit = HABIT.get();
    if habit.pool == pool {
        habit.slot
    } else {
        0
    }
}

#[inline]
pub(crate) fn set_habit(pool: u32, slot: u32) {
    HABIT.set(Habit { pool, slot });
}

/// The thread's `threading.get_ident()`.
#[inline]
pub(crate) fn ident() -> u64 {
    match IDENT.get() {
        0 => {
            // SAFETY: has no preconditions.
            let ident = unsafe { PyThread_get_thread_ident() } as u64;
            IDENT.set(ident);
            ident
        }
        ident => ident,
    }
}

/// Forgets the name after a fork, since the child's only thread may have another.
pub(crate) fn forget() {
    IDENT.set(0);
}

/// Whether the thread runs a hook of this pool.
pub(crate) fn in_hook_of(pool: u32) -> bool {
    HOOK_OF.get() == pool
}

/// Marks the thread as running a hook of a pool, until the guard goes.
pub(crate) struct InHook {
    before: u32,
}

impl InHook {
    pub(crate) fn of(pool: u32) -> Self {
        Self { before: HOOK_OF.replace(pool) }
    }
}

impl Drop for InHook {
    fn drop(&mut self) {
        HOOK_OF.set(self.before);
    }
}
