//! The array of slots. It grows in place: a slot never moves, so a reference to it stays good.

use std::sync::OnceLock;

use crate::slot::Slot;

/// The slots of the first chunk; each further chunk is twice as long as the one before.
const FIRST: usize = 16;
const CHUNKS: usize = 13;

/// The most connections that one pool can hold.
pub const MAX_SIZE: u32 = 100_000;

// Not `crate::sync`: a chunk is written once, before the limit that leads to it, and `OnceLock`
// orders that itself. No model grows the array.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    chunks: [OnceLock<Box<[Slot<T>]>>; CHUNKS],
}

impl<T> Slots<T> {
    pub(crate) fn new(len: u32) -> Self {
        let slots = Self { chunks: [const { OnceLock::new() }; CHUNKS] };
        slots.grow(len);
        slots
    }

    /// Makes the slots `0..len` exist.
    pub(crate) fn grow(&self, len: u32) {
        assert!(len <= MAX_SIZE, "{len} slots are more than {MAX_SIZE}");
        let Some(last) = len.checked_sub(1) else { return };
        for chunk in 0..=locate(last).0 {
            self.chunks[chunk].get_or_init(|| (0..FIRST << chunk).map(|_| Slot::new()).collect());
        }
    }

    /// The slot at `index`, which must be below a length that was once grown to.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> &Slot<T> {
        let (chunk, offset) = locate(index);
        match self.chunks[chunk].get() {
            Some(slots) => &slots[offset],
            None => unreachable!("slot {index} is beyond what the pool ever grew to"),
        }
    }

    /// All slots that exist, also those above the limit of the moment.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot<T>)> {
        let chunks = self.chunks.iter().map_while(OnceLock::get);
        (0..).zip(chunks.flat_map(|chunk| chunk.iter()))
    }
}

/// Chunk and offset of a slot: 0..16 | 16..48 | 48..112 | …
#[inline]
fn locate(index: u32) -> (usize, usize) {
    let index = index as usize;
    if index < FIRST {
        return (0, index);
    }
    let chunk = (index / FIRST + 1).ilog2() as usize;
    (chunk, index - FIRST * ((1 << chunk) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_place_of_its_own_in_order() {
        let mut expected = (0, 0);
        for index in 0..MAX_SIZE {
            assert_eq!(locate(index), expected);
            expected.1 += 1;
            if expected.1 == FIRST << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(expected.0 < CHUNKS);
    }

    #[test]
    fn growing_keeps_the_slots_where_they_are() {
        let slots = Slots::<u32>::new(4);
        let before = std::ptr::from_ref(slots.get(3));

        slots.grow(40);

        assert_eq!(before, std::ptr::from_ref(slots.get(3)));
        assert_eq!(slots.iter().count(), 48);
    }
}
