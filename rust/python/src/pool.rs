//! `CorePool`: the class that `millpond.Pool` extends. Here is what is not the fast path.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64};
use std::time::Instant;

use millpond_core::{Effects, State, Wake};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::acquire::Terms;
use crate::alarm::Alarm;
use crate::clock::{seconds, ticks};
use crate::connection::Connection;
use crate::heard::Way;
use crate::inner::{Inner, Options, Settings};
use crate::job::{self, Job};
use crate::ticket::Ticket;
use crate::wait::{nudge, News, Undelivered, Waiter};
use crate::{acquire, release, snapshot, thread};

pub(crate) type Todo = Effects<Connection, Waiter>;

/// The engine of one pool; `millpond.Pool` extends it.
#[pyclass(frozen, subclass, weakref, generic, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct CorePool {
    /// Null until `_start`. Replaced only in the child of a fork, where the old inside is leaked on
    /// purpose, so a reference to an inside is good for as long as the pool lives.
    inner: AtomicPtr<Inner>,
    main_thread: AtomicU64,
}

impl CorePool {
    /// The inside, if the pool was started.
    #[inline(always)]
    pub(crate) fn inner(&self) -> Option<&Inner> {
        // Acquire: pairs with the swap in `_start` and `_after_fork`.
        let inner = self.inner.load(Acquire);
        // SAFETY: null or a box that is freed only in `drop`, which has the pool for itself.
        unsafe { inner.as_ref() }
    }

    /// The inside, or the error for a subclass that forgot `super().__init__()`.
    pub(crate) fn started(&self) -> PyResult<&Inner> {
        self.inner().ok_or_else(|| {
            PyRuntimeError::new_err("the pool is not started: call super().__init__() first")
        })
    }

    /// The inside of a pool that is not closed.
    fn open<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a Inner> {
        let inner = slf.get().started()?;
        if inner.core.is_closed() {
            return Err(Self::failure(slf, "closed", ()));
        }
        Ok(inner)
    }

    /// Whether the calling thread is the one that runs signal handlers.
    pub(crate) fn is_main_thread(&self) -> bool {
        self.main_thread.load(Relaxed) == thread::ident()
    }

    /// The exception for a failure, as `Pool._failure` words it.
    pub(crate) fn failure(slf: &Bound<'_, Self>, kind: &str, details: impl Detail) -> PyErr {
        let made =
            slf.call_method1(intern!(slf.py(), "_failure"), (kind, details.object(slf.py())));
        made.map_or_else(|error| error, PyErr::from_value)
    }

    /// Does what the engine decided. No lock is held here, and the thread is attached.
    pub(crate) fn perform(slf: &Bound<'_, Self>, inner: &Inner, mut todo: Todo) {
        let py = slf.py();
        if crate::EXITED.load(Relaxed) {
            return;
        }
        while !todo.is_empty() {
            let mut next = Todo::default();
            for wake in todo.wakes.drain(..) {
                Self::deliver(slf, inner, wake, &mut next);
            }
            if todo.retimed {
                Self::tell(slf, slf.call_method0(intern!(py, "_poke")));
            }
            for (claim, state) in todo.overdue.drain(..) {
                let details = (job::kind_of(state), claim.slot);
                Self::tell(slf, slf.call_method1(intern!(py, "_overdue"), details));
            }
            for alarm in todo.alarms.drain(..) {
                Self::tell(slf, slf.call_method1(intern!(py, "_alarm"), (alarm.number(),)));
            }
            for job in todo.jobs.drain(..) {
                Job::start(slf, inner, job);
            }
            for claim in todo.leaks.drain(..) {
                let leak = snapshot::leak(py, inner, claim);
                Self::tell(slf, slf.call_method1(intern!(py, "_leaked"), leak));
            }
            todo = next;
        }
    }

    fn deliver(slf: &Bound<'_, Self>, inner: &Inner, wake: Wake<Waiter>, next: &mut Todo) {
        let (waiter, news, grant) = match wake {
            Wake::Granted(waiter, claim) => (waiter, News::Granted(claim), Some(claim)),
            Wake::Closed(waiter) => (waiter, News::Closed, None),
            Wake::Nudge(mailbox) => return nudge(&mailbox),
        };
        let Err(undelivered) = waiter.tell(slf.py(), news) else { return };
        if let Some(claim) = grant {
            inner.core.give_up(claim, inner.clock.now(), next);
        }
        if let Undelivered::Raised(error) = undelivered {
            error.write_unraisable(slf.py(), Some(slf));
        }
    }

    fn tell<T>(slf: &Bound<'_, Self>, told: PyResult<T>) {
        if let Err(error) = told {
            error.write_unraisable(slf.py(), Some(slf));
        }
    }

    /// Runs `decide` on the engine and does what it decided.
    pub(crate) fn with_core<R>(
        slf: &Bound<'_, Self>,
        decide: impl FnOnce(&Inner, u64, &mut Todo) -> R,
    ) -> PyResult<R> {
        let inner = slf.get().started()?;
        let mut todo = Todo::default();
        let result = decide(inner, inner.clock.now(), &mut todo);
        Self::perform(slf, inner, todo);
        Ok(result)
    }
}

/// What an error message is given beside its kind.
pub(crate) trait Detail {
    fn object(self, py: Python<'_>) -> Py<PyAny>;
}

impl Detail for f64 {
    fn object(self, py: Python<'_>) -> Py<PyAny> {
        pyo3::types::PyFloat::new(py, self).into_any().unbind()
    }
}

impl Detail for (f64, u64) {
    fn object(self, py: Python<'_>) -> Py<PyAny> {
        let (seconds, count) = self;
        let parts = (pyo3::types::PyFloat::new(py, seconds), count);
        parts.into_pyobject(py).map_or_else(|_| py.None(), |tuple| tuple.into_any().unbind())
    }
}

impl Detail for () {
    fn object(self, py: Python<'_>) -> Py<PyAny> {
        py.None()
    }
}

impl Detail for &Bound<'_, PyAny> {
    fn object(self, _: Python<'_>) -> Py<PyAny> {
        self.clone().unbind()
    }
}

// The doc comments here are Python's: the first lines of the docstrings in `_core.pyi`.
#[pymethods]
impl CorePool {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { inner: AtomicPtr::default(), main_thread: AtomicU64::new(0) }
    }

    fn _start(&self, options: Options<'_>, main_thread: u64) -> PyResult<()> {
        let inner = Box::into_raw(Inner::new(Settings::new(options)?, None));
        self.main_thread.store(main_thread, Relaxed);
        // Release: pairs with the load in `inner`.
        let before = self.inner.compare_exchange(std::ptr::null_mut(), inner, AcqRel, Relaxed);
        if before.is_err() {
            // SAFETY: made by `into_raw` above and seen by nobody.
            drop(unsafe { Box::from_raw(inner) });
            return Err(PyRuntimeError::new_err("the pool is started already"));
        }
        Ok(())
    }

    /// In the child of a fork: begins anew with no connections. The old inside stays as it is for
    /// ever: dropping a connection would say farewell on the parent's socket, and a mutex may be in
    /// the hands of a thread that does not exist here.
    fn _after_fork(slf: &Bound<'_, Self>, main_thread: u64) {
        let this = slf.get();
        thread::forget();
        this.main_thread.store(main_thread, Relaxed);
        // SAFETY: null or a box, and nothing in this process frees it any more, since the only place
        // that would (`drop`) will find its successor. So it lives as long as the process.
        let old: Option<&'static Inner> = unsafe { this.inner.load(Acquire).as_ref() };
        if let Some(old) = old {
            this.inner.store(Box::into_raw(old.for_child(slf.py())), Release);
        }
    }

    /// Acquire an idle connection, or return ``None`` at once if there is none.
    fn try_acquire(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        Ok(acquire::try_acquire(slf)?.map(|(_, connection)| connection))
    }

    /// Give a connection back that nobody should use again: it is closed.
    #[pyo3(signature = (connection, /))]
    fn discard(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
        release::discard(slf, connection)
    }

    /// Take a connection out of the pool for good: it is the caller's to use and to close.
    #[pyo3(signature = (connection, /))]
    fn detach(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
        release::detach(slf, connection)
    }

    /// Replace all connections: close the idle ones now, the others when they are released.
    fn evict(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::open(slf)?;
        Self::with_core(slf, |inner, now, todo| inner.core.evict(now, todo))
    }

    /// Keep all callers waiting until `resume`, even if connections are idle.
    fn suspend(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::open(slf)?.core.suspend();
        Ok(())
    }

    /// Serve callers again, those first who waited the longest.
    fn resume(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::open(slf)?;
        Self::with_core(slf, |inner, now, todo| inner.core.resume(now, todo))
    }

    fn _resize(slf: &Bound<'_, Self>, min_size: u32, max_size: u32) -> PyResult<()> {
        Self::open(slf)?;
        Self::with_core(slf, |inner, now, todo| inner.core.resize(min_size, max_size, now, todo))
    }

    fn _warm_up(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::with_core(slf, |inner, now, todo| inner.core.warm_up(now, todo))
    }

    /// True when the pool was open before.
    fn _shut(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::with_core(slf, |inner, now, todo| inner.core.shut(now, todo))
    }

    /// Does what is due. Returns the seconds until the next deadline, `None` when there is none.
    fn _advance(slf: &Bound<'_, Self>) -> PyResult<Option<f64>> {
        let next = Self::with_core(slf, |inner, now, todo| {
            let next = inner.core.advance(now, todo)?;
            Some(next.saturating_sub(inner.clock.now()))
        })?;
        Ok(next.map(seconds))
    }

    /// Says how long connections may go without a sign of life, and whether they can be asked for one.
    fn _set_validation(&self, interval: Option<f64>, possible: bool) -> PyResult<()> {
        self.started()?.set_validation(ticks(interval)?, possible);
        Ok(())
    }

    /// Replaces all connections, unless this one is to be replaced already.
    fn _evict_with(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
        let inner = Self::open(slf)?;
        if release::is_retiring(inner, connection) {
            return Ok(());
        }
        Self::with_core(slf, |inner, now, todo| inner.core.evict(now, todo))
    }

    fn _suspect(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
        release::suspect(slf, connection)
    }

    fn _condemn(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
        release::condemn(slf, connection)
    }

    fn _set_alarm(slf: &Bound<'_, Self>, seconds: f64) -> PyResult<Alarm> {
        Alarm::set(slf, seconds)
    }

    fn _cancel_alarm(slf: &Bound<'_, Self>, alarm: &Bound<'_, Alarm>) -> PyResult<()> {
        alarm.get().cancel(slf)
    }

    #[pyo3(signature = (callback, timeout=None, priority=None))]
    fn _register_waiter(
        slf: &Bound<'_, Self>,
        callback: Py<PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        priority: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Ticket> {
        let limit = acquire::limit(slf, slf.get().started()?, timeout)?;
        let priority = acquire::priority(slf, priority)?;
        Ticket::register(slf, callback, Terms { limit, priority })
    }

    /// Claims an idle connection, and does nothing else if there is none.
    fn _try_claim(slf: &Bound<'_, Self>, holder: u64) -> PyResult<Option<Py<PyAny>>> {
        let inner = slf.get().started()?;
        let way = Way { since: Instant::now(), queued: false };
        while let Some(claim) = inner.try_claim_for(Some(holder)) {
            if let Some((_, connection)) = acquire::hand_out(slf, inner, claim, way)? {
                return Ok(Some(connection));
            }
        }
        Ok(None)
    }

    /// Says what tells that a release has nothing to await; `None` if it always has.
    fn _set_clean(&self, py: Python<'_>, is_clean: Option<Py<PyAny>>) -> PyResult<()> {
        self.started()?.is_clean.set(py, is_clean);
        Ok(())
    }

    fn _begin_reset(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<Option<Job>> {
        Job::reset(slf, connection)
    }

    /// The place of the connection at this address, if it is in the pool.
    fn _slot_of(&self, identity: u64) -> PyResult<Option<u32>> {
        Ok(self.started()?.core.find(identity, 0))
    }

    /// The places that are not empty, connections that are being opened or closed included.
    fn _taken(&self) -> PyResult<usize> {
        Ok(self.started()?.core.count(|state| state != State::Empty))
    }

    /// Gives the oldest waiter an exception to raise. False when nobody waits.
    fn _fail_oldest(slf: &Bound<'_, Self>, error: Py<PyAny>) -> PyResult<bool> {
        let oldest = Self::with_core(slf, |inner, now, todo| inner.core.dismiss_oldest(now, todo))?;
        let told = oldest.map(|waiter| waiter.tell(slf.py(), News::Failed(error)).is_ok());
        Ok(told.unwrap_or(false))
    }

    /// Sets the events that somebody listens to, of those in heard.rs. Not to be called by two threads at
    /// once.
    fn _hear(&self, events: u8) -> PyResult<()> {
        self.started()?.set_heard(events);
        Ok(())
    }

    /// Calls a listener, marking the thread so that it can't wait for its own pool.
    #[pyo3(signature = (function, /, *args))]
    fn _call(
        slf: &Bound<'_, Self>,
        function: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
    ) -> PyResult<Py<PyAny>> {
        let _guard = thread::InHook::of(slf.get().started()?.id);
        function.call1(args.clone()).map(Bound::unbind)
    }

    /// Counts an acquire that waited for as long as it wanted to.
    fn _count_timeout(&self) -> PyResult<()> {
        self.started()?.core.stats().count_timed_out();
        Ok(())
    }

    fn _snapshot<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        snapshot::snapshot(slf.py(), slf.get().started()?)
    }

    fn _totals<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        snapshot::totals(slf.py(), slf.get().started()?)
    }

    fn _counts(&self) -> PyResult<(usize, usize, u64)> {
        Ok(snapshot::counts(self.started()?))
    }

    /// Whether the pool was closed.
    #[getter]
    fn closed(&self) -> PyResult<bool> {
        Ok(self.started()?.core.is_closed())
    }

    /// Whether callers are kept waiting by `suspend`.
    #[getter]
    fn suspended(&self) -> PyResult<bool> {
        Ok(self.started()?.core.is_suspended())
    }

    /// The connections to keep open, idle or in use.
    #[getter]
    fn min_size(&self) -> PyResult<u32> {
        Ok(self.started()?.core.sizes().0)
    }

    /// The connections to have at the most.
    #[getter]
    fn max_size(&self) -> PyResult<u32> {
        Ok(self.started()?.core.sizes().1)
    }

    // Called by the garbage collector only, with the interpreter's threads stopped.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(inner) = self.inner() else { return Ok(()) };
        let settings = &inner.settings;
        for hook in [&settings.on_acquire, &settings.on_release, &settings.on_exhausted] {
            visit.call(hook)?;
        }
        inner.is_clean.traverse(&visit)?;
        let mut result = Ok(());
        // SAFETY: no thread runs, and all threads change slots only while they are attached.
        unsafe {
            inner.core.visit_values(|connection| {
                if result.is_ok() {
                    result = connection.traverse(&visit);
                }
            });
        }
        result
    }

    // Nobody can reach the pool any more, so nobody can have use for its connections either.
    fn __clear__(&self) {
        let Some(inner) = self.inner() else { return };
        let mut todo = Todo::default();
        inner.core.shut(0, &mut todo);
        inner.core.retire_all_held(&mut todo);
        drop(todo);
    }
}

impl Drop for CorePool {
    fn drop(&mut self) {
        let inner = *self.inner.get_mut();
        if !inner.is_null() {
            // SAFETY: made by `Box::into_raw`, and `&mut self` says that nobody else has the pool.
            drop(unsafe { Box::from_raw(inner) });
        }
    }
}
