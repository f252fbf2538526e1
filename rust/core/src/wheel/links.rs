//! What holds the list of one slot together: the links of one timer, in eight bytes.

use std::num::NonZeroU32;

use super::level::Place;

/// A timer's neighbours, apart from its deadline: a cancellation needs nothing else, and the
/// smaller they are, the more of them are in the processor's caches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links {
    pub(super) prev: Prev,
    pub(super) next: u32,
}

/// What stands before a timer: another timer, or the place whose first it is.
///
/// The place is kept, and not computed from the deadline, because a timer that is clamped to the
/// horizon or waits for its cascade stands elsewhere than [`Place::of`] would say now.
///
/// Never zero, so that a vacant entry in the slab has a value of its own without a byte of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prev(NonZeroU32);

/// A [`Prev`], unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Timer(u32),
    Place(Place),
}

impl Prev {
    const TIMER: NonZeroU32 = NonZeroU32::new(0b01).unwrap();
    const PLACE: NonZeroU32 = NonZeroU32::new(0b10).unwrap();

    #[inline]
    pub(super) fn timer(index: u32) -> Self {
        Self(Self::TIMER | index << 1)
    }

    #[inline]
    pub(super) fn place(place: Place) -> Self {
        Self(Self::PLACE | u32::from(place.level) << 8 | u32::from(place.slot) << 2)
    }

    #[inline]
    pub(super) fn unpack(self) -> Before {
        let bits = self.0.get();
        if bits & Self::TIMER.get() != 0 {
            return Before::Timer(bits >> 1);
        }
        Before::Place(Place { level: (bits >> 8 & 0xff) as u8, slot: (bits >> 2 & 0x3f) as u8 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    #[test]
    fn every_neighbour_survives_packing() {
        for index in [0, 1, 2, 0x3fff_ffff, 0x7fff_ffff] {
            assert_eq!(Prev::timer(index).unpack(), Before::Timer(index));
        }
        for level in 0..6 {
            for slot in 0..64 {
                let place = Place { level, slot };
                assert_eq!(Prev::place(place).unpack(), Before::Place(place));
            }
        }
    }

    #[test]
    fn a_timer_in_the_slab_takes_twelve_bytes() {
        assert_eq!(Slab::<Links>::ENTRY_SIZE, 12);
    }
}
