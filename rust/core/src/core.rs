//! The pool's engine: its parts, and the fast path over them.
//!
//! A borrow with an idle connection and nobody waiting is one load and one CAS; so is a return. When
//! that does not do, `queue.rs` has the waiters, `jobs.rs` what opens, validates and closes,
//! `upkeep.rs` the deadlines and `control.rs` what the pool's owner may ask for. No method blocks,
//! reads a clock or calls back: each says in its [`Effects`] what is to be done next.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::effects::{Effects, Reason};
use crate::limits::{Limits, Policy, Ticks, NEVER};
use crate::opening::Opening;
use crate::schedule::Schedule;
use crate::slot::{Claim, Slot};
use crate::slots::Slots;
use crate::stats::{Stats, SAMPLE_EVERY};
use crate::sync::{AtomicU32, AtomicU64, CachePadded, Mutex, Tally};
use crate::vital::{Lifeless, Vital};
use crate::waiter::{WaitQueue, Waker};
use crate::word::{Flag, State, Word};

/// The gate: one word that is zero while nothing keeps callers from helping themselves.
pub(crate) mod gate {
    /// The number of waiters.
    pub(crate) const WAITERS: u64 = 0xffff_ffff;
    /// The pool is closed.
    pub(crate) const CLOSED: u64 = 1 << 32;
    /// Callers are kept waiting.
    pub(crate) const SUSPENDED: u64 = 1 << 33;
    /// The pool became smaller than what is open, and nothing is given out beside the queue.
    pub(crate) const SHRINKING: u64 = 1 << 35;
    /// The oldest waiter is on its way to look for an idle connection by itself.
    pub(crate) const NUDGED: u64 = 1 << 36;
    /// The oldest waiter has been overtaken for long enough.
    pub(crate) const HAND_OFF: u64 = 1 << 34;
}

/// The engine of one pool. `T` is a connection, `W` reaches a waiting caller.
#[derive(Debug)]
pub struct Core<T, W: Waker> {
    pub(crate) gate: CachePadded<AtomicU64>,
    /// What in the gate stops a caller who just came.
    pub(crate) barred: u64,
    pub(crate) limits: Limits,
    pub(crate) min_size: AtomicU32,
    pub(crate) max_size: AtomicU32,
    /// Slots from here on are not tried out of habit, only first fit: see `upkeep.rs`.
    pub(crate) habit_limit: AtomicU32,
    /// How far first fit had to go since the habit limit was last set.
    pub(crate) reach: AtomicU32,
    pub(crate) reach_since: AtomicU64,
    /// The tick until which the oldest waiter, once nudged, may be overtaken.
    pub(crate) overtaking_until: AtomicU64,
    pub(crate) opening: Opening,
    /// See `set_validation`.
    pub(crate) validation_interval: Tally,
    /// Whether connections without a socket can be validated: 0 or 1.
    pub(crate) can_validate: Tally,
    /// Whether there ever was a connection with a socket: 0 or 1.
    pub(crate) have_sockets: Tally,
    pub(crate) slots: Slots<T>,
    pub(crate) queue: CachePadded<Mutex<WaitQueue<W>>>,
    pub(crate) schedule: Mutex<Schedule>,
    /// Connections opened so far, for spreading their deadlines.
    pub(crate) spread: AtomicU32,
    pub(crate) stats: Stats,
}

/// A connection in its holder's hands, as `held` found it.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    slot: u32,
    word: Word,
}

impl Held {
    /// The claim by which the holder holds it.
    #[must_use]
    pub fn claim(self) -> Claim {
        Claim { slot: self.slot, generation: self.word.generation() }
    }

    /// Whether the connection was asked to retire.
    #[must_use]
    pub fn is_retiring(self) -> bool {
        self.word.has(Flag::Retire)
    }
}

/// What became of a connection that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenBack {
    /// It is idle.
    Idle,
    /// It is idle and the gate is not open: `after_release` has something to do.
    Attention,
    /// It must be closed: `retire` does it.
    Spent(Reason),
    /// Somebody else gave it back meanwhile.
    NotHeld,
}

impl<T: Vital, W: Waker> Core<T, W> {
    /// An engine without connections.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let barred = match limits.policy {
            Policy::Fair => u64::MAX,
            Policy::Throughput => !(gate::WAITERS | gate::NUDGED),
        };
        Self {
            gate: CachePadded(AtomicU64::new(0)),
            barred,
            min_size: AtomicU32::new(limits.min_size),
            max_size: AtomicU32::new(limits.max_size),
            habit_limit: AtomicU32::new(limits.max_size),
            reach: AtomicU32::new(0),
            reach_since: AtomicU64::new(0),
            overtaking_until: AtomicU64::new(0),
            opening: Opening::new(limits.max_connecting),
            validation_interval: Tally::new(limits.validation_interval),
            can_validate: Tally::new(u64::from(limits.validation_interval != NEVER)),
            have_sockets: Tally::new(0),
            slots: Slots::new(limits.max_size),
            queue: CachePadded(Mutex::new(WaitQueue::new())),
            schedule: Mutex::new(Schedule::new()),
            spread: AtomicU32::new(0),
            stats: Stats::new(),
            limits,
        }
    }

    /// Claims an idle connection, first in the slot `habit`, then in the first that fits.
    ///
    /// `None` when there is none, when others wait, and while the pool is closed or suspended.
    #[inline(always)]
    pub fn try_acquire(&self, habit: u32, now: Ticks) -> Option<Claim> {
        // Relaxed: only manners. A newcomer that misses a waiter overtakes it; it loses nothing.
        if self.gate.load(Relaxed) & self.barred != 0 {
            return None;
        }
        if habit < self.habit_limit.load(Relaxed) {
            match self.claim_slot(habit, now) {
                Ok(None) => {}
                // A lifeless one is for `serve` to deal with, as whoever joins the queue has it do.
                claim => return claim.unwrap_or_default(),
            }
        }
        self.first_fit(now)
    }

    #[inline(never)]
    fn first_fit(&self, now: Ticks) -> Option<Claim> {
        let max_size = self.max_size.load(Relaxed);
        let claims = (0..max_size).map(|slot| self.claim_slot(slot, now));
        let claim = claims.into_iter().find_map(Result::transpose)?.ok()?;
        if claim.slot >= self.reach.load(Relaxed) {
            self.reach.store(claim.slot + 1, Relaxed);
        }
        Some(claim)
    }

    #[inline(always)]
    fn claim_slot(&self, index: u32, now: Ticks) -> Result<Option<Claim>, Lifeless> {
        let slot = self.slots.get(index);
        let word = slot.word();
        if !word.is_claimable() || self.is_unproven(slot, now) {
            return Ok(None);
        }
        Self::is_lively(slot)?;
        let generation = slot.try_acquire(word);
        Ok(generation.map(|generation| Claim { slot: index, generation }))
    }

    /// Notes who borrows the connection. `nanos` is called for the few borrows whose time is measured.
    #[inline(always)]
    pub fn note_borrow(&self, claim: Claim, holder: u64, nanos: impl FnOnce() -> u64) {
        let record = &self.slots.get(claim.slot).record;
        // Relaxed, load and store: only the holder writes, and a reader wants no more than a number.
        let uses = record.uses.load(Relaxed);
        record.uses.store(uses.wrapping_add(1), Relaxed);
        record.holder.store(holder, Relaxed);
        if uses % SAMPLE_EVERY == 0 {
            record.sampled_from.store(nanos(), Relaxed);
        }
    }

    /// Has the time of this borrow measured, whether or not it would be anyway.
    pub fn measure(&self, claim: Claim, nanos: u64) {
        self.slots.get(claim.slot).record.sampled_from.store(nanos, Relaxed);
    }

    /// The nanoseconds since which the claim's borrow is measured, if it is.
    pub fn measured(&self, claim: Claim) -> Option<u64> {
        let from = self.slots.get(claim.slot).record.sampled_from.load(Relaxed);
        Some(from).filter(|from| *from != 0)
    }

    /// Notes since when the connection is borrowed, for those who know what time it is. The fast path
    /// does not: there, `observe` notes it for whoever holds a connection while others wait.
    pub fn note_held(&self, claim: Claim, now: Ticks) {
        self.slots.get(claim.slot).record.note_held(claim.generation, now);
    }

    /// Notes for each connection that is held and of which it is not known since when: since now, at
    /// the latest.
    pub fn observe(&self, now: Ticks) {
        for (_, slot) in self.slots.iter() {
            let word = slot.word();
            if word.is_held() && slot.record.held_since(word.generation()).is_none() {
                slot.record.note_held(word.generation(), now);
            }
        }
    }

    /// The connection of a claim.
    ///
    /// # Safety
    /// The claim is the caller's, and stays so for as long as the reference is used.
    #[inline(always)]
    pub unsafe fn value(&self, claim: Claim) -> Option<&T> {
        // SAFETY: passed on to the caller.
        unsafe { self.slots.get(claim.slot).value() }
    }

    /// The slot whose connection has this identity, looking at `habit` first.
    #[inline(always)]
    pub fn find(&self, identity: u64, habit: u32) -> Option<u32> {
        if habit < self.max_size.load(Relaxed) && self.slots.get(habit).identity() == identity {
            return Some(habit);
        }
        self.search(identity)
    }

    #[inline(never)]
    fn search(&self, identity: u64) -> Option<u32> {
        // All slots, not only those below the limit: the pool may have become smaller meanwhile.
        let mut slots = self.slots.iter();
        slots.find_map(|(index, slot)| (slot.identity() == identity).then_some(index))
    }

    /// The connection in `slot` if somebody holds it, and if it is `generation` where that is given.
    #[inline(always)]
    pub fn held(&self, slot: u32, generation: Option<u64>) -> Option<Held> {
        let word = self.slots.get(slot).word();
        let held =
            word.is_held() && generation.is_none_or(|generation| generation == word.generation());
        held.then_some(Held { slot, word })
    }

    /// Takes the connection out of the holder's hands for a reset; `end_reset` follows.
    ///
    /// A second release finds it gone, so no reset ever runs on somebody else's connection.
    #[inline(always)]
    pub fn begin_reset(&self, held: Held) -> Option<Claim> {
        let slot = self.slots.get(held.slot);
        let mut held = held;
        while !slot.begin_reset(held.word) {
            // A flag came in between, or somebody else released it: look once more.
            held = self.held(held.slot, Some(held.word.generation()))?;
        }
        Some(held.claim())
    }

    /// Makes the connection idle after its reset.
    #[inline(always)]
    pub fn end_reset(&self, claim: Claim, now: Ticks, nanos: impl FnOnce() -> u64) -> GivenBack {
        let slot = self.slots.get(claim.slot);
        if let Some(reason) = self.spent(claim.slot, slot, now) {
            return GivenBack::Spent(reason);
        }
        self.note_return(slot, now, nanos);
        if !slot.publish(claim.generation, State::Checking) {
            return GivenBack::Spent(slot.retire_reason());
        }
        self.attention(now)
    }

    /// Makes the connection idle as it is.
    #[inline(always)]
    pub fn give_back(&self, held: Held, now: Ticks, nanos: impl FnOnce() -> u64) -> GivenBack {
        let slot = self.slots.get(held.slot);
        if let Some(reason) = self.spent(held.slot, slot, now) {
            return GivenBack::Spent(reason);
        }
        self.note_return(slot, now, nanos);
        let mut held = held;
        loop {
            if held.word.is_spent() {
                return GivenBack::Spent(slot.retire_reason());
            }
            if slot.release(held.word) {
                return self.attention(now);
            }
            // A flag came in between, or somebody else released it: look once more.
            match self.held(held.slot, Some(held.word.generation())) {
                Some(again) => held = again,
                None => return GivenBack::NotHeld,
            }
        }
    }

    /// Why the connection can't go on, if it can't; a flag is not looked at.
    #[inline(always)]
    fn spent(&self, index: u32, slot: &Slot<T>, now: Ticks) -> Option<Reason> {
        if slot.record.uses.load(Relaxed) >= self.limits.max_uses {
            return Some(Reason::Uses);
        }
        if now >= slot.record.expires_at.load(Relaxed) {
            return Some(Reason::Lifetime);
        }
        (index >= self.max_size.load(Relaxed)).then_some(Reason::Shrunk)
    }

    #[inline(always)]
    fn note_return(&self, slot: &Slot<T>, now: Ticks, nanos: impl FnOnce() -> u64) {
        let record = &slot.record;
        record.released_at.store(now, Relaxed);
        if self.validation_interval.load(Relaxed) != NEVER {
            record.proven_at.store(now, Relaxed);
        }
        let from = record.sampled_from.load(Relaxed);
        if from != 0 {
            record.sampled_from.store(0, Relaxed);
            self.stats.use_time.record(nanos().saturating_sub(from));
        }
    }

    #[inline(always)]
    fn attention(&self, now: Ticks) -> GivenBack {
        // SeqCst: after the edge to IDLE; pairs with the waiter's increment in `join`, see slot.rs.
        match self.gate.load(SeqCst) {
            0 => GivenBack::Idle,
            // A waiter that lowers the flag NUDGED looks at the slots afterwards, so it sees this one.
            // Relaxed: until when is a matter of fairness only.
            gate if gate & !gate::WAITERS == gate::NUDGED
                && now <= self.overtaking_until.load(Relaxed) =>
            {
                GivenBack::Idle
            }
            _ => GivenBack::Attention,
        }
    }

    /// Serves the waiters, or the close of the pool, after a place became usable.
    pub fn after_release(&self, now: Ticks, effects: &mut Effects<T, W>) {
        if self.is_closed() {
            self.sweep(Reason::Closed, |_| true, now, effects);
        } else {
            self.dispatch(now, effects);
        }
    }

    /// Whether the pool is closed.
    pub fn is_closed(&self) -> bool {
        self.gate.load(SeqCst) & gate::CLOSED != 0
    }

    /// The counters and histograms.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The limits that the pool began with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
