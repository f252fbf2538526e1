//! The array of slots. It grows in place: a slot never moves, so a reference to it stays good.

use std::sync::OnceLock;

use crate::slot::Slot;

/// The slots that each pool has from the beginning. A model has no more than two, since each look at
/// a slot doubles what there is to explore.
const FIRST: usize = if cfg!(loom) { 2 } else { 16 };

/// Further chunks, each as long as all that is before it: 16, 32, 64, …
const CHUNKS: usize = 13;

/// The most connections that one pool can hold.
pub const MAX_SIZE: u32 = 100_000;

// Not `crate::sync`: a chunk is written once, before the limit that leads to it, and `OnceLock`
// orders that itself. No model grows the array.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    /// Apart from the chunks, since most pools need no more and find a slot here without a detour.
    first: Box<[Slot<T>; FIRST]>,
    chunks: [OnceLock<Box<[Slot<T>]>>; CHUNKS],
}

impl<T> Slots<T> {
    pub(crate) fn new(len: u32) -> Self {
        let slots = Self {
            first: Box::new(std::array::from_fn(|_| Slot::new())),
            chunks: [const { OnceLock::new() }; CHUNKS],
        };
        slots.grow(len);
        slots
    }

    /// Makes the slots `0..len` exist.
    pub(crate) fn grow(&self, len: u32) {
        assert!(len <= MAX_SIZE, "{len} slots are more than {MAX_SIZE}");
        let Some(last) = (len as usize).checked_sub(1).filter(|last| *last >= FIRST) else {
            return;
        };
        for chunk in 0..=locate(last).0 {
            let chunk_len = FIRST << chunk;
            self.chunks[chunk].get_or_init(|| (0..chunk_len).map(|_| Slot::new()).collect());
        }
    }

    /// The slot at `index`, which must be below a length that was once grown to.
    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> &Slot<T> {
        match self.first.get(index as usize) {
            Some(slot) => slot,
            None => self.get_far(index as usize),
        }
    }

    #[cold]
    fn get_far(&self, index: usize) -> &Slot<T> {
        let (chunk, offset) = locate(index);
        match self.chunks[chunk].get() {
            Some(slots) => &slots[offset],
            None => unreachable!("slot {index} is beyond what the pool ever grew to"),
        }
    }

    /// All slots that exist, also those above the limit of the moment.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot<T>)> {
        let chunks = self.chunks.iter().map_while(OnceLock::get);
        (0..).zip(self.first.iter().chain(chunks.flat_map(|chunk| chunk.iter())))
    }
}

/// Chunk and offset of a slot beyond the first: 16..32 | 32..64 | 64..128 | …
fn locate(index: usize) -> (usize, usize) {
    let chunk = (index / FIRST).ilog2() as usize;
    (chunk, index - (FIRST << chunk))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_place_of_its_own_in_order() {
        let mut expected = (0, 0);
        for index in FIRST..MAX_SIZE as usize {
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
        assert_eq!(slots.iter().count(), 64);
    }
}
