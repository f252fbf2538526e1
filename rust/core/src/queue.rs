//! The slow path of a borrow: joining the queue, being served, giving up.
//!
//! `dispatch` does all the matching, under the queue's mutex. It runs after each event that could serve
//! a waiter: one joined, a connection became idle, a place became empty. Lost wake-ups are impossible
//! because the waiter raises the gate before it looks at the slots, and whoever makes a place usable
//! looks at the gate afterwards (slot.rs says why one of them sees the other).

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::core::{gate, Core};
use crate::effects::{Effects, Job, Reason, Wake};
use crate::limits::{Policy, Ticks, HAND_OFF_AFTER, NEVER};
use crate::slot::Claim;
use crate::vital::{Pulse, Vital};
use crate::waiter::{Nudged, Priority, Ticket, WaitQueue, Waker};
use crate::word::{Flag, State};

/// Why a caller may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The pool is closed.
    Closed,
    /// `max_waiting` callers wait already.
    Full,
    /// The database is down: nothing is open, and nothing can be opened.
    Down,
    /// By the pace of those before it, it would wait for that many ticks.
    Hopeless(Ticks),
}

impl<T: Vital, W: Waker> Core<T, W> {
    /// Joins the queue; `effects` may already serve the caller.
    ///
    /// # Errors
    /// [`Refused`], and nothing has changed.
    pub fn join(
        &self,
        waker: W,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> Result<Ticket, Refused> {
        self.join_as(waker, Priority::Normal, NEVER, now, effects)
    }

    /// Joins the queue with a priority, unless it can be foreseen that the wait is longer than
    /// `patience`.
    ///
    /// # Errors
    /// [`Refused`], and nothing has changed.
    pub fn join_as(
        &self,
        waker: W,
        priority: Priority,
        patience: Ticks,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> Result<Ticket, Refused> {
        let mut queue = self.queue.lock();
        if self.is_closed() {
            return Err(Refused::Closed);
        }
        if self.is_full(queue.len()) {
            return Err(Refused::Full);
        }
        let expected = queue.expected_wait(priority);
        if expected > patience && !queue.is_empty() {
            return Err(Refused::Hopeless(expected));
        }
        self.stats.queued.add_one();
        self.observe(now);
        // SeqCst: before the scan of the slots; pairs with `attention` after a release.
        self.gate.fetch_add(1, SeqCst);
        let ticket = queue.push(waker, priority, now);
        self.note_head(&queue, ticket);
        self.serve(&mut queue, now, effects);
        Ok(ticket)
    }

    /// Joins the queue before all others: it was the caller's turn, and what it got was no good.
    ///
    /// # Errors
    /// [`Refused::Closed`], and nothing has changed.
    pub fn join_again(
        &self,
        waker: W,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> Result<Ticket, Refused> {
        let mut queue = self.queue.lock();
        if self.is_closed() {
            return Err(Refused::Closed);
        }
        // SeqCst: as in `join_as`.
        self.gate.fetch_add(1, SeqCst);
        let ticket = queue.push_front(waker, now);
        self.note_head(&queue, ticket);
        self.serve(&mut queue, now, effects);
        Ok(ticket)
    }

    /// Leaves the queue. `None` when the waiter was served or turned away before, and has a message.
    pub fn leave(&self, ticket: Ticket, now: Ticks, effects: &mut Effects<T, W>) -> Option<W> {
        let mut queue = self.queue.lock();
        let waker = self.take_off(&mut queue, ticket, now)?;
        self.stats.gave_up.add_one();
        // It may have been nudged, and then the next one has to be.
        self.serve(&mut queue, now, effects);
        Some(waker)
    }

    /// Another try of a nudged waiter; it is served through `effects` or keeps its place.
    pub fn retry(&self, ticket: Ticket, now: Ticks, effects: &mut Effects<T, W>) {
        let mut queue = self.queue.lock();
        queue.arrived(ticket);
        // SeqCst: before the scan of the slots; pairs with `attention`, which leaves a connection
        // that became idle to whoever is on its way.
        self.gate.fetch_and(!gate::NUDGED, SeqCst);
        let shut = self.gate.load(SeqCst) & (gate::CLOSED | gate::SUSPENDED) != 0;
        if shut || !queue.is_head(ticket) {
            return;
        }
        if let Some(claim) = self.grant_idle(now, effects) {
            // As the head, so that it counts for whose turn is next.
            if let Some(waker) = self.take_head(&mut queue, now) {
                effects.wakes.push(Wake::Granted(waker, claim));
            }
        } else if queue.head_age(now) >= HAND_OFF_AFTER {
            self.gate.fetch_or(gate::HAND_OFF, SeqCst);
        }
        // Whatever became free while the nudge was on its way was left at that.
        self.serve(&mut queue, now, effects);
    }

    /// Holds what was granted (T6). False when the pool was closed meanwhile: `give_up` is next.
    pub fn accept(&self, grant: Claim) -> bool {
        !self.is_closed() && self.slots.get(grant.slot).accept(grant.generation)
    }

    /// Gives back a grant that its waiter does not want any more (T7).
    pub fn give_up(&self, grant: Claim, now: Ticks, effects: &mut Effects<T, W>) {
        if self.slots.get(grant.slot).publish(grant.generation, State::Granted) {
            self.after_release(now, effects);
        } else {
            let reason = self.slots.get(grant.slot).retire_reason();
            self.retire(grant, State::Granted, reason, now, effects);
        }
    }

    /// Takes the oldest waiter off the queue, to give it bad news.
    pub fn dismiss_oldest(&self, now: Ticks, effects: &mut Effects<T, W>) -> Option<W> {
        let mut queue = self.queue.lock();
        let waker = self.take_head(&mut queue, now)?;
        // As in `leave`: a nudge may have been on its way to it.
        self.serve(&mut queue, now, effects);
        Some(waker)
    }

    /// The number of waiters.
    pub fn waiting(&self) -> u64 {
        self.gate.load(Relaxed) & gate::WAITERS
    }

    /// The ticks at which the waiters joined, oldest first, and how many of them are urgent.
    pub fn waiting_since(&self) -> (Vec<Ticks>, usize) {
        let queue = self.queue.lock();
        (queue.joined(), queue.urgent())
    }

    /// Gives what is there to those who wait, and keeps `min_size` connections open.
    pub(crate) fn dispatch(&self, now: Ticks, effects: &mut Effects<T, W>) {
        let mut queue = self.queue.lock();
        self.serve(&mut queue, now, effects);
        self.refill(now, effects);
    }

    /// Wakes everybody with the news that the pool is closed.
    pub(crate) fn turn_away(&self, now: Ticks, effects: &mut Effects<T, W>) {
        let mut queue = self.queue.lock();
        while let Some(waker) = self.take_head(&mut queue, now) {
            effects.wakes.push(Wake::Closed(waker));
        }
    }

    /// Has connections opened until there are `min_size`. The queue's mutex is held, so that two
    /// callers do not open for the same gap.
    pub(crate) fn refill(&self, now: Ticks, effects: &mut Effects<T, W>) {
        let shut = self.gate.load(SeqCst) & (gate::CLOSED | gate::SUSPENDED) != 0;
        if shut {
            return;
        }
        let min_size = self.min_size.load(Relaxed) as usize;
        let open = self.count(|state| !matches!(state, State::Empty | State::Closing));
        for _ in open..min_size {
            let Some(claim) = self.reserve(now, effects) else { return };
            effects.jobs.push(Job::Open(claim));
        }
    }

    pub(crate) fn serve(&self, queue: &mut WaitQueue<W>, now: Ticks, effects: &mut Effects<T, W>) {
        if self.is_closed() {
            return;
        }
        // Also while nobody is served: a smaller pool has fewer connections at once.
        self.shrink(now, effects);
        if self.gate.load(SeqCst) & gate::SUSPENDED != 0 {
            return;
        }
        while !queue.is_empty() {
            if self.may_overtake(queue, now) && self.has_idle(now) {
                match queue.nudge_head() {
                    Some(Nudged::Now(nudge)) => {
                        let since = now - queue.head_age(now);
                        self.overtaking_until.store(since + HAND_OFF_AFTER, Relaxed);
                        self.gate.fetch_or(gate::NUDGED, SeqCst);
                        return effects.wakes.push(Wake::Nudge(nudge));
                    }
                    Some(Nudged::Already) => return,
                    None => {}
                }
            }
            let Some(claim) = self.grant_idle(now, effects) else { break };
            match self.take_head(queue, now) {
                Some(waker) => effects.wakes.push(Wake::Granted(waker, claim)),
                None => unreachable!("the queue is locked and was not empty"),
            }
        }
        self.open_for(queue.len(), now, effects);
    }

    /// After a resize: closes idle connections as long as there are more than allowed, held ones above
    /// the limit included, and opens the gate when all are below the limit again.
    fn shrink(&self, now: Ticks, effects: &mut Effects<T, W>) {
        if self.gate.load(SeqCst) & gate::SHRINKING == 0 {
            return;
        }
        let max_size = self.max_size.load(Relaxed);
        // What was in somebody's hands when `resize` swept, and was idle before its owner saw the limit.
        self.sweep(Reason::Shrunk, |index| index >= max_size, now, effects);
        let staying = self.count(|state| !matches!(state, State::Empty | State::Closing));
        let mut surplus = staying.saturating_sub(max_size as usize);
        // The lowest stay: they are the first that an acquire looks at.
        let within: Vec<_> = self.within_limit().collect();
        for (index, slot) in within.into_iter().rev() {
            let word = slot.word();
            if surplus > 0 && word.state() == State::Idle {
                surplus -= usize::from(self.close_idle(index, word, Reason::Shrunk, now, effects));
            }
        }
        let above = self.slots.iter().skip(max_size as usize);
        if above.into_iter().all(|(_, slot)| slot.word().state() == State::Empty) {
            self.gate.fetch_and(!gate::SHRINKING, SeqCst);
        }
    }

    fn may_overtake(&self, queue: &WaitQueue<W>, now: Ticks) -> bool {
        self.limits.policy == Policy::Throughput && queue.head_age(now) < HAND_OFF_AFTER
    }

    fn has_idle(&self, now: Ticks) -> bool {
        self.within_limit()
            .any(|(_, slot)| slot.word().is_claimable() && !self.is_unproven(slot, now))
    }

    /// Claims an idle connection for a waiter (T5), and sends those to validation that need it.
    fn grant_idle(&self, now: Ticks, effects: &mut Effects<T, W>) -> Option<Claim> {
        self.within_limit().find_map(|(index, slot)| {
            let word = slot.word();
            if !word.is_claimable() {
                return None;
            }
            if self.is_unproven(slot, now) {
                self.check(index, word, now, effects);
                return None;
            }
            match Self::pulse(slot, now) {
                Pulse::Alive => {}
                Pulse::Doubtful => {
                    self.check(index, word, now, effects);
                    return None;
                }
                Pulse::Dead => {
                    if self.close_idle(index, word, Reason::Dead, now, effects) {
                        self.suspect_all(now, effects);
                    }
                    return None;
                }
            }
            let generation = slot.grant(word)?;
            Some(Claim { slot: index, generation })
        })
    }

    /// Has as many connections opened as there are waiters that nothing is on its way for.
    fn open_for(&self, waiting: usize, now: Ticks, effects: &mut Effects<T, W>) {
        if waiting == 0 {
            return;
        }
        let coming = self.coming(now);
        for _ in coming..waiting {
            let Some(claim) = self.reserve(now, effects) else { return };
            effects.jobs.push(Job::Open(claim));
        }
    }

    /// Whether one more waiter would be too many: those whom a connection that is idle or on its way,
    /// or an empty place, can serve do not count.
    fn is_full(&self, waiting: usize) -> bool {
        let Ok(max_waiting) = usize::try_from(self.limits.max_waiting) else { return false };
        if waiting < max_waiting {
            return false;
        }
        let room = self.count_words(|word| {
            let state = word.state();
            matches!(state, State::Empty | State::Connecting | State::Idle | State::Checking)
                && !word.has(Flag::Kept)
        });
        waiting - max_waiting >= room
    }

    fn take_head(&self, queue: &mut WaitQueue<W>, now: Ticks) -> Option<W> {
        let (waker, priority) = queue.pop(now)?;
        if priority == Priority::High {
            self.stats.urgent_served.add_one();
        }
        self.one_less();
        Some(waker)
    }

    fn take_off(&self, queue: &mut WaitQueue<W>, ticket: Ticket, now: Ticks) -> Option<W> {
        let waker = queue.remove(ticket, now)?;
        self.one_less();
        Some(waker)
    }

    /// What the flags say is of the head before. Were they left, a release would leave its connection to
    /// a waiter that is on its way, and that is not the head any more. Before the scan of the slots.
    fn note_head(&self, queue: &WaitQueue<W>, ticket: Ticket) {
        if queue.len() > 1 && queue.is_head(ticket) {
            self.gate.fetch_and(!(gate::HAND_OFF | gate::NUDGED), SeqCst);
        }
    }

    fn one_less(&self) {
        self.gate.fetch_sub(1, SeqCst);
        // Whoever asked for a hand-off or was nudged was at the head; the next head asks for itself. All
        // callers look at the slots afterwards.
        self.gate.fetch_and(!(gate::HAND_OFF | gate::NUDGED), SeqCst);
    }
}
