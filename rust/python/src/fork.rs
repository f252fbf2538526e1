//! How often this process was forked: connections that an ancestor opened are not ours to close.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pyo3::prelude::*;

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The number of forks between the process that imported this module and this one.
#[inline]
pub(crate) fn generation() -> u32 {
    // Relaxed, here and below: it changes only while the child of a fork has one thread.
    GENERATION.load(Relaxed)
}

/// Return how many forks lie between the process that imported the module and this one.
#[pyfunction]
pub(crate) fn fork_generation() -> u32 {
    generation()
}

/// Note that this process is the child of a fork.
#[pyfunction]
pub(crate) fn forked() {
    GENERATION.fetch_add(1, Relaxed);
}
