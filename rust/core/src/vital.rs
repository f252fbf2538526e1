//! Whether connections are alive: what can be known without asking the server, and who is asked.
//!
//! A socket that the server closed says so to whoever polls it, which takes no round trip. So an idle
//! connection with a socket has its pulse felt before anybody gets it. The order makes that safe without
//! owning the slot: look at the word, feel the pulse, then claim from the very word that was looked at.
//! Had the slot another connection by then, with another socket or the same number, its word would have
//! another generation, and the claim would fail.

use std::sync::atomic::Ordering::Relaxed;

use crate::core::Core;
use crate::effects::{Effects, Reason};
use crate::limits::{Ticks, NEVER};
use crate::slot::Slot;
use crate::upkeep::has_job;
use crate::waiter::Waker;
use crate::word::{Flag, State, Word};

/// How long a validation is good for, as long as nobody borrows the connection: it must reach whoever
/// waits for it, also when somebody else looks at the slot first, at a later tick.
const VETTED_FOR: Ticks = 1_000;

/// What a look at a socket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// Nothing speaks against it.
    Alive,
    /// There is something to read, though nobody asked: a farewell, or a notification. Only the server
    /// knows.
    Doubtful,
    /// The other side hung up.
    Dead,
}

/// What has a pulse.
pub trait Vital {
    /// The socket to feel the pulse at; negative when there is none. Asked once, when a place is filled.
    fn socket(&self) -> i32;

    /// Feels the pulse, without blocking. The socket may be closed, or somebody else's, by now; what is
    /// said of such a one is not used.
    fn pulse(socket: i32) -> Pulse;
}

/// A connection was looked at that nobody should get as it is.
pub(crate) struct Lifeless;

impl<T: Vital, W: Waker> Core<T, W> {
    /// Sets how long a connection may go without a sign of life before it is validated ([`NEVER`]: no
    /// limit; 0: before each borrow), and whether those without a socket can be validated at all.
    ///
    /// Meant for the time before the first connection is there, when its driver becomes known.
    pub fn set_validation(&self, interval: Ticks, possible: bool) {
        self.validation_interval.store(interval, Relaxed);
        self.can_validate.store(u64::from(possible), Relaxed);
    }

    /// What `set_validation` set, or the limits that the pool began with.
    pub fn validation(&self) -> (Ticks, bool) {
        (self.validation_interval.load(Relaxed), self.can_validate.load(Relaxed) != 0)
    }

    /// Whether the connection has to be validated before it is given to anybody.
    #[inline(always)]
    pub(crate) fn is_unproven(&self, slot: &Slot<T>, now: Ticks) -> bool {
        let interval = self.validation_interval.load(Relaxed);
        interval != NEVER && Self::lacks_proof(slot, interval, now)
    }

    #[inline]
    fn lacks_proof(slot: &Slot<T>, interval: Ticks, now: Ticks) -> bool {
        let silent = now.saturating_sub(slot.record.proven_at.load(Relaxed));
        (silent > interval || interval == 0) && !is_vetted(slot, now)
    }

    /// What a caller without a lock may make of the connection.
    #[inline(always)]
    pub(crate) fn is_lively(slot: &Slot<T>) -> Result<(), Lifeless> {
        let socket = slot.socket();
        if socket < 0 || T::pulse(socket) == Pulse::Alive {
            Ok(())
        } else {
            Err(Lifeless)
        }
    }

    /// The pulse of a connection, with the benefit of the doubt after a validation: a server may have
    /// something to say all the time, and who was validated because of that must come free.
    pub(crate) fn pulse(slot: &Slot<T>, now: Ticks) -> Pulse {
        let socket = slot.socket();
        if socket < 0 {
            return Pulse::Alive;
        }
        match T::pulse(socket) {
            Pulse::Doubtful if is_vetted(slot, now) => Pulse::Alive,
            pulse => pulse,
        }
    }

    /// Looks at all connections, since one was found dead and the others may be of its time: closes the
    /// dead that are idle, and has those validated of which a look does not tell, now or when their
    /// holder gives them back.
    pub fn suspect_all(&self, now: Ticks, effects: &mut Effects<T, W>) {
        let can_validate = self.can_validate.load(Relaxed) != 0;
        if !can_validate && self.have_sockets.load(Relaxed) == 0 {
            return;
        }
        for (index, slot) in self.slots.iter() {
            // Again when the connection went from one hand to another between the two looks.
            while !self.suspect_one(index, slot, can_validate, now, effects) {}
        }
    }

    /// Does that for one. False when the slot changed meanwhile.
    fn suspect_one(
        &self,
        index: u32,
        slot: &Slot<T>,
        can_validate: bool,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        let word = slot.word();
        let is_mute = slot.socket() < 0;
        if can_validate && is_mute && is_with_holder(slot, word) {
            let flagged = slot.flag(Flag::Vet, Some(word.generation()));
            return flagged || slot.word().has(Flag::Vet);
        }
        if !word.is_claimable() {
            return true;
        }
        match Self::pulse(slot, now) {
            Pulse::Dead => self.close_idle(index, word, Reason::Dead, now, effects),
            Pulse::Alive if !(is_mute && can_validate) => true,
            Pulse::Doubtful | Pulse::Alive => self.check(index, word, now, effects),
        }
    }

    /// Notes how long a validation took, for its connection and for all.
    pub fn note_check(&self, claim: crate::Claim, nanos: u64) {
        if self.is_current(claim) {
            self.stats.check_time.record(nanos);
            self.slots.get(claim.slot).record.latency.store(nanos, Relaxed);
        }
    }
}

/// Whether somebody holds the connection, or is about to give it back and resets it.
fn is_with_holder<T>(slot: &Slot<T>, word: Word) -> bool {
    word.is_held() || (word.state() == State::Checking && !has_job(slot, word))
}

/// Whether nobody has borrowed the connection since it was opened or validated, a moment ago.
fn is_vetted<T>(slot: &Slot<T>, now: Ticks) -> bool {
    let record = &slot.record;
    record.uses.load(Relaxed) == record.vetted_at_use.load(Relaxed)
        && now.saturating_sub(record.proven_at.load(Relaxed)) <= VETTED_FOR
}
