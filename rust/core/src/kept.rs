//! Connections that belong to one caller, also while that caller does not use them.
//!
//! Such a connection has the flag KEPT. Idle, it is in everything a connection like any other: it
//! expires, is validated, evicted, closed with the pool; only that nobody else can claim it. Its caller
//! finds it by its identity, which stays good for as long as the caller has a reference.

use crate::core::{Core, Held};
use crate::effects::{Effects, Reason};
use crate::limits::Ticks;
use crate::slot::Claim;
use crate::vital::{Pulse, Vital};
use crate::waiter::Waker;
use crate::word::{Flag, State, Word};

impl<T: Vital, W: Waker> Core<T, W> {
    /// Lets the connection belong to its holder from now on. False when somebody gave it back meanwhile.
    pub fn keep(&self, held: Held) -> bool {
        let claim = held.claim();
        self.slots.get(claim.slot).flag(Flag::Kept, Some(claim.generation))
    }

    /// Claims a kept connection for the caller that it belongs to; `habit` is where it was last.
    ///
    /// `None` when it is closed or dead, is being validated or has to be, and when the pool is closed.
    #[inline(always)]
    pub fn reclaim(&self, identity: u64, habit: u32, now: Ticks) -> Option<Claim> {
        let (index, word) = self.kept(identity, habit)?;
        let slot = self.slots.get(index);
        if !word.is_reclaimable() || self.is_unproven(slot, now) || self.is_closed() {
            return None;
        }
        Self::is_lively(slot).ok()?;
        let generation = slot.reclaim(word)?;
        Some(Claim { slot: index, generation })
    }

    /// Has a kept connection validated, or closed, that can't be reclaimed before.
    pub fn prove(&self, identity: u64, habit: u32, now: Ticks, effects: &mut Effects<T, W>) {
        let Some((index, word)) = self.kept(identity, habit) else { return };
        if !word.is_reclaimable() {
            return;
        }
        let slot = self.slots.get(index);
        match Self::pulse(slot, now) {
            Pulse::Dead => {
                self.close_idle(index, word, Reason::Dead, now, effects);
                self.suspect_all(now, effects);
            }
            Pulse::Alive if !self.is_unproven(slot, now) => {}
            Pulse::Alive | Pulse::Doubtful => drop(self.check(index, word, now, effects)),
        }
    }

    /// Whether a kept connection is being validated right now.
    pub fn is_proving(&self, identity: u64, habit: u32) -> bool {
        self.kept(identity, habit).is_some_and(|(_, word)| word.state() == State::Checking)
    }

    /// Closes a kept connection that its caller has no more use for: at once when it is idle, on its
    /// return when it is in use. False when the pool does not have it any more.
    pub fn forsake(
        &self,
        identity: u64,
        habit: u32,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        // Again when it went from one state to another between the two looks.
        while let Some((index, word)) = self.kept(identity, habit) {
            let slot = self.slots.get(index);
            if word.state() == State::Idle {
                if self.close_idle(index, word, Reason::Discarded, now, effects) {
                    return true;
                }
            } else if slot.ask_to_retire(Reason::Discarded, Some(word.generation()))
                || slot.word().has(Flag::Retire)
            {
                return true;
            }
        }
        false
    }

    #[inline(always)]
    fn kept(&self, identity: u64, habit: u32) -> Option<(u32, Word)> {
        let index = self.find(identity, habit)?;
        let slot = self.slots.get(index);
        let word = slot.word();
        // The identity after the word: if it is still the same, the word was this connection's.
        (word.has(Flag::Kept) && slot.identity() == identity).then_some((index, word))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
