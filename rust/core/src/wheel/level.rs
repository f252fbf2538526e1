//! Where a deadline belongs, and one level of the wheel.
//!
//! Written in base 64, the lowest six digits of a tick are its slots, one digit for each level. A
//! timer stands on the level of the highest digit in which its deadline differs from the present,
//! because all that the present must do to reach it there is to count that digit up:
//!
//! ```text
//! present    0  0  7 12 40  3
//! deadline   0  0  7 15 22 63     level 2, slot 15: until the present is 0 0 7 15 0 0,
//!                   ▲             then the rest of the deadline decides again
//! ```
//!
//! This file knows nothing of timers: a slot holds the index of the first one.

use crate::slab::NIL;

pub(super) const LEVELS: usize = TOP as usize + 1;
const TOP: u8 = 5;
const SLOTS: usize = 64;
const DIGIT: u32 = SLOTS.trailing_zeros();
const MASK: u64 = SLOTS as u64 - 1;

/// Returns the number of bits below the digit of a level.
const fn shift(level: u8) -> u32 {
    level as u32 * DIGIT
}

/// One slot of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) level: u8,
    pub(super) slot: u8,
}

impl Place {
    /// Returns the place for a deadline, seen from `elapsed`. A deadline in the past counts as now.
    #[inline]
    pub(super) fn of(when: u64, elapsed: u64) -> Self {
        let when = when.max(elapsed);
        let differing = when ^ elapsed | 1;
        let level = u8::try_from(differing.ilog2() / DIGIT).map_or(TOP, |level| level.min(TOP));
        let shift = shift(level);
        // Only on the top level, which wraps around, can a deadline be a whole turn away or more.
        // It waits in the farthest slot and is placed again from there. The current slot would be
        // the wrong one: that is where `Level::first` finds what is due.
        let farthest = (elapsed >> shift).saturating_add(MASK);
        let digit = (when >> shift).min(farthest) & MASK;
        Self { level, slot: digit as u8 }
    }
}

/// A slot with something in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occupied {
    pub(super) place: Place,
    /// The first tick of the slot.
    pub(super) start: u64,
}

impl Occupied {
    /// Returns the last tick of the slot.
    pub(super) fn last(self) -> u64 {
        self.start | ((1 << shift(self.place.level)) - 1)
    }
}

/// Sixty-four lists of timers.
#[derive(Debug)]
pub(super) struct Level {
    /// A bit for each slot that is not empty.
    occupied: u64,
    heads: [u32; SLOTS],
}

impl Level {
    pub(super) const fn new() -> Self {
        Self { occupied: 0, heads: [NIL; SLOTS] }
    }

    /// Returns the index of the first timer in `slot`, or `NIL`.
    #[inline]
    pub(super) fn head(&self, slot: u8) -> u32 {
        self.heads[usize::from(slot)]
    }

    /// Makes `index` the first timer in `slot`; `NIL` makes it empty.
    #[inline]
    pub(super) fn set_head(&mut self, slot: u8, index: u32) {
        self.heads[usize::from(slot)] = index;
        let bit = 1 << slot;
        if index == NIL {
            self.occupied &= !bit;
        } else {
            self.occupied |= bit;
        }
    }

    /// Returns the first slot with a timer in it, going round from the current slot, which comes
    /// first.
    #[inline]
    pub(super) fn first(&self, level: u8, elapsed: u64) -> Option<Occupied> {
        if self.occupied == 0 {
            return None;
        }
        let shift = shift(level);
        let current = elapsed >> shift;
        let distance = self.occupied.rotate_right((current & MASK) as u32).trailing_zeros();
        let number = current + u64::from(distance);
        let slot = (number & MASK) as u8;
        Some(Occupied { place: Place { level, slot }, start: number << shift })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks on both sides of every boundary of every level.
    fn boundaries() -> Vec<u64> {
        let units = (0..=TOP + 1).map(|level| 1_u64 << shift(level));
        let multiples = units.flat_map(|unit| [1, 2, 31, 63, 64, 65].map(|n| n * unit));
        let mut ticks: Vec<u64> = multiples.flat_map(|tick| [tick - 1, tick, tick + 1]).collect();
        ticks.sort_unstable();
        ticks.dedup();
        ticks
    }

    /// Puts one timer where `Place::of` says and returns the slot that `Level::first` then finds.
    fn slot_for(when: u64, elapsed: u64) -> Occupied {
        let place = Place::of(when, elapsed);
        let mut level = Level::new();
        level.set_head(place.slot, 0);
        let slot = level.first(place.level, elapsed).unwrap();
        assert_eq!(slot.place, place);
        slot
    }

    /// What the wheel relies on: not late, not at once, and without end only at the horizon.
    fn check(when: u64, elapsed: u64) {
        let slot = slot_for(when, elapsed);

        assert!(slot.start <= when, "late: {when} from {elapsed}: {slot:?}");
        if when == elapsed {
            assert_eq!((slot.place.level, slot.start), (0, elapsed));
            return;
        }
        assert!(slot.start > elapsed, "no progress: {when} from {elapsed}: {slot:?}");
        if slot.place.level < TOP {
            assert!(when <= slot.last(), "early: {when} from {elapsed}: {slot:?}");
        }
    }

    #[test]
    fn every_deadline_of_the_lower_levels_has_a_slot_that_contains_it() {
        for elapsed in 0..200 {
            for when in elapsed..elapsed + 64 * 64 + 64 {
                check(when, elapsed);
            }
        }
    }

    #[test]
    fn every_boundary_of_every_level_has_a_slot_that_contains_it() {
        for elapsed in boundaries() {
            for distance in boundaries() {
                check(elapsed, elapsed);
                check(elapsed + distance, elapsed);
            }
        }
    }

    #[test]
    fn the_last_tick_of_all_has_a_slot() {
        for elapsed in boundaries().into_iter().flat_map(|tick| [tick, u64::MAX - tick]) {
            check(u64::MAX, elapsed);
        }
        check(u64::MAX, u64::MAX);
    }

    #[test]
    fn a_deadline_in_the_past_has_the_slot_of_the_present() {
        for elapsed in boundaries() {
            assert_eq!(Place::of(0, elapsed), Place::of(elapsed, elapsed));
        }
    }

    #[test]
    fn the_slots_of_a_level_follow_on_each_other() {
        for level in 0..=TOP {
            let unit = 1 << shift(level);
            let place = Place { level, slot: 5 };
            let slot = Occupied { place, start: 5 * unit };

            assert_eq!(slot.last(), 6 * unit - 1);
        }
    }

    #[test]
    fn the_slot_that_comes_first_is_found_behind_the_end_of_the_turn() {
        let mut level = Level::new();
        level.set_head(3, 0);
        level.set_head(61, 0);

        let starts = [60, 61, 62].map(|elapsed| level.first(0, elapsed).unwrap().start);

        assert_eq!(starts, [61, 61, 64 + 3]);
    }

    #[test]
    fn an_emptied_slot_is_not_found() {
        let mut level = Level::new();
        level.set_head(7, 0);
        level.set_head(7, NIL);

        assert_eq!(level.first(0, 0), None);
    }
}
