//! A counting semaphore that is fair: what bounds the pools of `millpond.dbutils`.
//!
//! ```text
//! bits  0..24   permits in use
//! bits 24..44   callers in the queue
//! bits 44..64   watchers
//! ```
//!
//! One word says everything that a caller has to know at once. While nobody waits and nobody watches, an
//! acquire is one CAS and a release is one CAS. Otherwise a release takes the mutex and hands its permit
//! to the oldest waiter, and no newcomer gets in between: `try_acquire` refuses as long as somebody waits.
//!
//! A *watcher* is somebody who waits by other means (a condition variable of the user's) and has to be
//! told of each release. Since it is counted in the same word, there is one order of events: a release
//! sees the watcher, or the watcher sees the release.
//!
//! Nothing here calls back. Whoever is served is handed out, to be woken with no lock held.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::stats::Counter;
use crate::sync::{AtomicU64, Mutex};
use crate::waiter::{Priority, Ticket, WaitQueue, Waker};

const ONE: u64 = 1;
const IN_USE_BITS: u32 = 24;
const IN_USE: u64 = (1 << IN_USE_BITS) - 1;
const WAITER: u64 = 1 << IN_USE_BITS;
const WATCHER: u64 = 1 << 44;

/// The highest limit, and the highest number of permits in use.
pub const MAX_PERMITS: u64 = IN_USE;

/// See the head of this file.
#[derive(Debug)]
pub struct Permits<W> {
    word: AtomicU64,
    /// Changed under the mutex only.
    limit: AtomicU64,
    queue: Mutex<WaitQueue<W>>,
    /// Permits given out.
    pub acquired: Counter,
    /// Callers that joined the queue.
    pub queued: Counter,
    /// Callers that left the queue without a permit.
    pub gave_up: Counter,
    /// Callers that were not allowed to wait.
    pub refused: Counter,
}

/// What is left to do after a change: whom to wake, and whether to tell the watchers.
#[derive(Debug)]
#[must_use = "the waiters in it have a permit, and nobody else wakes them"]
pub struct Served<W> {
    /// They have a permit each, oldest first.
    pub waiters: Vec<W>,
    /// Whether somebody watches.
    pub watched: bool,
}

impl<W: Waker> Permits<W> {
    /// Permits up to a limit; `None` and limits above [`MAX_PERMITS`] stand for that.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Self {
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU64::new(bounded(limit)),
            queue: Mutex::new(WaitQueue::new()),
            acquired: Counter::new(),
            queued: Counter::new(),
            gave_up: Counter::new(),
            refused: Counter::new(),
        }
    }

    /// Takes a permit, if there is one and nobody waits for it.
    #[inline]
    pub fn try_acquire(&self) -> bool {
        // Relaxed: a limit that is being changed may be taken for the old one or the new one.
        let limit = self.limit.load(Relaxed);
        let mut word = self.word.load(Relaxed);
        while waiters_in(word) == 0 && in_use_in(word) < limit {
            // Acquire: pairs with the Release of whoever gave a permit back, so that what it put aside
            // before is seen.
            match self.word.compare_exchange_weak(word, word + ONE, Acquire, Relaxed) {
                Ok(_) => {
                    self.acquired.add_one();
                    return true;
                }
                Err(now) => word = now,
            }
        }
        false
    }

    /// Gives a permit back, if nobody waits or watches. False when nothing was done.
    #[inline]
    pub fn try_release(&self) -> bool {
        let mut word = self.word.load(Relaxed);
        while word <= IN_USE {
            // Release: pairs with the Acquire of the next one to take a permit.
            match self.word.compare_exchange_weak(word, one_less(word), Release, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Gives a permit back. When all are back already, nothing changes.
    pub fn release(&self) -> Served<W> {
        // The mutex is taken before the permit is free: whoever else serves looks at the word after
        // this, or has let go of the mutex before this and sees to its own.
        self.serve_after(|| self.change(one_less))
    }

    /// Joins the queue; the caller itself may be served at once.
    pub fn join(&self, waker: W) -> (Ticket, Served<W>) {
        let mut queue = self.queue.lock();
        self.queued.add_one();
        // Relaxed: all accesses to one word have one order, and nothing else is handed over by this.
        // From here on a release takes the mutex, or its permit is in sight of `serve`.
        self.word.fetch_add(WAITER, Relaxed);
        let ticket = queue.push(waker, Priority::Normal, 0);
        let served = self.serve(&mut queue);
        (ticket, served)
    }

    /// Leaves the queue. `None` when the caller was served before, and has a permit to give back.
    pub fn leave(&self, ticket: Ticket) -> Option<W> {
        let mut queue = self.queue.lock();
        let waker = queue.remove(ticket, 0)?;
        self.gave_up.add_one();
        // Relaxed: see `join`. Nobody can be served by this: it frees no permit.
        self.word.fetch_sub(WAITER, Relaxed);
        Some(waker)
    }

    /// Counts a caller that may not wait.
    pub fn refuse(&self) {
        self.refused.add_one();
    }

    /// Changes the limit; a higher one serves waiters, a lower one takes no permit away.
    pub fn set_limit(&self, limit: Option<u64>) -> Served<W> {
        // Relaxed: the mutex orders it for everybody but `try_acquire`, which says why it does not mind.
        self.serve_after(|| self.limit.store(bounded(limit), Relaxed))
    }

    /// Says how many permits are in use, up to [`MAX_PERMITS`], whatever they were before.
    pub fn set_in_use(&self, in_use: u64) -> Served<W> {
        self.serve_after(|| self.change(|word| (word & !IN_USE) | in_use.min(IN_USE)))
    }

    /// Takes a permit, whatever the limit says.
    pub fn force(&self) {
        self.change(|word| if in_use_in(word) < IN_USE { word + ONE } else { word });
    }

    /// From now on each release says that somebody watches.
    pub fn watch(&self) {
        // Relaxed: as in `join`, the one order of the word's accesses is all that it takes.
        self.word.fetch_add(WATCHER, Relaxed);
    }

    /// Ends one `watch`.
    pub fn unwatch(&self) {
        // Relaxed: as in `watch`.
        self.word.fetch_sub(WATCHER, Relaxed);
    }

    /// Whether somebody watches.
    pub fn is_watched(&self) -> bool {
        // Relaxed: whoever asks did what the watchers wait for under a lock that they hold, too.
        self.word.load(Relaxed) >= WATCHER
    }

    /// The number of permits in use.
    pub fn in_use(&self) -> u64 {
        // Acquire: who sees a permit given back sees what was put aside before.
        in_use_in(self.word.load(Acquire))
    }

    /// The number of callers in the queue.
    pub fn waiting(&self) -> u64 {
        waiters_in(self.word.load(Relaxed))
    }

    fn serve_after(&self, change: impl FnOnce()) -> Served<W> {
        let mut queue = self.queue.lock();
        change();
        self.serve(&mut queue)
    }

    /// Hands out permits to the oldest waiters as long as there are both.
    fn serve(&self, queue: &mut WaitQueue<W>) -> Served<W> {
        let limit = self.limit.load(Relaxed);
        let mut waiters = Vec::new();
        let mut word = self.word.load(Relaxed);
        while waiters_in(word) != 0 && in_use_in(word) < limit {
            // Acquire: as in `try_acquire`, on behalf of the waiter.
            match self.word.compare_exchange_weak(word, word + ONE - WAITER, Acquire, Relaxed) {
                Ok(_) => {
                    self.acquired.add_one();
                    match queue.pop(0) {
                        Some((waiter, _)) => waiters.push(waiter),
                        None => unreachable!("the word counts those who are in the queue"),
                    }
                    word = self.word.load(Relaxed);
                }
                Err(now) => word = now,
            }
        }
        Served { waiters, watched: word >= WATCHER }
    }

    fn change(&self, next: impl Fn(u64) -> u64) {
        let mut word = self.word.load(Relaxed);
        // AcqRel: the change may stand for a release as well as for an acquire.
        while let Err(now) = self.word.compare_exchange_weak(word, next(word), AcqRel, Relaxed) {
            word = now;
        }
    }
}

fn bounded(limit: Option<u64>) -> u64 {
    limit.map_or(MAX_PERMITS, |limit| limit.min(MAX_PERMITS))
}

#[inline]
fn in_use_in(word: u64) -> u64 {
    word & IN_USE
}

#[inline]
fn waiters_in(word: u64) -> u64 {
    word % WATCHER / WAITER
}

#[inline]
fn one_less(word: u64) -> u64 {
    if in_use_in(word) == 0 {
        word
    } else {
        word - ONE
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
