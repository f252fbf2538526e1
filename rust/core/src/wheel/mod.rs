//! Deadlines, kept so that to set one, to drop one and to wait for the next cost next to nothing.
//!
//! ```text
//! level 0   64 slots of 1 tick          with ticks of 1 ms
//! level 1   64 slots of 64 ticks                     64 ms
//! level 2   64 slots of 64² ticks                     4 s
//!   …                                                 …
//! level 5   64 slots of 64⁵ ticks                    12 days, 2 years around
//! ```
//!
//! A timer stands in a slot, a doubly linked list of indices into a slab. When the present enters a
//! slot of level 0, its timers fire; when it enters one of a higher level, its timers *cascade*:
//! each is placed anew, on a lower level. That makes at most six moves in a timer's life, and no
//! search ever. This is scheme 7 of George Varghese and Tony Lauck, "Hashed and Hierarchical Timing
//! Wheels: Data Structures for the Efficient Implementation of a Timer Facility", SOSP 1987.
//!
//! Theirs moves a whole slot at once; a hundred thousand timers would hold the owner's lock for
//! many milliseconds. Here [`Wheel::advance`] takes a budget. A slot that it could not finish stays
//! where it is, as the current one of its level, and the present does not move on before that slot
//! is empty. So there is no other state: a current slot with timers in it *is* the work left over.
//!
//! The wheel has no clock, no lock and no thread. Its owner brings the time and asks for the next.

mod level;
mod links;
#[cfg(test)]
mod tests;

use self::level::{Level, Occupied, Place, LEVELS};
use self::links::{Before, Links, Prev};
use crate::slab::{Chunks, Key, Slab, NIL};

/// How many timers of one slot [`Wheel::next_expiration`] looks at.
const EXACT: usize = 128;

/// The name of a timer, valid until it fires or is cancelled, and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerId(pub(crate) Key);

/// How far [`Wheel::advance`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "with more to do, timers that are due have not fired yet"]
pub struct Progress {
    /// Whether the budget ran out first: call again, with the same time or a later one.
    pub more: bool,
}

/// When a timer fires, and what its owner gets back then.
#[derive(Debug, Clone, Copy, Default)]
struct Deadline {
    when: u64,
    payload: u64,
}

/// A hierarchical timer wheel: six levels of 64 slots, deadlines in ticks.
///
/// A tick is whatever the owner says; in this crate it is a millisecond. Every timer carries a
/// payload of its owner's, which comes back when it fires.
///
/// ```
/// use millpond_core::Wheel;
///
/// let mut wheel = Wheel::new(0);
/// wheel.insert(250, 7);
/// assert_eq!(wheel.next_expiration(), Some(250));
///
/// let mut fired = Vec::new();
/// let progress = wheel.advance(300, 1000, &mut |_, payload| fired.push(payload));
/// assert_eq!(fired, [7]);
/// assert!(!progress.more);
/// ```
pub struct Wheel {
    /// The present. It never lies after the start of a slot that isn't empty, except the current
    /// ones.
    elapsed: u64,
    levels: [Level; LEVELS],
    timers: Slab<Links>,
    /// By the index of the timer; where there is none, what the last one left behind.
    deadlines: Chunks<Deadline>,
}

impl std::fmt::Debug for Wheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wheel")
            .field("elapsed", &self.elapsed)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Wheel {
    /// Creates an empty wheel whose present is the tick `now`.
    #[must_use]
    pub const fn new(now: u64) -> Self {
        Self {
            elapsed: now,
            levels: [const { Level::new() }; LEVELS],
            timers: Slab::new(),
            deadlines: Chunks::new(),
        }
    }

    /// Returns how many timers have neither fired nor been cancelled.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.timers.len()
    }

    /// Returns whether there is no timer.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    /// Sets a timer for the tick `when`.
    ///
    /// Every tick is a valid deadline: one in the past fires at the next
    /// [`advance`](Self::advance), and one beyond the two years that the wheel can see is kept
    /// until its time comes.
    ///
    /// # Panics
    ///
    /// Panics when there are 2^31 timers already.
    #[inline]
    pub fn insert(&mut self, when: u64, payload: u64) -> TimerId {
        let (place, links) = self.place(when);
        let key = self.timers.insert(links);
        if key.index >= self.deadlines.len() {
            self.deadlines.grow(|_| Deadline::default());
        }
        self.deadlines[key.index] = Deadline { when, payload };
        self.lead(place, key.index, links.next);
        TimerId(key)
    }

    /// Drops a timer. Returns `false` when it has fired or was cancelled before.
    #[inline]
    pub fn cancel(&mut self, id: TimerId) -> bool {
        let Some(links) = self.timers.remove(id.0) else {
            return false;
        };
        self.unlink(links);
        true
    }

    /// Sets a timer to another tick; its name and payload stay. Returns `false` when it has fired
    /// or was cancelled before.
    #[inline]
    pub fn reschedule(&mut self, id: TimerId, when: u64) -> bool {
        let Some(&links) = self.timers.get(id.0) else {
            return false;
        };
        self.deadlines[id.0.index].when = when;
        self.unlink(links);
        self.link(id.0.index, when);
        true
    }

    /// Moves the present to the tick `now` and calls `fire` for each timer that is due.
    ///
    /// No timer fires before its tick. They fire in the order of their ticks, but in any order
    /// within one. Time does not go back: a `now` before an earlier one counts as that one.
    ///
    /// At most `budget` timers are touched, which bounds the time that this takes: touching one, to
    /// fire it or to move it to a lower level, takes a tenth of a microsecond, or two when nothing
    /// is in the processor's caches. With a budget of 0 nothing happens.
    #[inline]
    pub fn advance(
        &mut self,
        now: u64,
        budget: usize,
        fire: &mut impl FnMut(TimerId, u64),
    ) -> Progress {
        let now = now.max(self.elapsed);
        let mut left = budget;
        while let Some(Occupied { place, start }) = self.first() {
            if start > now {
                break;
            }
            self.elapsed = self.elapsed.max(start);
            loop {
                let head = self.levels[usize::from(place.level)].head(place.slot);
                if head == NIL {
                    break;
                }
                if left == 0 {
                    return Progress { more: true };
                }
                left -= 1;
                self.touch(head, fire);
            }
        }
        self.elapsed = now;
        Progress { more: false }
    }

    /// Returns the tick at which to call [`advance`](Self::advance) next, or `None` without timers.
    ///
    /// It is never later than the earliest deadline; one in the past counts as now. It *is* the
    /// earliest deadline, except in two cases, in which a wake-up may do nothing but a cascade.
    /// With more than 128 timers in the slot of the earliest deadline, it may be the start of that
    /// slot: at most five idle wake-ups before more than 128 deadlines. With a timer that was
    /// beyond the horizon when it was set, it may be when that timer has to be placed again, about
    /// once in two years. While `advance` has more to do, it is the present.
    ///
    /// It looks at up to 128 timers, so ask once after an `advance`, not after each `insert`: what
    /// an insertion changes is clear from its own deadline.
    #[must_use]
    pub fn next_expiration(&self) -> Option<u64> {
        let slot = self.first()?;
        if slot.start <= self.elapsed {
            return Some(self.elapsed);
        }
        // Timers on a higher level are later than all of these: this one has the earliest deadline,
        // or it holds clamped timers, and then a new one in a later slot may come before them.
        let earliest = self.earliest_in(slot.place).unwrap_or(slot.start);
        Some(earliest.min(slot.last()))
    }

    /// Returns the earliest deadline in a slot that isn't empty, unless that takes long to find.
    fn earliest_in(&self, place: Place) -> Option<u64> {
        let mut earliest = u64::MAX;
        let mut index = self.levels[usize::from(place.level)].head(place.slot);
        for _ in 0..EXACT {
            if index == NIL {
                return Some(earliest);
            }
            earliest = earliest.min(self.deadlines[index].when);
            index = self.timers.at(index).next;
        }
        (index == NIL).then_some(earliest)
    }

    /// Returns the slot with the earliest start among those that aren't empty.
    #[inline]
    fn first(&self) -> Option<Occupied> {
        let levels = (0..).zip(&self.levels);
        levels
            .filter_map(|(number, level)| level.first(number, self.elapsed))
            .min_by_key(|slot| slot.start)
    }

    /// Takes the first timer of a slot whose time has come: fires it, or moves it to a lower level.
    #[inline]
    fn touch(&mut self, index: u32, fire: &mut impl FnMut(TimerId, u64)) {
        let Deadline { when, payload } = self.deadlines[index];
        self.unlink(*self.timers.at(index));
        if when > self.elapsed {
            self.link(index, when);
            return;
        }
        let key = self.timers.key_at(index);
        self.timers.remove(key);
        // Last, so that a panic in it leaves the wheel whole.
        fire(TimerId(key), payload);
    }

    /// Returns where a deadline belongs, and the links of a timer at the head of that slot.
    #[inline]
    fn place(&self, when: u64) -> (Place, Links) {
        let place = Place::of(when, self.elapsed);
        let prev = Prev::place(place);
        let next = self.levels[usize::from(place.level)].head(place.slot);
        (place, Links { prev, next })
    }

    /// Puts a timer that is in no list where its deadline belongs.
    #[inline]
    fn link(&mut self, index: u32, when: u64) {
        let (place, links) = self.place(when);
        *self.timers.at_mut(index) = links;
        self.lead(place, index, links.next);
    }

    /// Makes a timer the first one of a slot, before the one that was.
    #[inline]
    fn lead(&mut self, place: Place, index: u32, next: u32) {
        self.levels[usize::from(place.level)].set_head(place.slot, index);
        if next != NIL {
            self.timers.at_mut(next).prev = Prev::timer(index);
        }
    }

    /// Joins what stood before a timer and what stood after it.
    #[inline]
    fn unlink(&mut self, Links { prev, next }: Links) {
        match prev.unpack() {
            Before::Timer(index) => self.timers.at_mut(index).next = next,
            Before::Place(Place { level, slot }) => {
                self.levels[usize::from(level)].set_head(slot, next);
            }
        }
        if next != NIL {
            self.timers.at_mut(next).prev = prev;
        }
    }
}
