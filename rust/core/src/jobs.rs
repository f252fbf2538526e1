//! Opening, validating and closing connections: each begins with a claim on a slot and a deadline, runs
//! somewhere else, and ends here. A job that misses its deadline loses its claim to the upkeep, and its
//! end then changes nothing.

use std::sync::atomic::Ordering::{Relaxed, Release};

use crate::core::{Core, Held};
use crate::effects::{Effects, Job, Reason};
use crate::limits::Ticks;
use crate::slot::{Claim, Slot};
use crate::upkeep::LATE_AFTER;
use crate::vital::Vital;
use crate::waiter::Waker;
use crate::word::{Flag, State, Word};

impl<T: Vital, W: Waker> Core<T, W> {
    /// Puts a new connection into the place that was reserved for it, or, when nobody wants it any more
    /// (the pool became smaller, or connections were evicted meanwhile), closes it in that place.
    ///
    /// # Errors
    /// The connection comes back when its place was given up: the job took too long, or the pool was
    /// closed.
    pub fn fill(
        &self,
        claim: Claim,
        value: T,
        identity: u64,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> Result<(), T> {
        let slot = self.slots.get(claim.slot);
        let fits = claim.slot < self.max_size.load(Relaxed);
        let owned = if fits { slot.begin_fill(claim.generation) } else { None };
        let Some(generation) = owned else {
            let reason = if fits { slot.retire_reason() } else { Reason::Shrunk };
            return self.refuse(claim, value, reason, now, effects);
        };
        // SAFETY: `begin_fill` gave us the slot, and only `publish` below gives it up.
        unsafe { self.put(slot, value, identity) };
        self.note_open(slot, self.stats.opened.add_one(), now);
        self.forget_failures();
        self.publish(Claim { generation, ..claim }, now, effects);
        Ok(())
    }

    /// Closes a new connection in its place, which stays taken until that is done: the connection is
    /// open at the server and counts.
    fn refuse(
        &self,
        claim: Claim,
        value: T,
        reason: Reason,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> Result<(), T> {
        let slot = self.slots.get(claim.slot);
        let Some((generation, _)) = slot.begin_close(claim.generation, State::Connecting) else {
            return Err(value);
        };
        self.stats.opened.add_one();
        self.close(Claim { generation, ..claim }, Some(value), reason, now, effects);
        Ok(())
    }

    /// Gives up a place for which no connection could be opened.
    ///
    /// With `retry_at`, an attempt to keep `min_size` connections is made then; with `pause`, nothing is
    /// opened before. False when the job had already been given up on.
    pub fn open_failed(
        &self,
        claim: Claim,
        retry_at: Ticks,
        pause: bool,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        if !self.slots.get(claim.slot).abandon(claim.generation) {
            return false;
        }
        self.stats.open_failed.add_one();
        if pause {
            self.pause(retry_at, now);
        } else {
            self.note_answer();
        }
        effects.retimed |= self.schedule.lock().arm_reopen(retry_at);
        self.freed(claim.slot, now, effects);
        true
    }

    /// Makes a connection idle that proved to be alive.
    pub fn check_passed(&self, claim: Claim, now: Ticks, effects: &mut Effects<T, W>) {
        if !self.is_current(claim) {
            // Too late, and no proof for the connection that is there now.
            return;
        }
        let record = &self.slots.get(claim.slot).record;
        record.proven_at.store(now, Relaxed);
        record.vetted_at_use.store(record.uses.load(Relaxed), Relaxed);
        if self.publish(claim, now, effects) {
            self.stats.checks.add_one();
        }
    }

    /// Closes a connection that did not prove to be alive. False when the job had been given up on.
    pub fn check_failed(&self, claim: Claim, now: Ticks, effects: &mut Effects<T, W>) -> bool {
        self.check_ended(claim, Reason::Invalid, now, effects)
    }

    /// Closes a connection that is alive, but slow. False when the job had been given up on.
    pub fn check_slow(&self, claim: Claim, now: Ticks, effects: &mut Effects<T, W>) -> bool {
        self.check_ended(claim, Reason::Slow, now, effects)
    }

    fn check_ended(
        &self,
        claim: Claim,
        reason: Reason,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        let ours = self.retire(claim, State::Checking, reason, now, effects);
        if ours {
            self.stats.checks.add_one();
            self.stats.checks_failed.add_one();
        }
        ours
    }

    /// Closes a connection that its holder gave back and that can't go on.
    pub fn retire_held(
        &self,
        held: Held,
        reason: Reason,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        self.retire(held.claim(), State::InUse, reason, now, effects)
    }

    /// Closes a connection whose reset is over, or failed.
    pub fn retire_reset(
        &self,
        claim: Claim,
        reason: Reason,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        self.retire(claim, State::Checking, reason, now, effects)
    }

    /// Lets the holder keep its connection for good (T16).
    pub fn detach(&self, held: Held, now: Ticks, effects: &mut Effects<T, W>) -> Option<T> {
        let value = self.slots.get(held.claim().slot).detach(held.claim().generation)?;
        self.settle(held.claim().slot, now, effects);
        self.dispatch(now, effects);
        Some(value)
    }

    /// Frees the place of a connection that is closed (T14). False when the job had been given up on.
    pub fn closed(&self, claim: Claim, now: Ticks, effects: &mut Effects<T, W>) -> bool {
        let ours = self.slots.get(claim.slot).finish_close(claim.generation);
        if ours {
            self.freed(claim.slot, now, effects);
        }
        ours
    }

    /// Whether the claim's owner still has the slot.
    pub fn is_current(&self, claim: Claim) -> bool {
        self.slots.get(claim.slot).word().generation() == claim.generation
    }

    /// Reserves a place (T1) for a job that opens a connection.
    pub(crate) fn reserve(&self, now: Ticks, effects: &mut Effects<T, W>) -> Option<Claim> {
        if !self.may_open() || self.open() >= self.max_size.load(Relaxed) as usize {
            // Also when a place is free: connections above the limit of a smaller pool count.
            return None;
        }
        let claim = self.within_limit().find_map(|(index, slot)| {
            let generation = slot.reserve()?;
            Some(Claim { slot: index, generation })
        })?;
        let due_at = now.saturating_add(self.limits.connect_timeout);
        self.begin_job(claim, due_at, due_at, now, effects);
        self.note_attempt(now, effects);
        Some(claim)
    }

    /// Takes an idle connection for a job that validates it (T11).
    pub(crate) fn check(
        &self,
        index: u32,
        seen: Word,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        let Some(generation) = self.slots.get(index).begin_check(seen) else { return false };
        self.begin_check(Claim { slot: index, generation }, now, effects);
        true
    }

    /// Takes an idle connection for a job that closes it (T13).
    pub(crate) fn close_idle(
        &self,
        index: u32,
        seen: Word,
        reason: Reason,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        let Some((generation, value)) = self.slots.get(index).close_seen(seen) else {
            return false;
        };
        self.close(Claim { slot: index, generation }, value, reason, now, effects);
        true
    }

    /// Moves a connection from above the limit of a pool that became smaller to a place below it.
    ///
    /// False when there is no room below, when the owner lost the connection, and when it was asked to
    /// retire it.
    fn move_down(
        &self,
        claim: Claim,
        from: State,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        let slot = self.slots.get(claim.slot);
        let seen = slot.word();
        if seen.generation() != claim.generation || seen.state() != from || seen.is_spent() {
            return false;
        }
        // As for every reservation: whoever counts under the mutex must not miss what moves meanwhile.
        let queue = self.queue.lock();
        let staying = self.count(|state| !matches!(state, State::Empty | State::Closing));
        if staying > self.max_size.load(Relaxed) as usize {
            return false;
        }
        let places = self.within_limit();
        let Some((target, (index, place))) =
            places.into_iter().find_map(|place| Some((place.1.reserve()?, place)))
        else {
            return false;
        };
        let identity = slot.identity();
        let target = Claim { slot: index, generation: target };
        let Some((closing, Some(value))) = slot.close_seen(seen) else {
            drop(queue);
            self.abandon(target, now, effects);
            return false;
        };
        let emptied = Claim { generation: closing, ..claim };
        let filled = place.begin_fill(target.generation);
        drop(queue);
        let Some(generation) = filled else {
            // An eviction came in between, and means this connection too.
            self.abandon(target, now, effects);
            self.close(emptied, Some(value), Reason::Evicted, now, effects);
            return true;
        };
        // SAFETY: `begin_fill` gave us the place, and only `publish` below gives it up.
        unsafe { self.put(place, value, identity) };
        if seen.has(Flag::Kept) {
            place.flag(Flag::Kept, Some(generation));
        }
        place.record.follow(&slot.record);
        place.record.released_at.store(now, Relaxed);
        place.record.proven_at.store(now, Relaxed);
        self.closed(emptied, now, effects);
        self.publish(Claim { generation, ..target }, now, effects);
        true
    }

    /// Has the owner in `from` close its connection (T10, T12), or move it where it may stay.
    pub(crate) fn retire(
        &self,
        claim: Claim,
        from: State,
        reason: Reason,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        if reason == Reason::Shrunk && self.move_down(claim, from, now, effects) {
            return true;
        }
        if reason == Reason::Suspect && self.vet(claim, from, now, effects) {
            return true;
        }
        let slot = self.slots.get(claim.slot);
        let Some((generation, value)) = slot.begin_close(claim.generation, from) else {
            return false;
        };
        self.close(Claim { generation, ..claim }, value, reason, now, effects);
        if reason.is_contagious() {
            self.suspect_all(now, effects);
        }
        true
    }

    /// Has the connection validated when its holder gives it back: a cancellation may still hit it.
    pub fn suspect_held(&self, held: Held) {
        let claim = held.claim();
        self.slots.get(claim.slot).flag(Flag::Vet, Some(claim.generation));
    }

    /// Has the connection closed when its holder gives it back: a cancellation may hit it at any time,
    /// and no validation tells when that is over.
    pub fn condemn_held(&self, held: Held) {
        let claim = held.claim();
        self.slots.get(claim.slot).ask_to_retire(Reason::Suspect, Some(claim.generation));
    }

    /// Hands the owner's connection to a job that validates it (T18).
    fn vet(&self, claim: Claim, from: State, now: Ticks, effects: &mut Effects<T, W>) -> bool {
        let Some(generation) = self.slots.get(claim.slot).begin_vet(claim.generation, from) else {
            return false;
        };
        self.begin_check(Claim { generation, ..claim }, now, effects);
        true
    }

    /// Hands what its holder gives back to a job that resets it (T9), as that has to wait for the server.
    /// The job ends with `end_reset` or `retire_reset`. `None` when the caller does not hold it.
    pub fn reset_later(
        &self,
        held: Held,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> Option<Claim> {
        let claim = self.begin_reset(held)?;
        let due_at = now.saturating_add(self.limits.validation_timeout);
        self.begin_job(claim, due_at, due_at, now, effects);
        Some(claim)
    }

    fn begin_check(&self, claim: Claim, now: Ticks, effects: &mut Effects<T, W>) {
        let due_at = now.saturating_add(self.limits.validation_timeout);
        let look_at = due_at.min(now.saturating_add(LATE_AFTER));
        self.begin_job(claim, due_at, look_at, now, effects);
        effects.jobs.push(Job::Check(claim));
    }

    /// Gives up a place whose connection does not come (T3). False when it was given up before.
    pub(crate) fn abandon(&self, claim: Claim, now: Ticks, effects: &mut Effects<T, W>) -> bool {
        let abandoned = self.slots.get(claim.slot).abandon(claim.generation);
        if abandoned {
            self.freed(claim.slot, now, effects);
        }
        abandoned
    }

    /// Makes the connection idle, or closes it when that was asked for meanwhile.
    ///
    /// False when the claim was lost before.
    fn publish(&self, claim: Claim, now: Ticks, effects: &mut Effects<T, W>) -> bool {
        let slot = self.slots.get(claim.slot);
        if slot.publish(claim.generation, State::Checking) {
            self.settle(claim.slot, now, effects);
            self.after_release(now, effects);
            true
        } else {
            let reason = slot.retire_reason();
            self.retire(claim, State::Checking, reason, now, effects)
        }
    }

    fn close(
        &self,
        claim: Claim,
        value: Option<T>,
        reason: Reason,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) {
        self.stats.count_closed(reason);
        let due_at = now.saturating_add(self.limits.connect_timeout);
        self.begin_job(claim, due_at, due_at, now, effects);
        effects.jobs.push(Job::Close(claim, value, reason));
    }

    /// Notes the deadline of a job, and arms the timer for it, or for a look before that.
    fn begin_job(
        &self,
        claim: Claim,
        due_at: Ticks,
        look_at: Ticks,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) {
        let record = &self.slots.get(claim.slot).record;
        record.job_since.store(now, Relaxed);
        record.job_due_at.store(due_at, Relaxed);
        // Release: pairs with the Acquire in `has_job`, which an older deadline of the slot may call
        // for before the next line.
        record.job.store(claim.generation, Release);
        effects.retimed |= self.schedule.lock().arm(claim.slot, look_at);
    }

    /// Serves those who wait for a place, after one became empty.
    fn freed(&self, index: u32, now: Ticks, effects: &mut Effects<T, W>) {
        self.settle(index, now, effects);
        self.dispatch(now, effects);
    }

    /// # Safety
    /// The caller owns the slot in CHECKING by `begin_fill`.
    unsafe fn put(&self, slot: &Slot<T>, value: T, identity: u64) {
        let socket = value.socket();
        if socket >= 0 {
            self.have_sockets.store(1, Relaxed);
        }
        // SAFETY: passed on to the caller.
        unsafe { slot.put(value, identity, socket) };
    }

    fn note_open(&self, slot: &Slot<T>, number: u64, now: Ticks) {
        let record = &slot.record;
        record.past_uses.store(record.borrows(), Relaxed);
        record.uses.store(0, Relaxed);
        record.vetted_at_use.store(0, Relaxed);
        record.latency.store(0, Relaxed);
        record.sampled_from.store(0, Relaxed);
        record.opened_at.store(now, Relaxed);
        record.number.store(number, Relaxed);
        record.released_at.store(now, Relaxed);
        record.proven_at.store(now, Relaxed);
        record.expires_at.store(self.expiry(now), Relaxed);
    }
}
