//! The primitives of every other file: `std` and `parking_lot` in life, loom under `--cfg loom`.
//!
//! Nothing else in this crate names `std::sync`, so that a loom model runs the code that ships.
//!
//! loom's manual says that it takes `SeqCst` accesses as `AcqRel`. In fact (0.7.2, `rt/atomic.rs`) no
//! `SeqCst` load returns a `SeqCst` store that is older than another one, and that is all that this
//! crate relies on: there are no fences for the models' sake, and each `SeqCst` that is weakened makes
//! one of them fail. Only the value that an atomic begins with is exempt, so a model first makes the
//! pool do something.

#[cfg(loom)]
pub(crate) use self::modelled::*;
#[cfg(not(loom))]
pub(crate) use self::real::*;

#[cfg(not(loom))]
mod real {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};

    /// `std`'s cell with loom's closure interface.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}

#[cfg(loom)]
mod modelled {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};
    pub(crate) use loom::sync::MutexGuard;

    /// loom's mutex with `parking_lot`'s interface: a model has no poisoning.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model that panics ends there")
        }
    }
}

/// A number that is counted and shown, and that no decision rests on. It is `std`'s in a model too: a
/// model tries every order of the accesses to an atomic, and the order of these says nothing.
pub(crate) type Tally = std::sync::atomic::AtomicU64;

/// A number that is written before the slot is published and read after a look at its word. It is `std`'s
/// in a model too: who reads another slot's fails to claim by the word that it looked at.
pub(crate) type Setting = std::sync::atomic::AtomicI32;

/// Keeps `T` on cache lines of its own: two of 64 bytes, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
