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

/// Counts from now on.
///
/// Not by a hook of `os.register_at_fork()`: before the first of those the interpreter has discarded
/// the other threads, and with them what was local to them. Their connections are finalized then, and
/// have to know already that they are the parent's.
pub(crate) fn watch() -> PyResult<()> {
    #[cfg(unix)]
    {
        extern "C" fn child() {
            GENERATION.fetch_add(1, Relaxed);
        }
        // SAFETY: `child` is async-signal-safe, it only touches an atomic; it stays where it is, since
        // the interpreter never unloads an extension module.
        let error = unsafe { libc::pthread_atfork(None, None, Some(child)) };
        if error != 0 {
            return Err(std::io::Error::from_raw_os_error(error).into());
        }
    }
    Ok(())
}
