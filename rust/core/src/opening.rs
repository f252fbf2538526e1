//! How many connections may be opened at once, and what a pool knows of a database out of reach.
//!
//! As long as connecting works, `max_connecting`. After a failure none for a while, then one at a time as
//! a probe, until one succeeds. Since a probe may hang, the next one follows after as long as the pause
//! was.
//!
//! When nothing is open and nothing could be opened for `fail_fast_after`, the database is down, and who
//! asks now is told at once. That is known only as long as somebody keeps trying, so who is told orders a
//! probe; when nobody asked since the last one, nothing is known any more.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::core::{gate, Core};
use crate::effects::{Effects, Job};
use crate::limits::{Ticks, NEVER};
use crate::slot::Claim;
use crate::sync::{AtomicU32, Tally};
use crate::vital::Vital;
use crate::waiter::Waker;
use crate::word::State;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Opening {
    /// How many may be connecting now; 0 during a pause.
    limit: AtomicU32,
    /// How long the last pause was, and so the distance between probes.
    step: Tally,
    /// Tick of the first failure since the last success; `NEVER` when there was none, or when nobody has
    /// tried for a while.
    failing_since: Tally,
    /// Whether a caller was turned away since the last probe: 0 or 1.
    wanted: Tally,
}

impl Opening {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: AtomicU32::new(limit),
            step: Tally::new(0),
            failing_since: Tally::new(NEVER),
            wanted: Tally::new(0),
        }
    }
}

impl<T: Vital, W: Waker> Core<T, W> {
    /// Whether a caller who would wait for `patience` is told at once that the database is down. Who
    /// would wait for longer than that has lasted may still see its end, and waits.
    pub fn turns_away(&self, patience: Ticks, now: Ticks) -> bool {
        let least = self.limits.fail_fast_after.max(patience);
        if !self.is_down_for(least, now) {
            return false;
        }
        self.opening.wanted.store(1, Relaxed);
        true
    }

    /// Since when no connection could be opened, if attempts fail.
    pub fn failing_since(&self) -> Option<Ticks> {
        Some(self.opening.failing_since.load(Relaxed)).filter(|since| *since != NEVER)
    }

    fn is_down_for(&self, least: Ticks, now: Ticks) -> bool {
        let since = self.failing_since();
        let long = since.is_some_and(|since| least != NEVER && now.saturating_sub(since) >= least);
        let open = |state| !matches!(state, State::Empty | State::Connecting | State::Closing);
        long && self.count(open) == 0
    }

    /// Whether one more may be opened now, for `reserve`, under the queue's mutex.
    pub(crate) fn may_open(&self) -> bool {
        // SeqCst: pairs with the stores below; who sees the limit of before opens one too many or waits
        // for the dispatch that follows each store.
        let limit = self.opening.limit.load(SeqCst);
        limit > 0 && (limit == u32::MAX || self.connecting() < limit as usize)
    }

    /// Notes that an attempt begins: as long as there are only probes, it is time for another one later.
    pub(crate) fn note_attempt(&self, now: Ticks, effects: &mut Effects<T, W>) {
        if self.opening.limit.load(Relaxed) < self.limits.max_connecting {
            let next = now.saturating_add(self.opening.step.load(Relaxed).max(1));
            effects.retimed |= self.schedule.lock().arm_reopen(next);
        }
    }

    /// Connecting works, or nobody tries any more.
    pub(crate) fn forget_failures(&self) {
        // Relaxed: who is told too late that the database is back has not lost what it did not have.
        self.note_answer();
        self.opening.limit.store(self.limits.max_connecting, SeqCst);
    }

    /// Connecting does not work, and waiting would not help: but the server is not down.
    pub(crate) fn note_answer(&self) {
        self.opening.failing_since.store(NEVER, Relaxed);
    }

    /// Connecting does not work: pauses until `retry_at`.
    pub(crate) fn pause(&self, retry_at: Ticks, now: Ticks) {
        let opening = &self.opening;
        opening.step.store(retry_at.saturating_sub(now), Relaxed);
        let _ = opening.failing_since.compare_exchange(NEVER, now, Relaxed, Relaxed);
        opening.limit.store(0, SeqCst);
    }

    /// The end of a pause, or of a probe's patience.
    pub(crate) fn reopen(&self, now: Ticks, effects: &mut Effects<T, W>) {
        let mut queue = self.queue.lock();
        let limit = u32::try_from(self.connecting() + 1).unwrap_or(u32::MAX);
        self.opening.limit.store(limit.min(self.limits.max_connecting), SeqCst);
        self.serve(&mut queue, now, effects);
        self.refill(now, effects);
        if self.connecting() > 0 {
            return;
        }
        let wanted = self.opening.wanted.swap(0, Relaxed) != 0;
        match self.probe(wanted, now, effects) {
            Some(claim) => effects.jobs.push(Job::Open(claim)),
            None => self.forget_failures(),
        }
    }

    /// A place for an attempt that nobody waits for.
    fn probe(&self, wanted: bool, now: Ticks, effects: &mut Effects<T, W>) -> Option<Claim> {
        let shut = self.gate.load(SeqCst) & (gate::CLOSED | gate::SUSPENDED) != 0;
        if wanted && !shut {
            self.reserve(now, effects)
        } else {
            None
        }
    }

    fn connecting(&self) -> usize {
        self.count(|state| state == State::Connecting)
    }
}
