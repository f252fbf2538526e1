//! What the owner of a pool may ask for: resize, evict, suspend, resume, close; and what it may see.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::core::{gate, Core};
use crate::effects::{Effects, Reason};
use crate::limits::Ticks;
use crate::schedule::Alarm;
use crate::slot::Slot;
use crate::slots::MAX_SIZE;
use crate::vital::Vital;
use crate::waiter::Waker;
use crate::wheel::TimerId;
use crate::word::{Flag, State, Word};

/// One slot as it was when it was looked at.
#[derive(Clone, Debug)]
pub struct SlotView {
    /// Its index.
    pub slot: u32,
    /// Where it stood.
    pub state: State,
    /// Which owner it had.
    pub generation: u64,
    /// Who holds it, or held it last.
    pub holder: u64,
    /// Whether it belongs to the holder also while that does not use it.
    pub kept: bool,
    /// Tick since when, at the latest, it is held, if it is.
    pub held_since: Option<Ticks>,
    /// Tick of the last release.
    pub released_at: Ticks,
    /// Tick at which the connection was opened; while that is not done yet, at which it began.
    pub opened_at: Ticks,
    /// The connection's number in its pool, from 1; 0 while it is being opened.
    pub number: u64,
    /// Borrows of the connection.
    pub uses: u64,
    /// Nanoseconds that its last validation took.
    pub latency: Option<u64>,
}

impl<T: Vital, W: Waker> Core<T, W> {
    /// Sets an alarm, which `advance` reports when its time has come.
    pub fn set_alarm(&self, when: Ticks, effects: &mut Effects<T, W>) -> (Alarm, TimerId) {
        let (alarm, timer, retimed) = self.schedule.lock().set_alarm(when);
        effects.retimed |= retimed;
        (alarm, timer)
    }

    /// Takes an alarm back. It may have gone off already.
    pub fn cancel_alarm(&self, timer: TimerId) {
        self.schedule.lock().cancel_alarm(timer);
    }

    /// Changes the sizes while the pool is in use. What is above the new limit is closed when it is
    /// idle, and on its return when it is held.
    ///
    /// # Panics
    /// When `max_size` is over [`MAX_SIZE`]; the caller checks its input.
    pub fn resize(&self, min_size: u32, max_size: u32, now: Ticks, effects: &mut Effects<T, W>) {
        assert!(max_size <= MAX_SIZE, "max_size {max_size} is over {MAX_SIZE}");
        self.slots.grow(max_size);
        self.set_sizes(min_size, max_size);
        self.sweep(Reason::Shrunk, |index| index >= max_size, now, effects);
        self.dispatch(now, effects);
    }

    /// Under the queue's mutex, as `shrink`: it could otherwise take the flag down for the limit before.
    fn set_sizes(&self, min_size: u32, max_size: u32) {
        let _queue = self.queue.lock();
        self.min_size.store(min_size, SeqCst);
        self.max_size.store(max_size, SeqCst);
        self.habit_limit.store(max_size, Relaxed);
        // Until `shrink` finds that no connection is above the limit any more. SeqCst: before the sweep;
        // pairs with `attention`, so that a return during the sweep is seen by one of the two.
        self.gate.fetch_or(gate::SHRINKING, SeqCst);
    }

    /// Replaces all connections: closes the idle ones now and the others on their return.
    pub fn evict(&self, now: Ticks, effects: &mut Effects<T, W>) {
        // Under the mutex, no connection moves to a place that was looked at already.
        let queue = self.queue.lock();
        for (index, slot) in self.slots.iter() {
            // Again when the connection went from one hand to another between the two looks.
            while !self.evict_one(index, slot, now, effects) {}
        }
        drop(queue);
        self.dispatch(now, effects);
    }

    fn evict_one(
        &self,
        index: u32,
        slot: &Slot<T>,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) -> bool {
        let word = slot.word();
        match word.state() {
            State::Empty | State::Closing => true,
            State::Idle => self.close_idle(index, word, Reason::Evicted, now, effects),
            _ => {
                slot.ask_to_retire(Reason::Evicted, Some(word.generation()));
                slot.word().has(Flag::Retire)
            }
        }
    }

    /// Keeps all callers waiting from now on.
    pub fn suspend(&self) {
        self.gate.fetch_or(gate::SUSPENDED, SeqCst);
    }

    /// Serves callers again.
    pub fn resume(&self, now: Ticks, effects: &mut Effects<T, W>) {
        self.gate.fetch_and(!gate::SUSPENDED, SeqCst);
        self.dispatch(now, effects);
    }

    /// Whether `suspend` was called last.
    pub fn is_suspended(&self) -> bool {
        self.gate.load(SeqCst) & gate::SUSPENDED != 0
    }

    /// Closes the pool: turns all waiters away, closes what is idle, gives up what is being opened.
    /// Connections in use are closed on their return. False when it was closed before.
    pub fn shut(&self, now: Ticks, effects: &mut Effects<T, W>) -> bool {
        // SeqCst: before the sweep; pairs with `attention`, so that a return during the sweep is
        // closed by one of the two.
        let before = self.gate.fetch_or(gate::CLOSED, SeqCst);
        self.turn_away(now, effects);
        for (index, slot) in self.slots.iter() {
            let word = slot.word();
            if word.state() == State::Connecting {
                let claim = crate::Claim { slot: index, generation: word.generation() };
                self.abandon(claim, now, effects);
            }
        }
        self.sweep(Reason::Closed, |_| true, now, effects);
        before & gate::CLOSED == 0
    }

    /// Takes the connections out of the hands that hold them: for a pool that nobody can reach.
    pub fn retire_all_held(&self, effects: &mut Effects<T, W>) {
        for (index, slot) in self.slots.iter() {
            let word = slot.word();
            if matches!(word.state(), State::InUse | State::Granted | State::Checking) {
                let claim = crate::Claim { slot: index, generation: word.generation() };
                self.retire(claim, word.state(), Reason::Leaked, 0, effects);
            }
        }
    }

    /// Opens connections up to `min_size`, as the pool does by itself after it was started.
    pub fn warm_up(&self, now: Ticks, effects: &mut Effects<T, W>) {
        self.dispatch(now, effects);
    }

    /// Number of slots, of all that exist, in a state that `wanted` names.
    pub fn count(&self, wanted: impl Fn(State) -> bool) -> usize {
        self.count_words(|word| wanted(word.state()))
    }

    pub(crate) fn count_words(&self, wanted: impl Fn(Word) -> bool) -> usize {
        // A slot above the limit that is not empty counts, and an empty one does not: nobody can use it.
        let max_size = self.max_size.load(Relaxed);
        let counts = |(index, slot): &(u32, &Slot<T>)| {
            let word = slot.word();
            wanted(word) && (*index < max_size || word.state() != State::Empty)
        };
        self.slots.iter().filter(counts).count()
    }

    /// Number of places that are not empty.
    pub(crate) fn open(&self) -> usize {
        self.count(|state| state != State::Empty)
    }

    /// The present limits of the size: least and most.
    pub fn sizes(&self) -> (u32, u32) {
        (self.min_size.load(Relaxed), self.max_size.load(Relaxed))
    }

    /// All slots that are not empty.
    pub fn views(&self) -> Vec<SlotView> {
        let views = self.slots.iter().map(|(index, slot)| view(index, slot));
        views.filter(|view| view.state != State::Empty).collect()
    }

    /// Borrows of all slots so far.
    pub fn borrows(&self) -> u64 {
        self.slots.iter().map(|(_, slot)| slot.record.borrows()).sum()
    }

    /// Closes the idle connections of the slots that `chosen` names.
    pub(crate) fn sweep(
        &self,
        reason: Reason,
        chosen: impl Fn(u32) -> bool,
        now: Ticks,
        effects: &mut Effects<T, W>,
    ) {
        for (index, slot) in self.slots.iter().filter(|(index, _)| chosen(*index)) {
            let word = slot.word();
            if word.state() == State::Idle {
                self.close_idle(index, word, reason, now, effects);
            }
        }
    }

    /// The slots that may be used.
    pub(crate) fn within_limit(&self) -> impl Iterator<Item = (u32, &Slot<T>)> {
        let max_size = self.max_size.load(Relaxed);
        self.slots.iter().take_while(move |(index, _)| *index < max_size)
    }

    /// Calls `visit` with the connection of every slot, whoever owns it.
    ///
    /// # Safety
    /// No slot changes hands meanwhile. The garbage collector has that: the interpreter's threads are
    /// stopped, and no slot changes hands outside of the interpreter.
    pub unsafe fn visit_values(&self, mut visit: impl FnMut(&T)) {
        for (_, slot) in self.slots.iter() {
            // SAFETY: passed on to the caller.
            if let Some(value) = unsafe { slot.value() } {
                visit(value);
            }
        }
    }
}

fn view<T>(index: u32, slot: &Slot<T>) -> SlotView {
    let word = slot.word();
    let record = &slot.record;
    let opening = word.state() == State::Connecting;
    SlotView {
        slot: index,
        state: word.state(),
        generation: word.generation(),
        holder: record.holder.load(Relaxed),
        kept: word.has(Flag::Kept),
        held_since: record.held_since(word.generation()).filter(|_| word.is_held()),
        released_at: record.released_at.load(Relaxed),
        opened_at: if opening { &record.job_since } else { &record.opened_at }.load(Relaxed),
        number: if opening { 0 } else { record.number.load(Relaxed) },
        uses: record.uses.load(Relaxed),
        latency: Some(record.latency.load(Relaxed)).filter(|nanos| *nanos != 0),
    }
}
