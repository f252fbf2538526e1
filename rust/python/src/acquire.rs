//! The slow path of an acquire: hooks, tracing, and waiting in the queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_core::{Claim, Priority, Reason, Refused, Ticks, NEVER};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};

use crate::clock::seconds;
use crate::heard::{self, Way};
use crate::inner::{Inner, Site};
use crate::pool::{CorePool, Todo};
use crate::release::discard_claim;
use crate::thread;
use crate::wait::{park, Mailbox, News, Waiter};

/// A claim, and the connection that it is for.
pub(crate) type Acquired = (Claim, Py<PyAny>);

/// What a caller gets.
pub(crate) enum Lent {
    /// A connection of the pool.
    Connection(Claim, Py<PyAny>),
    /// What `on_exhausted` came up with instead.
    StandIn(Py<PyAny>),
}

impl Lent {
    fn connection((claim, object): Acquired) -> Self {
        Self::Connection(claim, object)
    }
}

/// How long one caller is ready to wait; `None` for as long as it takes.
pub(crate) type Limit = Option<Duration>;

/// What one caller asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) limit: Limit,
    pub(crate) priority: Priority,
}

/// Acquires a connection. What stands in for one is noted, to be recognised when it is released.
pub(crate) fn acquire(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    terms: Terms,
) -> PyResult<Py<PyAny>> {
    match acquire_within(slf, inner, terms)? {
        Lent::Connection(_, object) => Ok(object),
        Lent::StandIn(object) => {
            inner.stand_ins.lock().push(object.clone_ref(slf.py()));
            Ok(object)
        }
    }
}

/// Acquires a connection on these terms.
pub(crate) fn acquire_within(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    terms: Terms,
) -> PyResult<Lent> {
    let since = Instant::now();
    let mut turn = Turn::New;
    if let Some(claim) = inner.try_claim() {
        match hand_out(slf, inner, claim, Way { since, queued: false })? {
            Some(acquired) => return Ok(Lent::connection(acquired)),
            None => turn = Turn::Again,
        }
    }
    loop {
        let wait = match Wait::join(slf, inner, terms, turn, since)? {
            Ok(wait) => wait,
            Err(Refused::Closed) => return Err(refusal(slf, inner, Refused::Closed)),
            Err(refused) => return exhausted(slf, inner, refusal(slf, inner, refused)),
        };
        let Some(claim) = wait.until(terms.limit)? else {
            let waited = (since.elapsed().as_secs_f64(), wait.overtaken());
            return exhausted(slf, inner, CorePool::failure(slf, "timeout", waited));
        };
        if let Some(acquired) = hand_out(slf, inner, claim, Way { since, queued: true })? {
            return Ok(Lent::connection(acquired));
        }
        turn = Turn::Again;
    }
}

/// Acquires an idle connection, or has one opened for the next attempt.
pub(crate) fn try_acquire(slf: &Bound<'_, CorePool>) -> PyResult<Option<Acquired>> {
    let inner = slf.get().started()?;
    let since = Instant::now();
    let way = Way { since, queued: false };
    if let Some(claim) = inner.try_claim() {
        return hand_out(slf, inner, claim, way);
    }
    let at_once = Some(Duration::ZERO);
    // Joining and leaving the queue at once, so that a connection is opened for the next attempt.
    let terms = Terms { limit: at_once, priority: Priority::Normal };
    match Wait::join(slf, inner, terms, Turn::New, since)? {
        Ok(wait) => match wait.until(at_once)? {
            Some(claim) => hand_out(slf, inner, claim, way),
            None => Ok(None),
        },
        Err(Refused::Full | Refused::Down | Refused::Hopeless(_)) => Ok(None),
        Err(refused) => Err(refusal(slf, inner, refused)),
    }
}

/// Where in the queue a caller belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Behind all others.
    New,
    /// Before them: it was its turn, and the connection that it got was dead.
    Again,
}

/// Does for a new claim what was asked for beyond the engine's work, and gives out the connection; `None`
/// when its driver says that it is dead, and it was closed.
#[inline]
pub(crate) fn hand_out(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    claim: Claim,
    way: Way,
) -> PyResult<Option<Acquired>> {
    let object = connection(slf.py(), inner, claim)?;
    if heard::is_silent(inner, way) {
        return Ok(Some((claim, object)));
    }
    hand_out_with_care(slf, inner, claim, object, way)
}

/// The rest of `hand_out`, for a pool that is not plain.
#[inline(never)]
fn hand_out_with_care(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    claim: Claim,
    object: Py<PyAny>,
    way: Way,
) -> PyResult<Option<Acquired>> {
    if !is_alive(slf, inner, claim, &object) {
        discard_claim(slf, inner, claim, Reason::Dead);
        return Ok(None);
    }
    let done = note_site(slf, inner, claim)
        .and_then(|()| on_acquire(slf, inner, &object))
        .and_then(|()| heard::acquired(slf, inner, claim, way));
    if let Err(error) = done {
        discard_claim(slf, inner, claim, Reason::Discarded);
        return Err(error);
    }
    Ok(Some((claim, object)))
}

/// The driver's object of a claim.
pub(crate) fn connection(py: Python<'_>, inner: &Inner, claim: Claim) -> PyResult<Py<PyAny>> {
    // SAFETY: the claim is the caller's, and nothing runs before the reference is cloned.
    let connection = unsafe { inner.core.value(claim) };
    connection
        .map(|connection| connection.object.clone_ref(py))
        .ok_or_else(|| PyRuntimeError::new_err("a claimed slot has no connection"))
}

/// Asks the driver, where that is how one learns it. Only a clear no counts: a driver that raises could
/// not say.
fn is_alive(slf: &Bound<'_, CorePool>, inner: &Inner, claim: Claim, object: &Py<PyAny>) -> bool {
    let py = slf.py();
    // SAFETY: the claim is the caller's, and nothing runs before the reference is cloned.
    let connection = unsafe { inner.core.value(claim) };
    let Some(question) = connection.and_then(|connection| connection.question(py)) else {
        return true;
    };
    match question.call1(py, (object,)) {
        Ok(answer) => !answer.is(PyBool::new(py, false)),
        Err(error) => {
            error.write_unraisable(py, Some(slf));
            true
        }
    }
}

fn note_site(slf: &Bound<'_, CorePool>, inner: &Inner, claim: Claim) -> PyResult<()> {
    if !inner.settings.traced {
        return Ok(());
    }
    let place = slf.call_method0(intern!(slf.py(), "_site"))?.unbind();
    let site = Site { generation: claim.generation, place };
    let before = inner.sites.lock().insert(claim.slot, site);
    // After the lock, since it may run anything.
    drop(before);
    Ok(())
}

fn on_acquire(slf: &Bound<'_, CorePool>, inner: &Inner, object: &Py<PyAny>) -> PyResult<()> {
    let Some(hook) = &inner.settings.on_acquire else { return Ok(()) };
    let _guard = thread::InHook::of(inner.id);
    hook.call1(slf.py(), (object,)).map(drop)
}

/// How long a caller is ready to wait, in ticks.
pub(crate) fn patience(limit: Limit) -> Ticks {
    limit.and_then(|limit| Ticks::try_from(limit.as_millis()).ok()).unwrap_or(NEVER)
}

/// Reads what the caller gave as `timeout`.
pub(crate) fn limit(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<Limit> {
    let Some(timeout) = timeout.filter(|timeout| !timeout.is_none()) else {
        return Ok(inner.settings.acquire_timeout);
    };
    // `True` is a float for `extract`, and a slip for the caller.
    let seconds = if timeout.is_instance_of::<PyBool>() {
        f64::NAN
    } else {
        timeout.extract::<f64>().unwrap_or(f64::NAN)
    };
    if seconds.is_nan() || seconds < 0.0 {
        return Err(CorePool::failure(slf, "bad_timeout", timeout));
    }
    // More than a duration can hold is for ever, infinity too.
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

/// Reads what the caller gave as `priority`.
pub(crate) fn priority(
    slf: &Bound<'_, CorePool>,
    priority: Option<&Bound<'_, PyAny>>,
) -> PyResult<Priority> {
    let Some(priority) = priority else { return Ok(Priority::Normal) };
    let word = priority.cast::<PyString>().map(ToString::to_string).unwrap_or_default();
    match word.as_str() {
        "normal" => Ok(Priority::Normal),
        "high" => Ok(Priority::High),
        _ => Err(CorePool::failure(slf, "bad_priority", priority)),
    }
}

/// Asks the user what to do when no connection is to be had, if there is somebody to ask.
fn exhausted(slf: &Bound<'_, CorePool>, inner: &Inner, error: PyErr) -> PyResult<Lent> {
    let Some(hook) = &inner.settings.on_exhausted else { return Err(error) };
    hook.call1(slf.py(), (error.into_value(slf.py()),)).map(Lent::StandIn)
}

/// One caller's time in the queue.
struct Wait<'a, 'py> {
    pool: &'a Bound<'py, CorePool>,
    inner: &'a Inner,
    mailbox: Arc<Mailbox>,
    ticket: millpond_core::Ticket,
    since: Instant,
    priority: Priority,
    urgent_before: u64,
}

impl<'a, 'py> Wait<'a, 'py> {
    fn join(
        pool: &'a Bound<'py, CorePool>,
        inner: &'a Inner,
        terms: Terms,
        turn: Turn,
        since: Instant,
    ) -> PyResult<Result<Self, Refused>> {
        if thread::in_hook_of(inner.id) {
            // The hook's own connection may be the one that it would wait for.
            return Err(failed(inner, CorePool::failure(pool, "in_hook", ())));
        }
        let now = inner.clock.now();
        if inner.core.turns_away(patience(terms.limit), now) {
            return Ok(Err(Refused::Down));
        }
        let mailbox = Mailbox::new();
        let mut todo = Todo::default();
        let waiter = Waiter::Thread(Arc::clone(&mailbox));
        let shed_after = inner.settings.patience(terms.limit);
        let urgent_before = inner.core.stats().urgent_served.get();
        let priority = terms.priority;
        let joined = match turn {
            Turn::New => inner.core.join_as(waiter, priority, shed_after, now, &mut todo),
            Turn::Again => inner.core.join_again(waiter, now, &mut todo),
        };
        CorePool::perform(pool, inner, todo);
        let wait = |ticket| Self { pool, inner, mailbox, ticket, since, priority, urgent_before };
        Ok(joined.map(wait))
    }

    /// How many urgent callers were served since this one joined, if it is not one of them.
    fn overtaken(&self) -> u64 {
        match self.priority {
            Priority::Normal => self.inner.core.stats().urgent_served.get() - self.urgent_before,
            Priority::High => 0,
        }
    }

    /// Waits for a connection. `None` when none came in time.
    fn until(&self, limit: Limit) -> PyResult<Option<Claim>> {
        let mut deadline = limit.and_then(|limit| self.since.checked_add(limit));
        let mut signals = self.pool.get().is_main_thread();
        // What ends the wait if no grant came before it: nothing yet, the timeout, or a signal.
        let mut end: Option<PyResult<Option<Claim>>> = None;
        loop {
            match self.mailbox.take() {
                Some(News::Granted(claim)) => return self.granted(claim, end),
                Some(News::Closed) => {
                    return Err(failed(self.inner, CorePool::failure(self.pool, "closed", ())));
                }
                Some(News::Failed(error)) => {
                    let error = PyErr::from_value(error.into_bound(self.pool.py()));
                    return Err(failed(self.inner, error));
                }
                Some(News::Retry) => self.retry(),
                None => {
                    let timed_out = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    if end.is_none() && timed_out {
                        end = Some(Ok(None));
                    }
                    if end.is_some() {
                        if self.leave() {
                            return end.unwrap_or(Ok(None));
                        }
                        // Somebody took us off the queue, and the news is on its way.
                        deadline = None;
                        signals = false;
                    }
                    park(self.pool.py(), deadline, signals);
                    if signals {
                        if let Err(signal) = self.pool.py().check_signals() {
                            end = Some(Err(signal));
                        }
                    }
                }
            }
        }
    }

    /// Takes a grant, which a timeout loses against and a signal does not.
    fn granted(
        &self,
        claim: Claim,
        end: Option<PyResult<Option<Claim>>>,
    ) -> PyResult<Option<Claim>> {
        if let Some(Err(signal)) = end {
            self.give_up(claim);
            return Err(signal);
        }
        if !self.inner.core.accept(claim) {
            self.give_up(claim);
            return Err(failed(self.inner, CorePool::failure(self.pool, "closed", ())));
        }
        note_accepted(self.inner, claim, thread::ident(), self.since.elapsed());
        thread::set_habit(self.inner.id, claim.slot);
        Ok(Some(claim))
    }

    fn retry(&self) {
        let mut todo = Todo::default();
        self.inner.core.retry(self.ticket, self.inner.clock.now(), &mut todo);
        CorePool::perform(self.pool, self.inner, todo);
    }

    fn leave(&self) -> bool {
        let mut todo = Todo::default();
        let left = self.inner.core.leave(self.ticket, self.inner.clock.now(), &mut todo);
        CorePool::perform(self.pool, self.inner, todo);
        left.is_some()
    }

    fn give_up(&self, claim: Claim) {
        let mut todo = Todo::default();
        self.inner.core.give_up(claim, self.inner.clock.now(), &mut todo);
        CorePool::perform(self.pool, self.inner, todo);
    }
}

/// Notes the borrow of a waiter that accepted its grant.
pub(crate) fn note_accepted(inner: &Inner, claim: Claim, holder: u64, waited: Duration) {
    let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
    inner.core.stats().wait_time.record(nanos);
    inner.core.note_held(claim, inner.clock.now());
    inner.core.note_borrow(claim, holder, || inner.clock.nanos());
}

/// Counts an acquire that ends by this error. A timeout is counted where its exception is made, in
/// `Pool._failure`, since those who wait with a ticket know themselves when their time is up.
pub(crate) fn failed(inner: &Inner, error: PyErr) -> PyErr {
    inner.core.stats().count_failed();
    error
}

/// The exception for a caller that may not wait, whose acquire ends by it.
pub(crate) fn refusal(slf: &Bound<'_, CorePool>, inner: &Inner, refused: Refused) -> PyErr {
    let stats = inner.core.stats();
    match refused {
        Refused::Closed => stats.count_failed(),
        Refused::Full | Refused::Hopeless(_) => stats.count_refused(),
        Refused::Down => stats.count_turned_away(),
    }
    match refused {
        Refused::Closed => CorePool::failure(slf, "closed", ()),
        Refused::Full => CorePool::failure(slf, "full", ()),
        Refused::Hopeless(wait) => CorePool::failure(slf, "hopeless", seconds(wait)),
        Refused::Down => CorePool::failure(slf, "down", ()),
    }
}
