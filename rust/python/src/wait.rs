//! How a caller waits: its thread parks with the interpreter detached, or a callback is called.

use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use millpond_core::{Claim, Waker};
use parking_lot::Mutex;
use pyo3::prelude::*;

/// How often the main thread looks for signals while it waits. `park` swallows the interruption, so
/// Ctrl-C takes effect at the next look.
const SIGNAL_SLICE: Duration = Duration::from_millis(50);

/// The news for a waiter.
#[derive(Debug)]
pub(crate) enum News {
    /// It has a connection, to accept or give up.
    Granted(Claim),
    /// The pool was closed.
    Closed,
    /// The connection that it waited for could not be opened.
    Failed(Py<PyAny>),
    /// It should try again.
    Retry,
}

/// Where news for one waiter is left.
#[derive(Debug)]
pub(crate) struct Mailbox {
    place: Mutex<Place>,
    thread: Thread,
}

#[derive(Debug)]
enum Place {
    Open(Option<News>),
    /// The waiter is gone; news goes back to its sender.
    Shut,
}

impl Mailbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { place: Mutex::new(Place::Open(None)), thread: thread::current() })
    }

    pub(crate) fn take(&self) -> Option<News> {
        match &mut *self.place.lock() {
            Place::Open(news) => news.take(),
            Place::Shut => None,
        }
    }

    /// Takes no more news; the last that came is returned.
    pub(crate) fn shut(&self) -> Option<News> {
        match std::mem::replace(&mut *self.place.lock(), Place::Shut) {
            Place::Open(news) => news,
            Place::Shut => None,
        }
    }

    /// Leaves news, or gives it back when the waiter is gone.
    fn leave(&self, news: News) -> Result<(), News> {
        match &mut *self.place.lock() {
            Place::Shut => return Err(news),
            // A nudge overwrites nothing. What a grant overwrites is at most a nudge.
            Place::Open(Some(_)) if matches!(news, News::Retry) => {}
            Place::Open(place) => *place = Some(news),
        }
        self.thread.unpark();
        Ok(())
    }
}

/// Parks the thread until there may be news in its mailbox, the deadline has come, or it is time to
/// look for signals.
pub(crate) fn park(py: Python<'_>, deadline: Option<Instant>, signals: bool) {
    let remaining = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let slice = match (remaining, signals) {
        (Some(remaining), true) => Some(remaining.min(SIGNAL_SLICE)),
        (None, true) => Some(SIGNAL_SLICE),
        (remaining, false) => remaining,
    };
    py.detach(|| match slice {
        Some(slice) => thread::park_timeout(slice),
        None => thread::park(),
    });
}

/// A caller in the queue.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A thread that parks.
    Thread(Arc<Mailbox>),
    /// Something else, which is told by a call without arguments to look into its mailbox.
    Callback(Arc<Mailbox>, Py<PyAny>),
}

/// Why news did not arrive.
pub(crate) enum Undelivered {
    /// The waiter had gone.
    Gone,
    /// The callback raised.
    Raised(PyErr),
}

impl Waiter {
    /// Leaves news. On error nobody will ever take it, and a grant has to be given up.
    pub(crate) fn tell(self, py: Python<'_>, news: News) -> Result<(), Undelivered> {
        match self {
            Self::Thread(mailbox) => mailbox.leave(news).map_err(|_| Undelivered::Gone),
            Self::Callback(mailbox, callback) => {
                mailbox.leave(news).map_err(|_| Undelivered::Gone)?;
                let Err(error) = callback.call0(py) else { return Ok(()) };
                // Unless the callback took the news before it raised.
                match mailbox.shut() {
                    Some(_) => Err(Undelivered::Raised(error)),
                    None => {
                        error.write_unraisable(py, None);
                        Ok(())
                    }
                }
            }
        }
    }
}

impl Waker for Waiter {
    type Nudge = Arc<Mailbox>;

    fn nudge(&self) -> Option<Self::Nudge> {
        match self {
            Self::Thread(mailbox) => Some(Arc::clone(mailbox)),
            // A callback runs some time later in some loop: it is served directly.
            Self::Callback(..) => None,
        }
    }
}

/// Delivers a nudge.
pub(crate) fn nudge(mailbox: &Mailbox) {
    // A waiter that is gone needs none: leaving the queue, it passed the nudge on.
    drop(mailbox.leave(News::Retry));
}
