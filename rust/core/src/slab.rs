//! Storage with stable places: an entry is named by a key, and a key never lies.
//!
//! ```text
//! entries  [ A:3 | free:7 | B:0 | free:1 | C:2 ]     value:generation
//!             ▲       │ ▲            │
//!      Key{0, 3}      │ └────────────┤  the free list, last in, first out
//!                    NIL            free
//! ```
//!
//! A removal raises the generation of its place, so an old key finds nothing, whoever lives there
//! now. Lists that run through the entries link them by index; `key_at`, `at` and `at_mut` are for
//! them.

use std::ops::{Index, IndexMut};

/// The index that no entry has: the end of a list.
pub(crate) const NIL: u32 = u32::MAX;

/// The most entries there can be. A list may therefore use the highest bit of an index for itself.
const MOST: u32 = 1 << 31;

/// The name of one entry in a slab.
///
/// When the entry is removed, its key becomes invalid and stays invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    state: State<T>,
}

/// Whether a place is taken. It costs no byte when `T` has a value that is never used, and that is
/// why the wheel's links begin with a `NonZero`.
#[derive(Debug)]
enum State<T> {
    Vacant { next_free: u32 },
    Occupied(T),
}

/// A growing collection that hands out keys and uses vacated places again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Chunks<Entry<T>>,
    free: u32,
    len: usize,
}

impl<T> Slab<T> {
    /// The size of one entry in bytes.
    #[cfg(test)]
    pub(crate) const ENTRY_SIZE: usize = size_of::<Entry<T>>();

    /// Creates an empty slab, which allocates nothing before the first insertion.
    pub(crate) const fn new() -> Self {
        Self { entries: Chunks::new(), free: NIL, len: 0 }
    }

    /// Returns how many entries there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no entry.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stores `value` in the place that was vacated last, or in a new one.
    ///
    /// # Panics
    ///
    /// Panics when there are 2^31 entries already.
    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> Key {
        if self.free == NIL {
            self.grow();
        }
        let index = self.free;
        let entry = &mut self.entries[index];
        let State::Vacant { next_free } = entry.state else {
            unreachable!("the free list holds vacant places")
        };
        entry.state = State::Occupied(value);
        self.free = next_free;
        self.len += 1;
        let generation = entry.generation;
        Key { index, generation }
    }

    /// Takes the entry out, unless `key` is no longer valid.
    #[inline]
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index)?;
        if entry.generation != key.generation || matches!(entry.state, State::Vacant { .. }) {
            return None;
        }
        let next_free = self.free;
        let State::Occupied(value) =
            std::mem::replace(&mut entry.state, State::Vacant { next_free })
        else {
            unreachable!("it was occupied a line ago")
        };
        self.len -= 1;
        // A place that has used up its generations stays out of the free list: there its first key
        // would become valid again.
        if let Some(next) = key.generation.checked_add(1) {
            entry.generation = next;
            self.free = key.index;
        }
        Some(value)
    }

    /// Returns the entry, unless `key` is no longer valid.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.index)?;
        match &entry.state {
            State::Occupied(value) if entry.generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Returns the entry for changing it, unless `key` is no longer valid.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index)?;
        match &mut entry.state {
            State::Occupied(value) if entry.generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Returns the valid key of the entry at `index`.
    ///
    /// # Panics
    ///
    /// Panics when the place is vacant: a list led to an entry that is no longer there.
    #[inline]
    pub(crate) fn key_at(&self, index: u32) -> Key {
        let entry = &self.entries[index];
        match entry.state {
            State::Occupied(_) => Key { index, generation: entry.generation },
            State::Vacant { .. } => vacant(index),
        }
    }

    /// Returns the entry at `index`.
    ///
    /// # Panics
    ///
    /// Panics as [`Slab::key_at`] does.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> &T {
        match &self.entries[index].state {
            State::Occupied(value) => value,
            State::Vacant { .. } => vacant(index),
        }
    }

    /// Returns the entry at `index` for changing it.
    ///
    /// # Panics
    ///
    /// Panics as [`Slab::key_at`] does.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> &mut T {
        match &mut self.entries[index].state {
            State::Occupied(value) => value,
            State::Vacant { .. } => vacant(index),
        }
    }

    /// Makes a new chunk of places the free list.
    #[cold]
    fn grow(&mut self) {
        let first = self.entries.len();
        assert!(first < MOST, "a slab holds at most 2^31 entries");
        let last = first + CHUNK - 1;
        self.entries.grow(|index| Entry {
            generation: 0,
            state: State::Vacant { next_free: if index == last { NIL } else { index + 1 } },
        });
        self.free = first;
    }
}

#[cold]
fn vacant(index: u32) -> ! {
    panic!("a list led to the vacant place {index}")
}

/// The length of a chunk. It is fixed, so that an index into one needs no check.
const CHUNK: u32 = 256;

/// An array that is never copied when it grows, as a `Vec` is: at a million timers, that takes half
/// a millisecond under somebody's lock.
#[derive(Debug)]
pub(crate) struct Chunks<T> {
    chunks: Vec<Box<[T; CHUNK as usize]>>,
    len: u32,
}

impl<T> Chunks<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    #[inline]
    fn get(&self, index: u32) -> Option<&T> {
        let chunk = self.chunks.get((index / CHUNK) as usize)?;
        Some(&chunk[(index % CHUNK) as usize])
    }

    #[inline]
    fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let chunk = self.chunks.get_mut((index / CHUNK) as usize)?;
        Some(&mut chunk[(index % CHUNK) as usize])
    }

    /// Adds a chunk, with what `item` makes of each new index.
    #[cold]
    pub(crate) fn grow(&mut self, item: impl FnMut(u32) -> T) {
        let end = self.len + CHUNK;
        let chunk: Box<[T]> = (self.len..end).map(item).collect();
        let chunk = chunk.try_into().ok().expect("a chunk has one length");
        self.chunks.push(chunk);
        self.len = end;
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.chunks[(index / CHUNK) as usize][(index % CHUNK) as usize]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[(index / CHUNK) as usize][(index % CHUNK) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_its_key() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));

        *slab.get_mut(b).unwrap() = 'c';

        assert_eq!((slab.get(a), slab.get(b)), (Some(&'a'), Some(&'c')));
        assert_eq!(slab.len(), 2);
    }

    #[test]
    fn a_removed_entry_is_not_found_again() {
        let mut slab = Slab::new();
        let key = slab.insert('a');

        assert_eq!(slab.remove(key), Some('a'));

        assert_eq!(slab.remove(key), None);
        assert_eq!(slab.get(key), None);
        assert_eq!(slab.get_mut(key), None);
        assert!(slab.is_empty());
    }

    #[test]
    fn an_old_key_does_not_find_the_new_inhabitant() {
        let mut slab = Slab::new();
        let old = slab.insert('a');
        slab.remove(old);

        let new = slab.insert('b');

        assert_eq!(new.index, old.index);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&'b'));
    }

    #[test]
    fn vacated_places_are_used_again_last_in_first_out() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..4).map(|n| slab.insert(n)).collect();
        slab.remove(keys[1]);
        slab.remove(keys[3]);

        let places = [slab.insert(10).index, slab.insert(11).index, slab.insert(12).index];

        assert_eq!(places, [3, 1, 4]);
    }

    #[test]
    fn a_place_without_generations_left_is_never_used_again() {
        let mut slab = Slab::new();
        let index = slab.insert('a').index;
        slab.entries[index].generation = u32::MAX;

        assert_eq!(slab.remove(slab.key_at(index)), Some('a'));

        assert_eq!(slab.insert('b').index, 1);
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn keys_stay_valid_while_the_slab_grows_over_several_chunks() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..3 * CHUNK).map(|n| slab.insert(n)).collect();

        for (n, &key) in (0..).zip(&keys) {
            assert_eq!(slab.get(key), Some(&n));
            assert_eq!(slab.key_at(key.index), key);
        }
    }

    #[test]
    fn the_key_of_a_place_that_never_was_finds_nothing() {
        let mut slab = Slab::new();
        slab.insert('a');

        for index in [1, CHUNK, NIL] {
            assert_eq!(slab.get(Key { index, generation: 0 }), None);
        }
    }

    #[test]
    #[should_panic(expected = "vacant place 0")]
    fn a_list_that_leads_to_a_vacant_place_is_an_error() {
        let mut slab = Slab::new();
        let key = slab.insert('a');
        slab.remove(key);

        slab.at(key.index);
    }
}
