//! The word of a slot: state, flags and generation, packed so that one CAS decides everything.
//!
//! ```text
//! bits  0..8   state
//! bits  8..16  flags
//! bits 16..64  generation, one more at every grant of ownership
//! ```
//!
//! Pure functions over a `u64`; the atomic itself lives in `slot.rs`. At ten million borrows a second
//! the generation of one slot wraps after 0.9 years, and only a handle kept for exactly that long
//! could be mistaken.

/// Where a slot stands in its life. The table of legal edges is [`is_legal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// No connection, nobody owns the place.
    Empty = 0,
    /// The place is reserved and a connection is being opened for it.
    Connecting = 1,
    /// A connection is ready; anybody may claim it.
    Idle = 2,
    /// A caller holds the connection.
    InUse = 3,
    /// The connection is promised to a waiter that has not run yet.
    Granted = 4,
    /// The connection is being validated or reset.
    Checking = 5,
    /// The connection is being closed; it still counts.
    Closing = 6,
}

/// What one flag of a [`Word`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// Close the connection when its owner gives it up.
    Retire = 1,
    /// The holder was reported as a leak; once is enough.
    LeakReported = 2,
    /// Validate the connection when its owner gives it up.
    Vet = 4,
    /// The connection belongs to one caller, also while that caller does not use it. Set by the holder,
    /// and there until the connection is closed.
    Kept = 8,
}

/// One value of a slot's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

const STATE_MASK: u64 = 0xff;
const FLAGS_SHIFT: u32 = 8;
const FLAGS_MASK: u64 = 0xff << FLAGS_SHIFT;
const GENERATION_SHIFT: u32 = 16;
const KEPT: u64 = (Flag::Kept as u64) << FLAGS_SHIFT;

impl Word {
    pub(crate) const EMPTY: Self = Self(State::Empty as u64);

    #[inline(always)]
    pub(crate) fn state(self) -> State {
        match self.0 & STATE_MASK {
            0 => State::Empty,
            1 => State::Connecting,
            2 => State::Idle,
            3 => State::InUse,
            4 => State::Granted,
            5 => State::Checking,
            6 => State::Closing,
            other => unreachable!("no slot was ever given state {other}"),
        }
    }

    /// Whether anybody may claim the slot: idle, and no flag asks for attention first.
    #[inline(always)]
    pub(crate) fn is_claimable(self) -> bool {
        self.0 & (STATE_MASK | FLAGS_MASK) == State::Idle as u64
    }

    /// Whether the connection is idle, and only the caller that it belongs to may claim it.
    #[inline(always)]
    pub(crate) fn is_reclaimable(self) -> bool {
        self.0 & (STATE_MASK | FLAGS_MASK) == State::Idle as u64 | KEPT
    }

    /// Whether somebody holds the connection; flags do not matter.
    #[inline(always)]
    pub(crate) fn is_held(self) -> bool {
        self.0 & STATE_MASK == State::InUse as u64
    }

    /// Whether the connection may not simply become idle when its owner gives it up.
    #[inline(always)]
    pub(crate) fn is_spent(self) -> bool {
        self.0 & ((Flag::Retire as u64 | Flag::Vet as u64) << FLAGS_SHIFT) != 0
    }

    #[inline(always)]
    pub(crate) fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    #[inline(always)]
    pub(crate) fn has(self, flag: Flag) -> bool {
        self.0 & ((flag as u64) << FLAGS_SHIFT) != 0
    }

    /// The same owner in another state; flags stay.
    #[inline(always)]
    pub(crate) fn moved(self, to: State) -> Self {
        debug_assert!(is_legal(self.state(), to), "{:?} -> {to:?}", self.state());
        Self(self.0 & !STATE_MASK | to as u64)
    }

    /// A new owner: the next generation, and no flags.
    #[inline(always)]
    pub(crate) fn granted(self, to: State) -> Self {
        debug_assert!(is_legal(self.state(), to), "{:?} -> {to:?}", self.state());
        let generation = self.generation().wrapping_add(1);
        Self(generation << GENERATION_SHIFT | to as u64)
    }

    /// A new owner of a connection that goes on belonging to whom it belongs.
    #[inline(always)]
    pub(crate) fn lent(self, to: State) -> Self {
        Self(self.granted(to).0 | self.0 & KEPT)
    }

    #[inline(always)]
    pub(crate) fn flagged(self, flag: Flag) -> Self {
        Self(self.0 | (flag as u64) << FLAGS_SHIFT)
    }

    /// Without the flags that were about the owner, who gives it up.
    #[inline(always)]
    pub(crate) fn rested(self) -> Self {
        Self(self.0 & !(FLAGS_MASK & !KEPT))
    }
}

/// Whether a slot may ever go from `from` to `to`: the table T1 to T18 of `rust/README.md`.
pub(crate) fn is_legal(from: State, to: State) -> bool {
    use State::{Checking, Closing, Connecting, Empty, Granted, Idle, InUse};
    matches!(
        (from, to),
        (Empty, Connecting)
            | (Connecting, Checking | Closing | Empty)
            | (Idle, InUse | Granted | Checking | Closing)
            | (Granted, InUse | Idle | Closing)
            | (InUse | Checking, Idle | Checking | Closing)
            | (Closing, Empty)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_owner_gets_the_next_generation_and_no_flags() {
        let idle = Word(7 << GENERATION_SHIFT | State::InUse as u64).flagged(Flag::Retire);

        let taken = idle.granted(State::Closing);

        assert_eq!(taken.generation(), 8);
        assert!(!taken.has(Flag::Retire));
        assert_eq!(taken.state(), State::Closing);
    }

    #[test]
    fn a_move_keeps_generation_and_flags() {
        let held = Word(7 << GENERATION_SHIFT | State::InUse as u64).flagged(Flag::LeakReported);

        let checking = held.moved(State::Checking);

        assert_eq!(checking.generation(), 7);
        assert!(checking.has(Flag::LeakReported));
        assert!(!checking.rested().has(Flag::LeakReported));
    }

    #[test]
    fn whom_a_connection_belongs_to_outlasts_its_owners() {
        let kept = Word(State::InUse as u64).flagged(Flag::Kept).flagged(Flag::LeakReported);

        let idle = kept.rested().moved(State::Idle);

        assert!(idle.is_reclaimable());
        assert!(!idle.is_claimable());
        assert!(idle.lent(State::Checking).has(Flag::Kept));
        assert!(!idle.granted(State::Closing).has(Flag::Kept));
    }

    #[test]
    fn only_an_idle_word_without_flags_is_claimable() {
        let idle = Word(State::Idle as u64);

        assert!(idle.is_claimable());
        assert!(!idle.flagged(Flag::Retire).is_claimable());
        assert!(!Word(State::InUse as u64).is_claimable());
    }
}
