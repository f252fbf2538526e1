//! A place in the queue for a caller that does not block a thread: asyncio, gevent.

use std::sync::Arc;
use std::time::Instant;

use millpond_core::{Claim, Refused};
use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::acquire::{self, Terms};
use crate::heard::Way;
use crate::inner::Inner;
use crate::pool::{CorePool, Todo};
use crate::raw::finalize;
use crate::thread;
use crate::wait::{Mailbox, News, Waiter};

/// The place in the queue of a caller that does not block its thread.
///
/// When its callback was called, `claim` has the connection; `cancel`, or dropping the ticket, gives
/// the place or the connection back.
#[pyclass(frozen, module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct Ticket {
    pool: Py<CorePool>,
    inside: u32,
    mailbox: Arc<Mailbox>,
    callback: Py<PyAny>,
    /// Another one when what it was granted turned out to be dead.
    place: Mutex<millpond_core::Ticket>,
    since: Instant,
    urgent_before: u64,
}

impl Ticket {
    /// Queues a caller on its terms. Its timeout is its own to watch.
    pub(crate) fn register(
        pool: &Bound<'_, CorePool>,
        callback: Py<PyAny>,
        terms: Terms,
    ) -> PyResult<Self> {
        let inner = pool.get().started()?;
        let since = Instant::now();
        let mailbox = Mailbox::new();
        let mut todo = Todo::default();
        let now = inner.clock.now();
        if inner.core.turns_away(acquire::patience(terms.limit), now) {
            return Err(acquire::refusal(pool, inner, Refused::Down));
        }
        let waiter = Waiter::Callback(Arc::clone(&mailbox), callback.clone_ref(pool.py()));
        let urgent_before = inner.core.stats().urgent_served.get();
        let shed_after = inner.settings.patience(terms.limit);
        let joined = inner.core.join_as(waiter, terms.priority, shed_after, now, &mut todo);
        let joined = joined.map(|place| Self {
            pool: pool.clone().unbind(),
            inside: inner.id,
            mailbox,
            callback,
            place: Mutex::new(place),
            since,
            urgent_before,
        });
        // With the ticket made: should the callback run right now, its grant has an owner.
        CorePool::perform(pool, inner, todo);
        joined.map_err(|refused| acquire::refusal(pool, inner, refused))
    }

    /// Queues before all others, for a caller whose turn it was.
    pub(crate) fn queue_again(&self, pool: &Bound<'_, CorePool>, inner: &Inner) -> PyResult<()> {
        let mut todo = Todo::default();
        let callback = self.callback.clone_ref(pool.py());
        let waiter = Waiter::Callback(Arc::clone(&self.mailbox), callback);
        let joined = inner.core.join_again(waiter, inner.clock.now(), &mut todo);
        let joined = joined.map(|place| *self.place.lock() = place);
        CorePool::perform(pool, inner, todo);
        joined.map_err(|refused| acquire::refusal(pool, inner, refused))
    }

    /// Takes what was granted for a holder. `None` while the caller has to wait on.
    pub(crate) fn accept(&self, py: Python<'_>, holder: u64) -> PyResult<Option<Claim>> {
        let pool = self.pool.bind(py);
        let inner = pool.get().started()?;
        match self.mailbox.take() {
            None | Some(News::Retry) => Ok(None),
            Some(News::Closed) => {
                Err(acquire::failed(inner, CorePool::failure(pool, "closed", ())))
            }
            Some(News::Failed(error)) => {
                Err(acquire::failed(inner, PyErr::from_value(error.into_bound(py))))
            }
            Some(News::Granted(claim)) if inner.core.accept(claim) => {
                acquire::note_accepted(inner, claim, holder, self.since.elapsed());
                Ok(Some(claim))
            }
            Some(News::Granted(claim)) => {
                CorePool::with_core(pool, |inner, now, todo| inner.core.give_up(claim, now, todo))?;
                Err(acquire::failed(inner, CorePool::failure(pool, "closed", ())))
            }
        }
    }

    /// How who claims its connection came by it.
    pub(crate) fn way(&self) -> Way {
        Way { since: self.since, queued: true }
    }

    fn give_back(&self, py: Python<'_>) -> PyResult<()> {
        let pool = self.pool.bind(py);
        let inner = pool.get().started()?;
        if inner.id != self.inside {
            return Ok(());
        }
        let mut todo = Todo::default();
        let now = inner.clock.now();
        match self.mailbox.shut() {
            Some(News::Granted(claim)) => inner.core.give_up(claim, now, &mut todo),
            // Taken off the queue or not, news that is still on its way finds the mailbox shut.
            _ => drop(inner.core.leave(*self.place.lock(), now, &mut todo)),
        }
        CorePool::perform(pool, inner, todo);
        Ok(())
    }
}

#[pymethods]
impl Ticket {
    /// Return the connection, or ``None`` while the caller has to wait on.
    #[pyo3(signature = (holder=None))]
    fn claim(&self, py: Python<'_>, holder: Option<u64>) -> PyResult<Option<Py<PyAny>>> {
        let holder = holder.unwrap_or_else(thread::ident);
        let Some(claim) = self.accept(py, holder)? else { return Ok(None) };
        let pool = self.pool.bind(py);
        let inner = pool.get().started()?;
        match acquire::hand_out(pool, inner, claim, self.way())? {
            Some((_, connection)) => Ok(Some(connection)),
            None => self.queue_again(pool, inner).map(|()| None),
        }
    }

    /// How many urgent callers were served since this one joined.
    #[getter]
    fn overtaken(&self, py: Python<'_>) -> PyResult<u64> {
        let inner = self.pool.bind(py).get().started()?;
        Ok(inner.core.stats().urgent_served.get().saturating_sub(self.urgent_before))
    }

    /// Give the place in the queue back, or the connection that was granted and not claimed.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        self.give_back(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)?;
        visit.call(&self.callback)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        finalize(|py| {
            if let Err(error) = self.give_back(py) {
                error.write_unraisable(py, None);
            }
        });
    }
}
