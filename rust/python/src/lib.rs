//! `millpond._core`: the engine of `millpond-core` as a Python extension module.
//!
//! | file | idea |
//! |---|---|
//! | `pool.rs` | `CorePool`, which `millpond.Pool` extends |
//! | `hot.rs` | the five methods that have to be fast, as plain C functions |
//! | `raw.rs` | how such functions get into their classes |
//! | `vectorcall.rs` | how they call methods |
//! | `acquire.rs`, `release.rs` | the same, with everything that can happen |
//! | `lease.rs` | what `pool.connection()` returns |
//! | `asyncio.rs` | `CoreAsyncPool`, and what its `connection()` returns |
//! | `done.rs` | an awaitable that is done |
//! | `wait.rs`, `ticket.rs` | how threads and callbacks wait |
//! | `threads.rs`, `seat.rs` | `CoreThreadLocalPool`, and what one thread has of it |
//! | `alarm.rs` | a moment at which something is to be done |
//! | `job.rs` | work for a worker thread |
//! | `inner.rs`, `connection.rs` | what a pool and a slot hold |
//! | `socket.rs` | whether the other side hung up |
//! | `clock.rs`, `thread.rs` | what time it is, and who is asking |
//! | `field.rs` | a reference that any thread may set |
//! | `heard.rs` | events, if anybody listens |
//! | `fork.rs` | whose connections are these |
//! | `dbutils/` | base classes for `millpond.dbutils` |
//! | `snapshot.rs`, `times.rs` | what statistics are made of |
//!
//! Two rules: no Python object is touched while a lock of the engine is held, and none is dropped
//! while the thread is detached. CI runs the tests with `--cfg pyo3_disable_reference_pool`, which
//! aborts where the second rule is broken.

#![allow(missing_docs, reason = "the stub file documents what Python sees")]
#![allow(clippy::needless_pass_by_value, reason = "PyO3 says how arguments are passed")]

mod acquire;
mod alarm;
mod asyncio;
mod clock;
mod connection;
mod dbutils;
mod done;
mod field;
mod fork;
mod heard;
mod hot;
mod inner;
mod job;
mod lease;
mod pool;
mod raw;
mod release;
mod seat;
mod snapshot;
mod socket;
mod thread;
mod threads;
mod ticket;
mod times;
mod vectorcall;
mod wait;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// The exit handlers ran: modules may be empty now, so pools do not call into them any more.
static EXITED: AtomicBool = AtomicBool::new(false);

/// Note that the exit handlers ran: from now on no pool calls into Python.
#[pyfunction]
fn exited() {
    // Relaxed, here and where it is read: whoever runs now runs in the thread that set it, or is a
    // daemon that is about to be stopped.
    EXITED.store(true, Relaxed);
}

/// Keep an object for ever: after a fork, what belongs to the parent is never finalized.
#[pyfunction]
fn leak(object: Bound<'_, PyAny>) {
    std::mem::forget(object);
}

/// The classes and the threads of a pool belong to one interpreter, the main one.
fn refuse_subinterpreter() -> PyResult<()> {
    // SAFETY: the interpreter runs this, so the thread is attached and has an interpreter.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: just got it.
    match unsafe { ffi::PyInterpreterState_GetID(interpreter) } {
        0 => Ok(()),
        _ => Err(PyImportError::new_err("millpond can't be used in a subinterpreter")),
    }
}

// No thread needs the interpreter's global lock for calling into this module.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    refuse_subinterpreter()?;
    fork::watch()?;
    vectorcall::prepare();
    done::install(module.py())?;
    module.add_class::<pool::CorePool>()?;
    module.add_class::<lease::Lease>()?;
    module.add_class::<asyncio::CoreAsyncPool>()?;
    module.add_class::<asyncio::AsyncLease>()?;
    module.add_class::<job::Job>()?;
    module.add_class::<ticket::Ticket>()?;
    module.add_class::<alarm::Alarm>()?;
    module.add_class::<clock::ManualClock>()?;
    module.add_class::<times::Times>()?;
    module.add_class::<threads::CoreThreadLocalPool>()?;
    module.add_class::<threads::ThreadLease>()?;
    module.add_class::<seat::Seat>()?;
    module.add_function(wrap_pyfunction!(leak, module)?)?;
    module.add_function(wrap_pyfunction!(exited, module)?)?;
    module.add_function(wrap_pyfunction!(fork::fork_generation, module)?)?;
    module.add("MAX_SIZE", millpond_core::MAX_SIZE)?;
    dbutils::install(module)?;
    hot::install(module.py())
}
