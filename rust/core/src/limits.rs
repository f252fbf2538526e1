//! What a pool may do: sizes, durations and the order of service. Checked by the caller, fixed for
//! the life of the pool; only the sizes change, in [`crate::Core::resize`].

/// A duration or a moment in ticks, one millisecond each; the engine has no clock of its own.
pub type Ticks = u64;

/// The moment that never comes, and the duration without limit.
pub const NEVER: Ticks = u64::MAX;

/// Who gets a connection that becomes free while others wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The oldest waiter, always.
    Fair,
    /// Whoever comes first, but the oldest waiter once it was overtaken for [`HAND_OFF_AFTER`] ticks, by a
    /// clock that may be some milliseconds late.
    Throughput,
}

/// How long newcomers may overtake the oldest waiter under [`Policy::Throughput`].
pub const HAND_OFF_AFTER: Ticks = 1;

/// The limits of one pool.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections to keep open, idle or in use.
    pub min_size: u32,
    /// Connections to have at the most, from 1 to [`crate::MAX_SIZE`].
    pub max_size: u32,
    /// Callers that may wait for a release; `u32::MAX` for any number.
    pub max_waiting: u32,
    /// Borrows after which a connection is closed; `u64::MAX` for any number.
    pub max_uses: u64,
    /// See [`Policy`].
    pub policy: Policy,
    /// Time for opening a connection, and for closing one.
    pub connect_timeout: Ticks,
    /// Connections that may be opened at the same time; `u32::MAX` for any number.
    pub max_connecting: u32,
    /// Time without success after which callers are told at once that the database is down; [`NEVER`] for
    /// never.
    pub fail_fast_after: Ticks,
    /// Idle time after which a connection above `min_size` is closed.
    pub idle_timeout: Ticks,
    /// Age at which a connection is closed.
    pub max_lifetime: Ticks,
    /// Time without a sign of life after which a connection is validated; [`NEVER`] without validator, 0
    /// before each borrow.
    pub validation_interval: Ticks,
    /// Time for one validation.
    pub validation_timeout: Ticks,
    /// Time in one borrower's hands after which it is reported.
    pub leak_threshold: Ticks,
}
