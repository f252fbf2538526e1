//! `CoreAsyncPool`, which `millpond.AsyncPool` extends, and the lease of its `async with` blocks.
//!
//! A block that finds an idle connection and leaves it clean suspends nowhere, so its two ends are plain
//! C functions here, which return an awaitable that is done. All else is a coroutine of `AsyncPool`.

use std::ptr::null_mut;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use millpond_core::{Claim, Held};
use pyo3::ffi::{self, PyObject, Py_ssize_t};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::acquire;
use crate::done;
use crate::field::Field;
use crate::heard::Way;
use crate::hot::Asked;
use crate::inner::Inner;
use crate::lease::{Hold, BUSY, FREE, HELD, STOOD_IN};
use crate::pool::CorePool;
use crate::raw::{
    ended_by, finalize, is_none, keywords, plain, positional, receiver, slowly, Methods, Owned,
};
use crate::release::{self, Rest};
use crate::thread;
use crate::vectorcall;

/// Makes the address of a task a number that no thread has: `_loop.py`, `number_of`.
const TASK: u64 = 1;

/// What Python lends for the fast path.
struct Tools {
    /// `asyncio._get_running_loop`
    running_loop: Py<PyAny>,
    /// The current task of a loop: a function of it, or a dict.
    current_task: Py<PyAny>,
    /// Whether this is `CPython` 3.11, where `_get_running_loop` makes a system call (160 ns), and tasks are in a
    /// dict. It always has the GIL.
    is_old: bool,
}

impl Tools {
    /// The running loop and its engine; `None` when there is none, or with an exception set.
    fn engine_of(&self, py: Python<'_>, pool: &CoreAsyncPool) -> Option<(Owned, Owned)> {
        let engines = pool.engines.as_ptr();
        // Relaxed: whoever does not see it yet asks once more.
        if self.is_old && pool.loops_tell_thread.load(Relaxed) {
            if let Some(found) = pool.only_engine(py) {
                return Some(found);
            }
        }
        // SAFETY: attached, as `py` shows.
        let running = unsafe { ffi::PyObject_CallNoArgs(self.running_loop.as_ptr()) };
        // SAFETY: a new reference, or null.
        let running = unsafe { Owned::new(running) }?;
        // SAFETY: attached; a dict. The entry of a running loop is only removed by that loop's thread, which
        // is this one, so the borrowed reference is good.
        let engine = unsafe { ffi::PyDict_GetItemWithError(engines, running.as_ptr()) };
        // SAFETY: alive, as said, or null.
        let engine = unsafe { Owned::another(engine) }?;
        Some((running, engine))
    }

    /// What the core knows a loop's current task by; `None` with an exception set, or in no task.
    fn task_of(&self, running: *mut PyObject) -> Option<u64> {
        let tasks = self.current_task.as_ptr();
        if self.is_old {
            // SAFETY: attached, as all callers are; a dict. Only the address of what it has is used.
            let task = unsafe { ffi::PyDict_GetItemWithError(tasks, running) };
            return (!task.is_null()).then_some(task as u64 | TASK);
        }
        // SAFETY: attached.
        let task = unsafe { vectorcall::apply(tasks, running) };
        // SAFETY: a new reference, or null.
        let task = unsafe { Owned::new(task) }?;
        Some(task.as_ptr() as u64 | TASK)
    }
}

static TOOLS: PyOnceLock<Tools> = PyOnceLock::new();

/// The engine of one pool for asyncio; `millpond.AsyncPool` extends it.
#[pyclass(frozen, subclass, weakref, generic, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct CoreAsyncPool {
    /// The engine of each event loop. A loop's own thread is the only one that takes it out while the loop
    /// is running.
    engines: Py<PyDict>,
    /// Whether they have a `_thread_id`, as all but uvloop's have. To find out that one has not takes longer
    /// than what it is asked for.
    loops_tell_thread: AtomicBool,
}

impl CoreAsyncPool {
    /// The loop and the engine of a pool that has only one, if that is the running one: a loop knows in which
    /// thread it runs. For an interpreter with the GIL.
    fn only_engine(&self, py: Python<'_>) -> Option<(Owned, Owned)> {
        let engines = self.engines.as_ptr();
        // SAFETY: attached, as `py` shows; a dict.
        if unsafe { ffi::PyDict_Size(engines) } != 1 {
            return None;
        }
        let (mut place, mut key, mut value) = (0, null_mut::<PyObject>(), null_mut::<PyObject>());
        // SAFETY: attached; a dict, and places for what is in it.
        if unsafe { ffi::PyDict_Next(engines, &raw mut place, &raw mut key, &raw mut value) } == 0 {
            return None;
        }
        // SAFETY: attached, with the GIL, and nothing ran since.
        let running = unsafe { Owned::another(key) }?;
        // SAFETY: as above.
        let engine = unsafe { Owned::another(value) }?;
        let name = intern!(py, "_thread_id");
        // SAFETY: attached, and both are alive.
        let ident = unsafe { ffi::PyObject_GetAttr(running.as_ptr(), name.as_ptr()) };
        // SAFETY: a new reference, or null.
        let ident = unsafe { Owned::new(ident) };
        if ident.is_none() {
            self.loops_tell_thread.store(false, Relaxed);
        }
        // None while the loop is not running: then this is no number, which is an error as well.
        // SAFETY: attached, and alive.
        let ident = ident.map(|ident| unsafe { ffi::PyLong_AsUnsignedLongLong(ident.as_ptr()) });
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() };
        (ident == Some(thread::ident())).then_some((running, engine))
    }
}

#[pymethods]
impl CoreAsyncPool {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Self {
        Self { engines: PyDict::new(py).unbind(), loops_tell_thread: AtomicBool::new(true) }
    }

    #[getter]
    fn _engines(&self, py: Python<'_>) -> Py<PyDict> {
        self.engines.clone_ref(py)
    }

    /// Says how one learns of the running loop and of its task.
    #[staticmethod]
    fn _prepare(py: Python<'_>, running_loop: Py<PyAny>, current_task: Py<PyAny>) {
        // Whoever imports the module a second time brings the same.
        let is_old = current_task.bind(py).is_instance_of::<PyDict>();
        drop(TOOLS.set(py, Tools { running_loop, current_task, is_old }));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.engines)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.engines.bind(py).clear();
    }
}

/// What `connection()` returns: a connection for the time of an ``async with`` block.
#[pyclass(frozen, weakref, generic, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct AsyncLease {
    owner: Py<CoreAsyncPool>,
    timeout: Option<Py<PyAny>>,
    priority: Option<Py<PyAny>>,
    /// The engine, while the block is open.
    engine: Field,
    hold: Hold,
}

impl AsyncLease {
    fn new(
        owner: Py<CoreAsyncPool>,
        timeout: Option<Py<PyAny>>,
        priority: Option<Py<PyAny>>,
    ) -> Self {
        Self { owner, timeout, priority, engine: Field::new(None), hold: Hold::new() }
    }

    /// Acquires, if nothing has to be awaited: an awaitable that is done. `None` when nothing was done, or
    /// with an exception set.
    fn fast_enter(&self, py: Python<'_>) -> Option<*mut PyObject> {
        let tools = TOOLS.get(py)?;
        let (running, engine) = tools.engine_of(py, self.owner.get())?;
        // SAFETY: `AsyncPool` puts in nothing but engines, which extend `CorePool`.
        let pool = unsafe { receiver::<CorePool>(engine.as_ptr()) };
        let inner = pool.get().inner()?;
        // SAFETY: attached. Without the question there are hooks to be awaited.
        unsafe { inner.is_clean.owned() }?;
        let task = tools.task_of(running.as_ptr())?;
        if !self.hold.step(FREE, BUSY) {
            return None;
        }
        let Some((claim, connection)) = claim(&pool, inner, task) else {
            self.hold.set(FREE);
            return None;
        };
        self.hold.put(inner, claim);
        let before = self.engine.swap_raw(engine.into_ptr());
        debug_assert!(before.is_null(), "a free lease has no engine");
        // SAFETY: attached, and the object is ours.
        Some(unsafe { done::new(connection.as_ptr()) })
    }

    /// Releases, if nothing has to be awaited. `None` when nothing was done.
    fn fast_exit(&self) -> Option<*mut PyObject> {
        if !self.hold.step(HELD, BUSY) {
            return None;
        }
        // SAFETY: attached, as the caller is.
        let engine = unsafe { self.engine.take_owned() }?;
        // SAFETY: what is in the field is an engine.
        let pool = unsafe { receiver::<CorePool>(engine.as_ptr()) };
        let rest = pool.get().inner().and_then(|inner| {
            let held = self.hold.held(inner)?;
            (inner.is_plain() && is_clean(inner, held)).then(|| {
                // SAFETY: attached.
                unsafe { release::give_back(inner, held) }
            })
        });
        let Some(rest) = rest else {
            self.engine.swap_raw(engine.into_ptr());
            self.hold.set(HELD);
            return None;
        };
        self.hold.set(FREE);
        if !matches!(rest, Rest::Nothing) {
            let finished = slowly(|py| {
                release::finish(&pool, pool.get().started()?, rest)?;
                Ok(py.None().into_ptr())
            });
            // SAFETY: a new reference, or null.
            if unsafe { Owned::new(finished) }.is_none() {
                return Some(null_mut());
            }
        }
        // SAFETY: attached.
        Some(unsafe { done::nothing() })
    }

    fn engine<'py>(&self, py: Python<'py>) -> Option<Bound<'py, CorePool>> {
        self.engine.get(py).and_then(|engine| engine.cast_into::<CorePool>().ok())
    }
}

/// Claims an idle connection; where the driver has to be asked about it, that too.
fn claim(pool: &Bound<'_, CorePool>, inner: &Inner, holder: u64) -> Option<(Claim, Owned)> {
    loop {
        let claim = inner.try_claim_for(Some(holder))?;
        if inner.is_plain() {
            // SAFETY: the claim is ours until we give the connection out.
            let connection = unsafe { inner.core.value(claim) }?;
            // SAFETY: attached, and the slot keeps the object alive.
            return unsafe { Owned::another(connection.object.as_ptr()) }.map(|one| (claim, one));
        }
        let way = Way { since: Instant::now(), queued: false };
        let object = slowly(|py| {
            let handed = acquire::hand_out(pool, inner, claim, way)?;
            Ok(handed.map_or_else(|| py.None(), |(_, object)| object).into_ptr())
        });
        // SAFETY: a new reference, or null with the exception set.
        let object = unsafe { Owned::new(object) }?;
        if !is_none(object.as_ptr()) {
            return Some((claim, object));
        }
    }
}

/// Whether the driver says that there is nothing to reset. If it raises, somebody else will ask again.
fn is_clean(inner: &Inner, held: Held) -> bool {
    // SAFETY: attached, as all callers are.
    let Some(question) = (unsafe { inner.is_clean.owned() }) else { return false };
    // SAFETY: `held` is the caller's.
    let Some(connection) = (unsafe { inner.core.value(held.claim()) }) else { return false };
    // SAFETY: attached, and both are alive: the slot is in use until it is given back.
    let answer = unsafe { vectorcall::apply(question.as_ptr(), connection.object.as_ptr()) };
    // SAFETY: a new reference, or null.
    let Some(answer) = (unsafe { Owned::new(answer) }) else {
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() };
        return false;
    };
    // SAFETY: attached.
    answer.as_ptr() == unsafe { ffi::Py_True() }
}

#[pymethods]
impl AsyncLease {
    /// What the caller is ready to bear: a timeout and a priority.
    #[getter]
    fn _terms(&self, py: Python<'_>) -> (Option<Py<PyAny>>, Option<Py<PyAny>>) {
        let clone = |one: &Option<Py<PyAny>>| one.as_ref().map(|one| one.clone_ref(py));
        (clone(&self.timeout), clone(&self.priority))
    }

    /// Begins an entry that waits. False when the lease is entered already.
    fn _begin(&self) -> bool {
        self.hold.step(FREE, BUSY)
    }

    /// Ends such an entry without a connection.
    fn _fail(&self) {
        self.hold.set(FREE);
    }

    /// Ends it with a connection of an engine, or with what stands in for one.
    fn _put(&self, engine: &Bound<'_, CorePool>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
        let inner = engine.get().started()?;
        match release::find_held(engine, inner, connection) {
            Ok(Some(held)) => {
                self.engine.set(engine.py(), Some(engine.clone().into_any().unbind()));
                self.hold.put(inner, held.claim());
            }
            _ => self.hold.set(STOOD_IN),
        }
        Ok(())
    }

    /// Ends the block: the engine and the connection, which is the caller's to release now. `None` when
    /// there is nothing to release.
    fn _take(&self, py: Python<'_>) -> PyResult<Option<(Py<CorePool>, Py<PyAny>)>> {
        if self.hold.step(STOOD_IN, FREE) {
            return Ok(None);
        }
        if !self.hold.step(HELD, BUSY) {
            let owner = self.owner.bind(py);
            let error = owner.call_method1(intern!(py, "_failure"), ("not_entered",));
            return Err(error.map_or_else(|error| error, PyErr::from_value));
        }
        let engine = self.engine(py);
        self.engine.set(py, None);
        let held = engine.as_ref().and_then(|engine| {
            let inner = engine.get().inner()?;
            Some((self.hold.held(inner), self.hold.is_inside(inner)))
        });
        self.hold.set(FREE);
        let (Some(engine), Some((held, is_inside))) = (engine, held) else { return Ok(None) };
        let Some(held) = held else {
            // Acquired before a fork, the connection is the parent's.
            let error = is_inside.then(|| CorePool::failure(&engine, "not_held", ()));
            return error.map_or(Ok(None), Err);
        };
        let object = acquire::connection(py, engine.get().started()?, held.claim())?;
        Ok(Some((engine.unbind(), object)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        self.engine.traverse(&visit)
    }

    fn __repr__(&self) -> &'static str {
        if self.hold.is_free() {
            "<millpond async lease, not held>"
        } else {
            "<millpond async lease, held>"
        }
    }
}

/// As for `Lease`: nobody left the block, so the connection is closed.
impl Drop for AsyncLease {
    fn drop(&mut self) {
        if !self.hold.is_held() || crate::EXITED.load(Relaxed) {
            return;
        }
        finalize(|py| {
            if let Some(engine) = self.engine(py) {
                self.hold.abandon(&engine);
            }
        });
    }
}

const CONNECTION: [&str; 3] = ["timeout", "priority", "query_timeout"];

unsafe extern "C" fn connection_(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of CoreAsyncPool.
    let pool = unsafe { receiver::<CoreAsyncPool>(slf) };
    if count == 0 && names.is_null() {
        let lease = AsyncLease::new(pool.to_owned().unbind(), None, None);
        if let Ok(lease) = Bound::new(pool.py(), lease) {
            return lease.into_ptr();
        }
    }
    slowly(|py| {
        // SAFETY: the vector is as the interpreter passed it.
        let asked = unsafe { Asked::of(py, "connection", &CONNECTION, args, count, names) }?;
        let query_timeout = asked.query_timeout.clone();
        pool.call_method1(intern!(py, "_check_terms"), (&asked.timeout, &asked.priority))?;
        let unbound = |one: Option<Bound<'_, PyAny>>| one.map(Bound::unbind);
        let (timeout, priority) = (unbound(asked.timeout), unbound(asked.priority));
        let lease = AsyncLease::new(pool.to_owned().unbind(), timeout, priority);
        let lease = Bound::new(py, lease)?.into_any();
        match query_timeout {
            Some(seconds) if !seconds.is_none() => {
                Ok(pool.call_method1(intern!(py, "_limited"), (lease, seconds))?.into_ptr())
            }
            _ => Ok(lease.into_ptr()),
        }
    })
}

unsafe extern "C" fn aenter(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of AsyncLease.
    let lease = unsafe { receiver::<AsyncLease>(slf) };
    if let Some(done) = lease.get().fast_enter(lease.py()) {
        return done;
    }
    slowly(|py| {
        if let Some(error) = PyErr::take(py) {
            return Err(error);
        }
        let owner = lease.get().owner.bind(py);
        Ok(owner.call_method1(intern!(py, "_enter"), (&lease,))?.into_ptr())
    })
}

unsafe extern "C" fn aexit(
    slf: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method of AsyncLease.
    let lease = unsafe { receiver::<AsyncLease>(slf) };
    // SAFETY: as the interpreter passed it, so the thread is attached.
    let error = unsafe { ended_by(args, count) };
    if error.is_none() {
        if let Some(done) = lease.get().fast_exit() {
            return done;
        }
    }
    slowly(|py| {
        // SAFETY: an argument is alive during the call.
        let error = error.map(|error| unsafe { Bound::from_borrowed_ptr(py, error) });
        let owner = lease.get().owner.bind(py);
        Ok(owner.call_method1(intern!(py, "_exit"), (&lease, error))?.into_ptr())
    })
}

static POOL: Methods<1> = Methods::new([keywords(
    c"connection",
    c"connection($self, *, timeout=None, priority=\"normal\", query_timeout=None)\n--\n\nLend a connection for the time of an ``async with`` block.",
    connection_,
)]);

static LEASE: Methods<2> = Methods::new([
    plain(c"__aenter__", c"__aenter__($self, /)\n--\n\nAcquire the connection.", aenter),
    positional(c"__aexit__", c"__aexit__($self, /, *args)\n--\n\nRelease the connection.", aexit),
]);

/// Puts the functions into their classes.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    POOL.install(&py.get_type::<CoreAsyncPool>())?;
    LEASE.install(&py.get_type::<AsyncLease>())
}
