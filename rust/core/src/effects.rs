//! What the engine decided and its caller has to do, once no lock is held.

use crate::schedule::Alarm;
use crate::slot::Claim;
use crate::waiter::Waker;
use crate::word::State;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Idle for longer than `idle_timeout`.
    Idle,
    /// Older than `max_lifetime`.
    Lifetime,
    /// Borrowed `max_uses` times.
    Uses,
    /// Its validation failed or took too long.
    Invalid,
    /// Its validation took too long for the user's taste.
    Slow,
    /// Its server hung up.
    Dead,
    /// Its reset failed.
    Reset,
    /// Its holder discarded it.
    Discarded,
    /// Its holder was garbage collected without releasing it.
    Leaked,
    /// The pool was told to evict it.
    Evicted,
    /// The pool became smaller.
    Shrunk,
    /// The pool was closed.
    Closed,
    /// It had to be validated before its next use, and was not.
    Suspect,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Idle,
        Self::Lifetime,
        Self::Uses,
        Self::Invalid,
        Self::Slow,
        Self::Dead,
        Self::Reset,
        Self::Discarded,
        Self::Leaked,
        Self::Evicted,
        Self::Shrunk,
        Self::Closed,
        Self::Suspect,
    ];

    /// Whether other connections of the same time may have the same fate.
    pub(crate) fn is_contagious(self) -> bool {
        matches!(self, Self::Invalid | Self::Dead | Self::Reset | Self::Discarded)
    }

    /// The name under which statistics and logs show the reason.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Uses => "uses",
            Self::Invalid => "invalid",
            Self::Slow => "slow",
            Self::Dead => "dead",
            Self::Reset => "reset",
            Self::Discarded => "discarded",
            Self::Leaked => "leaked",
            Self::Evicted => "evicted",
            Self::Shrunk => "shrunk",
            Self::Closed => "closed",
            Self::Suspect => "suspect",
        }
    }
}

/// A message to one waiter.
#[derive(Debug)]
pub enum Wake<W: Waker> {
    /// The waiter has the slot; it accepts or gives it back.
    Granted(W, Claim),
    /// The pool is closed.
    Closed(W),
    /// The waiter, still in the queue, should try again.
    Nudge(W::Nudge),
}

/// Work that may block, and so belongs to a worker. Each ends with the method of
/// [`crate::Core`] that it names.
#[derive(Debug)]
pub enum Job<T> {
    /// Open a connection; ends with `fill` or `open_failed`.
    Open(Claim),
    /// Validate the connection of the claim; ends with `check_passed` or `check_failed`.
    Check(Claim),
    /// Close this connection; ends with `closed`.
    Close(Claim, Option<T>, Reason),
}

/// Everything that one call decided.
#[must_use = "a waiter sleeps until its wake-up is delivered, and a slot is busy until its job ran"]
#[derive(Debug)]
pub struct Effects<T, W: Waker> {
    /// Waiters to wake, oldest first.
    pub wakes: Vec<Wake<W>>,
    /// Jobs to run.
    pub jobs: Vec<Job<T>>,
    /// Holders that have had their connection for longer than `leak_threshold`.
    pub leaks: Vec<Claim>,
    /// Jobs that missed their deadline and lost their slot, with the state that it was in.
    pub overdue: Vec<(Claim, State)>,
    /// Alarms that went off.
    pub alarms: Vec<Alarm>,
    /// The timer sleeps until a moment that is not the right one any more.
    pub retimed: bool,
}

impl<T, W: Waker> Default for Effects<T, W> {
    fn default() -> Self {
        Self {
            wakes: Vec::new(),
            jobs: Vec::new(),
            leaks: Vec::new(),
            overdue: Vec::new(),
            alarms: Vec::new(),
            retimed: false,
        }
    }
}

impl<T, W: Waker> Effects<T, W> {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wakes.is_empty()
            && self.jobs.is_empty()
            && self.leaks.is_empty()
            && self.overdue.is_empty()
            && self.alarms.is_empty()
            && !self.retimed
    }
}
