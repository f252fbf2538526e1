//! The engine of millpond, a connection pool for Python.
//!
//! It knows slots, waiters and deadlines, and nothing of Python, clocks, threads or sockets: time comes
//! in as ticks, a waiting caller is whatever implements [`Waker`], and each call says in its
//! [`Effects`] what its caller has to do. `rust/README.md` has the diagram of the states, the table of
//! the orderings and the invariants.
//!
//! | file | idea |
//! |---|---|
//! | `word.rs` | state, flags and generation in one word |
//! | `slot.rs` | one place for one connection, and the named edges between its states |
//! | `slots.rs` | the array of them, which grows in place |
//! | `core.rs` | the parts together, and the fast path |
//! | `queue.rs`, `waiter.rs` | who waits, in which order, and who is served |
//! | `jobs.rs` | opening, validating, closing |
//! | `opening.rs` | how many connect at once, and when the database is down |
//! | `vital.rs` | who is alive, and who has to prove it |
//! | `kept.rs` | connections that belong to one caller also while it does not use them |
//! | `upkeep.rs`, `schedule.rs`, `wheel/` | what time does |
//! | `control.rs` | resize, evict, suspend, close |
//! | `permits.rs` | a fair semaphore, which is all that the pools of `millpond.dbutils` need |
//! | `stats.rs`, `histogram.rs` | what is counted |
//! | `slab.rs`, `sync.rs` | storage with stable keys; std or loom |

mod control;
mod core;
mod effects;
mod histogram;
mod jobs;
mod kept;
mod limits;
mod opening;
mod permits;
mod queue;
mod schedule;
mod slab;
mod slot;
mod slots;
mod stats;
mod sync;
mod upkeep;
mod vital;
mod waiter;
mod wheel;
mod word;

pub use crate::control::SlotView;
pub use crate::core::{Core, GivenBack, Held};
pub use crate::effects::{Effects, Job, Reason, Wake};
pub use crate::histogram::{Histogram, HistogramSnapshot};
pub use crate::limits::{Limits, Policy, Ticks, HAND_OFF_AFTER, NEVER};
pub use crate::permits::{Permits, Served, MAX_PERMITS};
pub use crate::queue::Refused;
pub use crate::schedule::Alarm;
pub use crate::slab::Key;
pub use crate::slot::Claim;
pub use crate::slots::MAX_SIZE;
pub use crate::stats::{Counter, Stats};
pub use crate::vital::{Pulse, Vital};
pub use crate::waiter::{Priority, Ticket, Waker};
pub use crate::wheel::{Progress, TimerId, Wheel};
pub use crate::word::State;
