//! One place for one connection.
//!
//! ```text
//!   EMPTY ──reserve──▶ CONNECTING ──begin_fill──▶ CHECKING ──publish──▶ IDLE
//!     ▲                    │                        ▲  │                │ │
//!     ├──────abandon───────┘            begin_check─┘  │    try_acquire,│ │begin_check, begin_close
//!     │                                                │    grant/accept▼ ▼
//!     └────finish_close──── CLOSING ◀──begin_close─────┴─────────── IN_USE, GRANTED
//! ```
//!
//! Only this file touches `word`; everybody else calls the method that names the edge. Whoever moved
//! the word into a state owns what the state names: the CAS that claims is at once the Acquire that
//! sees the value, and the CAS that gives up is the Release that publishes it.
//!
//! All edges are `SeqCst`, and not only `AcqRel`, for one reason: an edge that makes a place usable
//! (to IDLE, to EMPTY) is followed by a load of the gate, and a waiter's increment of the gate is
//! followed by a scan of the words. In the single order of those four operations one side must see the
//! other, so no wake-up is lost (Dekker). Loom model: `a_release_never_misses_a_waiter`.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::effects::Reason;
use crate::sync::{AtomicU64, Setting, Tally, UnsafeCell};
use crate::word::{Flag, State, Word};

/// The proof of having claimed a slot: a later claim by somebody else has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which slot.
    pub slot: u32,
    /// Which of its owners.
    pub generation: u64,
}

/// What the owner of a slot writes and everybody may read at any time, without order.
#[derive(Debug)]
pub(crate) struct Record {
    /// Who holds the connection: the token that the holder gave.
    pub(crate) holder: Tally,
    /// Tick at which it was known to be held by the owner `held_generation`.
    pub(crate) held_at: AtomicU64,
    /// See `held_at`.
    pub(crate) held_generation: AtomicU64,
    /// Tick at which it was last released or filled.
    pub(crate) released_at: AtomicU64,
    /// Tick of the last sign of life: filled, released or validated.
    pub(crate) proven_at: AtomicU64,
    /// What `uses` was when the connection was last validated or opened.
    pub(crate) vetted_at_use: Tally,
    /// Nanoseconds that its last validation took; 0 before the first.
    pub(crate) latency: Tally,
    /// How often this connection was borrowed.
    pub(crate) uses: AtomicU64,
    /// How often the earlier connections of this slot were borrowed.
    pub(crate) past_uses: Tally,
    /// Nanoseconds at the start of a borrow whose time is sampled; 0 for the others.
    pub(crate) sampled_from: Tally,
    /// Tick at which the connection was opened.
    pub(crate) opened_at: Tally,
    /// Tick after which the connection is too old; `u64::MAX` for never.
    pub(crate) expires_at: AtomicU64,
    /// The generation whose job has a deadline.
    pub(crate) job: AtomicU64,
    /// That deadline.
    pub(crate) job_due_at: AtomicU64,
    /// Why the connection was asked to retire: the number of a reason.
    pub(crate) retire_reason: Tally,
    /// The connection's number in its pool, from 1.
    pub(crate) number: Tally,
    /// Tick at which the last job of the slot began.
    pub(crate) job_since: Tally,
}

impl Record {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            holder: Tally::new(0),
            held_at: zero(),
            held_generation: zero(),
            released_at: zero(),
            proven_at: zero(),
            vetted_at_use: Tally::new(0),
            latency: Tally::new(0),
            uses: zero(),
            past_uses: Tally::new(0),
            sampled_from: Tally::new(0),
            opened_at: Tally::new(0),
            expires_at: zero(),
            job: zero(),
            job_due_at: zero(),
            retire_reason: Tally::new(0),
            number: Tally::new(0),
            job_since: Tally::new(0),
        }
    }
}

impl Record {
    /// Notes that the owner of this generation holds the connection at `now`.
    pub(crate) fn note_held(&self, generation: u64, now: u64) {
        self.held_at.store(now, Relaxed);
        // Release: pairs with the Acquire in `held_since`, so who knows the owner knows its tick.
        self.held_generation.store(generation, Release);
    }

    /// Since when, at the latest, the owner of this generation has held the connection, if anybody
    /// noted it.
    pub(crate) fn held_since(&self, generation: u64) -> Option<u64> {
        let noted = self.held_generation.load(Acquire) == generation;
        noted.then(|| self.held_at.load(Relaxed))
    }

    /// How often any connection of the slot was borrowed.
    pub(crate) fn borrows(&self) -> u64 {
        self.past_uses.load(Relaxed) + self.uses.load(Relaxed)
    }

    /// Takes over what belongs to a connection that moved here. Its uses come along; so that the sum
    /// over all slots stays the same, they are taken from the other slot's.
    pub(crate) fn follow(&self, other: &Self) {
        let uses = other.uses.swap(0, Relaxed);
        self.past_uses.store(self.borrows(), Relaxed);
        self.uses.store(uses, Relaxed);
        self.vetted_at_use.store(other.vetted_at_use.load(Relaxed), Relaxed);
        self.latency.store(other.latency.load(Relaxed), Relaxed);
        self.opened_at.store(other.opened_at.load(Relaxed), Relaxed);
        self.number.store(other.number.load(Relaxed), Relaxed);
        self.expires_at.store(other.expires_at.load(Relaxed), Relaxed);
        self.sampled_from.store(0, Relaxed);
    }
}

/// See the head of this file.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Slot<T> {
    word: AtomicU64,
    /// The address by which a release finds its slot; 0 while there is no connection.
    identity: AtomicU64,
    /// The connection's socket, read by those who look before they claim (vital.rs); negative for none.
    socket: Setting,
    value: UnsafeCell<Option<T>>,
    pub(crate) record: Record,
}

// SAFETY: `value` is the only part that is not `Sync` by itself. It is read and written only by the
// one owner that the word names (or, by `peek`, while nobody can be writing), so sharing a slot is
// sending `T` from owner to owner.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(Word::EMPTY.0),
            identity: AtomicU64::new(0),
            socket: Setting::new(-1),
            value: UnsafeCell::new(None),
            record: Record::new(),
        }
    }

    /// The word at this moment; the next may be another.
    #[inline(always)]
    pub(crate) fn word(&self) -> Word {
        // SeqCst: the scan of a new waiter, see the head of this file.
        Word(self.word.load(SeqCst))
    }

    #[inline(always)]
    pub(crate) fn identity(&self) -> u64 {
        // Relaxed: who looks for its own connection wrote it or got the connection from who did.
        self.identity.load(Relaxed)
    }

    #[inline(always)]
    pub(crate) fn socket(&self) -> i32 {
        // Relaxed: after a look at the word, which was published after the socket.
        self.socket.load(Relaxed)
    }

    #[inline(always)]
    fn swap(&self, from: Word, to: Word) -> bool {
        self.word.compare_exchange(from.0, to.0, SeqCst, Relaxed).is_ok()
    }

    /// Repeats `edge` until it was done from the word as it is, or refuses.
    fn swap_with(&self, edge: impl Fn(Word) -> Option<Word>) -> Option<Word> {
        let mut word = self.word();
        loop {
            let next = edge(word)?;
            if self.swap(word, next) {
                return Some(next);
            }
            word = self.word();
        }
    }

    /// As `swap_with`, for the owner `generation` while it is in `from`.
    fn as_owner(&self, generation: u64, from: State, edge: impl Fn(Word) -> Word) -> Option<Word> {
        self.swap_with(|word| {
            (word.generation() == generation && word.state() == from).then(|| edge(word))
        })
    }

    /// T1. Reserves the empty place for a connection to be opened.
    pub(crate) fn reserve(&self) -> Option<u64> {
        self.swap_with(|word| {
            (word.state() == State::Empty).then(|| word.granted(State::Connecting))
        })
        .map(Word::generation)
    }

    /// T2, first half. Takes the place from the timer, which could otherwise abandon it while the
    /// value is being written. Refuses when it already did,
    /// and when the connection was asked to retire while it was being opened.
    pub(crate) fn begin_fill(&self, generation: u64) -> Option<u64> {
        self.swap_with(|word| {
            let owned = word.generation() == generation && word.state() == State::Connecting;
            (owned && !word.has(Flag::Retire)).then(|| word.granted(State::Checking))
        })
        .map(Word::generation)
    }

    /// T2, second half, between `begin_fill` and `publish`.
    ///
    /// # Safety
    /// The caller owns the slot in CHECKING by `begin_fill`.
    pub(crate) unsafe fn put(&self, value: T, identity: u64, socket: i32) {
        // SAFETY: the caller owns the slot, so nobody else reads or writes the cell.
        self.value.with_mut(|cell| unsafe { *cell = Some(value) });
        self.identity.store(identity, Relaxed);
        self.socket.store(socket, Relaxed);
    }

    /// T3. Gives up a place for which no connection could be opened, or not in time.
    pub(crate) fn abandon(&self, generation: u64) -> bool {
        self.as_owner(generation, State::Connecting, |word| word.granted(State::Empty)).is_some()
    }

    /// T4. Claims the connection for a caller, from the very word that the caller looked at.
    #[inline(always)]
    pub(crate) fn try_acquire(&self, seen: Word) -> Option<u64> {
        let taken = seen.granted(State::InUse);
        self.swap(seen, taken).then(|| taken.generation())
    }

    /// T4. Claims the connection for the caller that it belongs to.
    #[inline(always)]
    pub(crate) fn reclaim(&self, seen: Word) -> Option<u64> {
        let taken = seen.lent(State::InUse);
        self.swap(seen, taken).then(|| taken.generation())
    }

    /// T5. Claims the connection for a waiter.
    pub(crate) fn grant(&self, seen: Word) -> Option<u64> {
        let granted = seen.granted(State::Granted);
        self.swap(seen, granted).then(|| granted.generation())
    }

    /// T6. The waiter runs and holds what it was granted.
    pub(crate) fn accept(&self, generation: u64) -> bool {
        self.as_owner(generation, State::Granted, |word| word.moved(State::InUse)).is_some()
    }

    /// T8, from the very word that the holder looked at: fails when a flag came in between.
    #[inline(always)]
    pub(crate) fn release(&self, seen: Word) -> bool {
        self.swap(seen, seen.rested().moved(State::Idle))
    }

    /// T9. The holder gives the connection up for a reset, so that a second release finds it gone.
    #[inline(always)]
    pub(crate) fn begin_reset(&self, seen: Word) -> bool {
        self.swap(seen, seen.moved(State::Checking))
    }

    /// T11. Takes the idle connection for a validation.
    pub(crate) fn begin_check(&self, seen: Word) -> Option<u64> {
        let checking = seen.lent(State::Checking);
        self.swap(seen, checking).then(|| checking.generation())
    }

    /// T2, T7 and T12. The owner in `from` makes the connection idle, unless it was asked to retire.
    #[inline]
    pub(crate) fn publish(&self, generation: u64, from: State) -> bool {
        self.swap_with(|word| {
            let owned = word.generation() == generation && word.state() == from;
            (owned && !word.is_spent()).then(|| word.rested().moved(State::Idle))
        })
        .is_some()
    }

    /// T10, T12. The owner in `from` closes the connection: it gets the value and a claim for the
    /// time of closing.
    pub(crate) fn begin_close(&self, generation: u64, from: State) -> Option<(u64, Option<T>)> {
        let closing = self.as_owner(generation, from, |word| word.granted(State::Closing))?;
        Some((closing.generation(), self.take()))
    }

    /// T10, T12, T13, from the very word that the caller looked at: nobody's connection, or its own
    /// unless a flag came in between.
    pub(crate) fn close_seen(&self, seen: Word) -> Option<(u64, Option<T>)> {
        let closing = seen.granted(State::Closing);
        self.swap(seen, closing).then(|| (closing.generation(), self.take()))
    }

    /// T14. The connection is closed, or given up on; the place is empty again.
    pub(crate) fn finish_close(&self, generation: u64) -> bool {
        self.as_owner(generation, State::Closing, |word| word.granted(State::Empty)).is_some()
    }

    /// T15. Flags the slot while somebody owns the connection; `generation` limits it to one owner.
    pub(crate) fn flag(&self, flag: Flag, generation: Option<u64>) -> bool {
        self.swap_with(|word| {
            let owned = !matches!(word.state(), State::Empty | State::Idle | State::Closing);
            let meant = generation.is_none_or(|generation| generation == word.generation());
            (owned && meant && !word.has(flag)).then(|| word.flagged(flag))
        })
        .is_some()
    }

    /// Asks whoever owns the connection to close it afterwards (T15). False when nobody owns it, and
    /// when its owner was asked before.
    pub(crate) fn ask_to_retire(&self, reason: Reason, generation: Option<u64>) -> bool {
        // Before the flag, whose CAS publishes it.
        self.record.retire_reason.store(reason as u64, Relaxed);
        self.flag(Flag::Retire, generation)
    }

    /// T18. The owner in `from` gives the connection to whoever validates it, unless it is to be closed.
    pub(crate) fn begin_vet(&self, generation: u64, from: State) -> Option<u64> {
        self.swap_with(|word| {
            let owned = word.generation() == generation && word.state() == from;
            (owned && !word.has(Flag::Retire)).then(|| word.lent(State::Checking))
        })
        .map(Word::generation)
    }

    /// Why a connection with a flag was flagged.
    pub(crate) fn retire_reason(&self) -> Reason {
        let word = self.word();
        if word.has(Flag::Vet) && !word.has(Flag::Retire) {
            return Reason::Suspect;
        }
        let number = self.record.retire_reason.load(Relaxed);
        let reason = usize::try_from(number).ok().and_then(|number| Reason::ALL.get(number));
        reason.copied().unwrap_or(Reason::Evicted)
    }

    /// T16. The holder keeps the connection for good; the pool forgets it.
    pub(crate) fn detach(&self, generation: u64) -> Option<T> {
        // By way of CLOSING, since the cell must be empty before anybody may reserve the place.
        let (closing, value) = self.begin_close(generation, State::InUse)?;
        self.finish_close(closing);
        value
    }

    /// Empties the cell, after the word moved to CLOSING.
    fn take(&self) -> Option<T> {
        self.identity.store(0, Relaxed);
        // SAFETY: the caller's own CAS moved the slot to CLOSING, so it alone owns the cell.
        self.value.with_mut(|cell| unsafe { (*cell).take() })
    }

    /// The connection, for its owner.
    ///
    /// # Safety
    /// The caller owns the slot (`IN_USE`, GRANTED or CHECKING) for as long as it uses the reference.
    #[inline(always)]
    pub(crate) unsafe fn value(&self) -> Option<&T> {
        // SAFETY: the owner named by the word is the caller, so nobody writes the cell meanwhile.
        self.value.with(|cell| unsafe { (*cell).as_ref() })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
