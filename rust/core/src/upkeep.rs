//! What time does to a pool: connections grow old, stay idle, go unproven, are held for too long, and
//! jobs miss their deadlines. `advance` is called when the earliest deadline has come.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::core::Core;
use crate::effects::{Effects, Reason};
use crate::limits::{Ticks, NEVER};
use crate::schedule::Due;
use crate::slot::{Claim, Slot};
use crate::vital::Vital;
use crate::waiter::Waker;
use crate::word::{Flag, State, Word};

/// Timers handled for each time that the schedule is locked.
///
/// 256 keep it below a tenth of a millisecond, whatever cascades.
const BUDGET: usize = 256;

/// How long opening pauses after an attempt that took too long.
const OVERDUE_PAUSE: Ticks = 100;

/// How long a validation may take before whoever waits for it gets a new connection opened beside it: the
/// server may never answer.
pub(crate) const LATE_AFTER: Ticks = 100;

/// How often a slot is looked at that should be looked after, and whose connection is being reset.
const LOOK_AGAIN: Ticks = 100;

/// Lifetimes up to this one are exact; longer ones are spread.
const SPREAD_FROM: Ticks = 10_000;

impl<T: Vital, W: Waker> Core<T, W> {
    /// Does what is due, and returns when to be called again.
    pub fn advance(&self, now: Ticks, effects: &mut Effects<T, W>) -> Option<Ticks> {
        let mut due = Vec::new();
        loop {
            let more = self.schedule.lock().advance(now, BUDGET, &mut due);
            for due in due.drain(..) {
                match due {
                    Due::Slot(index) => self.look_after(index, now, effects),
                    Due::Reopen => self.reopen(now, effects),
                    Due::Alarm(alarm) => effects.alarms.push(alarm),
                }
            }
            if !more {
                return self.schedule.lock().promise();
            }
        }
    }

    /// The moment at which this connection will be too old: up to a tenth earlier than the limit, so
    /// that connections opened together are not closed together.
    ///
    /// The share is a Weyl sequence with the golden ratio, which spaces any number of them evenly (Knuth,
    /// The Art of Computer Programming 3, 6.4), where random numbers would make clusters.
    pub(crate) fn expiry(&self, now: Ticks) -> Ticks {
        let lifetime = self.limits.max_lifetime;
        if lifetime == NEVER {
            return NEVER;
        }
        let golden = self.spread.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9);
        let earlier = if lifetime > SPREAD_FROM { spread(lifetime / 10, golden) } else { 0 };
        now.saturating_add(lifetime - earlier)
    }

    /// Arms the slot for its next deadline, unless it has a job, whose owner arms it.
    pub(crate) fn settle(&self, index: u32, now: Ticks, effects: &mut Effects<T, W>) {
        let mut schedule = self.schedule.lock();
        let slot = self.slots.get(index);
        // Under the mutex: see schedule.rs.
        let word = slot.word();
        let when = match word.state() {
            State::Empty => NEVER,
            State::Idle => self.idle_deadline(index, slot, now),
            State::InUse | State::Granted => self.use_deadline(slot, word, now),
            State::Connecting | State::Checking | State::Closing if has_job(slot, word) => return,
            State::Connecting | State::Checking | State::Closing => self.reset_deadline(slot, now),
        };
        let when = if when == NEVER { NEVER } else { when.max(now + 1) };
        effects.retimed |= schedule.arm(index, when);
    }

    fn look_after(&self, index: u32, now: Ticks, effects: &mut Effects<T, W>) {
        let slot = self.slots.get(index);
        let word = slot.word();
        let claim = Claim { slot: index, generation: word.generation() };
        match word.state() {
            State::Empty => {}
            State::Idle => self.look_after_idle(index, slot, word, now, effects),
            State::InUse | State::Granted => self.look_after_used(claim, slot, word, now, effects),
            State::Connecting | State::Checking | State::Closing => {
                self.look_after_job(claim, slot, word, now, effects);
            }
        }
        self.settle(index, now, effects);
    }

    fn look_after_idle(
        &self,
        index: u32,
        slot: &Slot<T>,
        word: Word,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) {
        let record = &slot.record;
        let idle_until = record.released_at.load(Relaxed).saturating_add(self.limits.idle_timeout);
        if now >= record.expires_at.load(Relaxed) {
            self.close_idle(index, word, Reason::Lifetime, now, effects);
        } else if now >= idle_until && self.has_spare() {
            self.close_idle(index, word, Reason::Idle, now, effects);
        } else if now >= self.proof_deadline(index, slot) {
            self.check(index, word, now, effects);
        } else {
            self.revise_habit(now);
        }
    }

    fn look_after_used(
        &self,
        claim: Claim,
        slot: &Slot<T>,
        word: Word,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) {
        if now >= slot.record.expires_at.load(Relaxed) {
            slot.ask_to_retire(Reason::Lifetime, Some(claim.generation));
        }
        // The generation keeps a report from hitting whoever borrowed the connection meanwhile.
        if now >= self.leak_deadline(slot, word)
            && slot.flag(Flag::LeakReported, Some(claim.generation))
        {
            self.stats.leaks.add_one();
            effects.leaks.push(claim);
        }
        self.revise_habit(now);
    }

    /// Takes the slot from a job that missed its deadline; the job's own end will find it gone.
    fn end_overdue(&self, claim: Claim, state: State, now: Ticks, effects: &mut Effects<T, W>) {
        let ended = match state {
            State::Connecting => self.open_overdue(claim, now, effects),
            State::Checking => self.check_failed(claim, now, effects),
            _ => self.closed(claim, now, effects),
        };
        if ended {
            effects.overdue.push((claim, state));
        }
    }

    /// A server that does not answer is not asked again at once, as little as one that refuses.
    fn open_overdue(&self, claim: Claim, now: Ticks, effects: &mut Effects<T, W>) -> bool {
        let retry_at = now.saturating_add(OVERDUE_PAUSE);
        self.open_failed(claim, retry_at, true, now, effects)
    }

    fn look_after_job(
        &self,
        claim: Claim,
        slot: &Slot<T>,
        word: Word,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) {
        if !has_job(slot, word) {
            return;
        }
        if slot.record.job_due_at.load(Relaxed) <= now {
            return self.end_overdue(claim, word.state(), now, effects);
        }
        let mut schedule = self.schedule.lock();
        // Under the mutex, as in `settle`: who claims the slot after this look arms it after it.
        if has_job(slot, slot.word()) {
            effects.retimed |= schedule.arm(claim.slot, slot.record.job_due_at.load(Relaxed));
        }
        drop(schedule);
        // It is late, and `coming` does not count it any more.
        self.dispatch(now, effects);
    }

    /// Connections on their way to whoever waits, those left out whose validation is late and those that
    /// belong to somebody.
    pub(crate) fn coming(&self, now: Ticks) -> usize {
        let late_from =
            now.saturating_add(self.limits.validation_timeout.saturating_sub(LATE_AFTER));
        let comes = |slot: &Slot<T>| {
            let word = slot.word();
            match word.state() {
                _ if word.has(Flag::Kept) => false,
                State::Connecting => true,
                State::Checking => {
                    !has_job(slot, word) || slot.record.job_due_at.load(Relaxed) > late_from
                }
                _ => false,
            }
        };
        self.slots.iter().filter(|(_, slot)| comes(slot)).count()
    }

    /// Whether one connection less would still be enough.
    fn has_spare(&self) -> bool {
        let open = self.count(|state| !matches!(state, State::Empty | State::Closing));
        open > self.min_size.load(Relaxed) as usize
    }

    fn idle_deadline(&self, index: u32, slot: &Slot<T>, now: Ticks) -> Ticks {
        let record = &slot.record;
        let idle_until = record.released_at.load(Relaxed).saturating_add(self.limits.idle_timeout);
        // One that stays to make up `min_size` is looked at again a whole timeout later.
        let idle_until = if idle_until > now {
            idle_until
        } else {
            now.saturating_add(self.limits.idle_timeout)
        };
        // It could be borrowed right after this look.
        let leak = now.saturating_add(self.limits.leak_threshold);
        let proof = self.proof_deadline(index, slot);
        idle_until.min(record.expires_at.load(Relaxed)).min(proof).min(leak)
    }

    fn use_deadline(&self, slot: &Slot<T>, word: Word, now: Ticks) -> Ticks {
        // The earliest that could come due if it were released right after this look.
        let soonest = self.soonest(now);
        if word.has(Flag::Retire) {
            return soonest.min(self.leak_deadline(slot, word));
        }
        let expiry = slot.record.expires_at.load(Relaxed);
        soonest.min(expiry).min(self.leak_deadline(slot, word))
    }

    /// A reset has no deadline, and when it is over nobody arms the slot: see `core.rs`, `end_reset`.
    fn reset_deadline(&self, slot: &Slot<T>, now: Ticks) -> Ticks {
        let expiry = slot.record.expires_at.load(Relaxed);
        self.soonest(now).min(expiry).max(now.saturating_add(LOOK_AGAIN))
    }

    /// The soonest that anything but its age could call for a look at a connection in use.
    fn soonest(&self, now: Ticks) -> Ticks {
        let limits = &self.limits;
        let proof = self.background_interval();
        let soonest = limits.idle_timeout.min(proof).min(limits.leak_threshold);
        now.saturating_add(soonest)
    }

    fn leak_deadline(&self, slot: &Slot<T>, word: Word) -> Ticks {
        if word.has(Flag::LeakReported) || !word.is_held() {
            return NEVER;
        }
        let since = slot.record.held_since(word.generation());
        since.map_or(NEVER, |since| since.saturating_add(self.limits.leak_threshold))
    }

    /// When the background validates the connection: somewhat before a borrower would have to wait for
    /// it, and not all slots at once.
    fn proof_deadline(&self, index: u32, slot: &Slot<T>) -> Ticks {
        let interval = self.background_interval();
        if interval == NEVER {
            return NEVER;
        }
        let earlier = spread(interval / 10, index.wrapping_mul(0x9e37_79b9));
        slot.record.proven_at.load(Relaxed).saturating_add(interval - earlier)
    }

    /// How often the background validates: not at all where each borrow does.
    fn background_interval(&self) -> Ticks {
        match self.validation_interval.load(Relaxed) {
            0 => NEVER,
            interval => interval,
        }
    }

    /// Limits the habit of threads to go back to their last slot to as many slots as were really needed
    /// at once. Without it, twenty threads that each work a little keep twenty connections busy for
    /// ever, and none is ever idle for `idle_timeout`.
    fn revise_habit(&self, now: Ticks) {
        let since = self.reach_since.load(Relaxed);
        if self.limits.idle_timeout == NEVER
            || now.saturating_sub(since) < self.limits.idle_timeout / 4
        {
            return;
        }
        self.reach_since.store(now, Relaxed);
        let reached = self.reach.swap(0, Relaxed).min(self.max_size.load(Relaxed));
        self.habit_limit.store(reached, Relaxed);
    }
}

/// Whether the slot is in the hands of a job, which has a deadline.
pub(crate) fn has_job<T>(slot: &Slot<T>, word: Word) -> bool {
    // Acquire: pairs with the Release in `begin_job`, so who sees the job sees its deadline.
    slot.record.job.load(Acquire) == word.generation()
}

/// The share `fraction` / 2^32 of `whole`.
fn spread(whole: Ticks, fraction: u32) -> Ticks {
    let share = (u128::from(whole) * u128::from(fraction)) >> 32;
    Ticks::try_from(share).unwrap_or(whole)
}
