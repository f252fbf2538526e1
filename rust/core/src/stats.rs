//! What a pool counts. The fast path counts in its own slot with plain stores; everything here is
//! counted off the fast path, where an atomic addition does not matter.

use std::sync::atomic::Ordering::Relaxed;

use crate::effects::Reason;
use crate::histogram::Histogram;
use crate::sync::Tally;

/// One borrow in this many has its time measured with a precise clock, the first of each connection
/// included.
pub(crate) const SAMPLE_EVERY: u64 = 64;

/// A number that only grows.
#[derive(Debug)]
pub struct Counter(Tally);

impl Counter {
    pub(crate) fn new() -> Self {
        Self(Tally::new(0))
    }

    /// Counts one more, and returns its number: the first is 1.
    pub(crate) fn add_one(&self) -> u64 {
        // Relaxed: a count publishes nothing but itself.
        self.0.fetch_add(1, Relaxed) + 1
    }

    /// The number so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters and histograms of a pool.
#[derive(Debug)]
pub struct Stats {
    /// Acquires that joined the queue.
    pub queued: Counter,
    /// Waiters that gave up: timeouts and cancellations.
    pub gave_up: Counter,
    /// Acquires refused because too many were waiting.
    pub refused: Counter,
    /// Acquires that were told at once that the database is down.
    pub turned_away: Counter,
    /// Acquires that ended by an error, whichever it was.
    pub failed: Counter,
    /// Of these, the ones that waited for as long as they wanted to.
    pub timed_out: Counter,
    /// Urgent waiters that were served.
    pub urgent_served: Counter,
    /// Connections opened.
    pub opened: Counter,
    /// Attempts to open a connection that failed or took too long.
    pub open_failed: Counter,
    /// Validations done, and those that failed.
    pub checks: Counter,
    /// See `checks`.
    pub checks_failed: Counter,
    /// Holders reported as leaks.
    pub leaks: Counter,
    closed: [Counter; Reason::ALL.len()],
    /// Nanoseconds in the queue, of the acquires that joined it and were served.
    pub wait_time: Histogram,
    /// Nanoseconds in a borrower's hands, of one borrow in `SAMPLE_EVERY`.
    pub use_time: Histogram,
    /// Nanoseconds to open a connection.
    pub open_time: Box<Histogram>,
    /// Nanoseconds to validate one.
    pub check_time: Box<Histogram>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            queued: Counter::new(),
            gave_up: Counter::new(),
            refused: Counter::new(),
            turned_away: Counter::new(),
            failed: Counter::new(),
            timed_out: Counter::new(),
            urgent_served: Counter::new(),
            opened: Counter::new(),
            open_failed: Counter::new(),
            checks: Counter::new(),
            checks_failed: Counter::new(),
            leaks: Counter::new(),
            closed: std::array::from_fn(|_| Counter::new()),
            wait_time: Histogram::new(),
            use_time: Histogram::new(),
            // In a box, as loom's threads have small stacks, and an engine is made on one.
            open_time: Box::default(),
            check_time: Box::default(),
        }
    }

    /// Counts an acquire that its caller is told an error of. Who calls knows: the engine does not see
    /// every end of a wait, and `try_acquire` ends without an error.
    pub fn count_failed(&self) {
        self.failed.add_one();
    }

    /// As `count_failed`, for one that waited for as long as it wanted to.
    pub fn count_timed_out(&self) {
        self.timed_out.add_one();
        self.failed.add_one();
    }

    /// As `count_failed`, for one that was refused since too many wait, or would wait for too long.
    pub fn count_refused(&self) {
        self.refused.add_one();
        self.failed.add_one();
    }

    /// As `count_failed`, for one that was told that the database is down.
    pub fn count_turned_away(&self) {
        self.turned_away.add_one();
        self.failed.add_one();
    }

    pub(crate) fn count_closed(&self, reason: Reason) {
        self.closed[reason as usize].add_one();
    }

    /// Connections closed for `reason`.
    #[must_use]
    pub fn closed(&self, reason: Reason) -> u64 {
        self.closed[reason as usize].get()
    }
}
