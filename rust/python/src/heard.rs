//! The events that begin in Rust, and whether anybody listens to them. `millpond._events` has the rest.
//!
//! Nobody listens to most pools. So the fast path knows one thing only, that there is something special
//! about a pool (`Inner::is_plain`); which events are heard is asked on the slow path.

use std::time::Instant;

use millpond_core::Claim;
use pyo3::intern;
use pyo3::prelude::*;

use crate::inner::Inner;
use crate::pool::CorePool;

/// A connection was lent.
pub(crate) const ACQUIRED: u8 = 1;
/// A holder gave its connection back.
pub(crate) const RELEASED: u8 = 2;
/// A caller that had to queue was served.
pub(crate) const WAITED: u8 = 4;

/// How a caller came by its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// When it asked.
    pub(crate) since: Instant,
    /// Whether it had to queue.
    pub(crate) queued: bool,
}

/// Whether an acquire has nothing to tell.
#[inline]
pub(crate) fn is_silent(inner: &Inner, way: Way) -> bool {
    inner.is_plain() && !(way.queued && inner.hears(WAITED))
}

/// Tells of an acquire, as the last thing before the caller has its connection. What is raised here (a
/// signal; not what a listener raises) is the caller's.
#[inline]
pub(crate) fn acquired(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    claim: Claim,
    way: Way,
) -> PyResult<()> {
    if !inner.hears(ACQUIRED | RELEASED | WAITED) {
        return Ok(());
    }
    if inner.hears(ACQUIRED | RELEASED) {
        inner.core.measure(claim, inner.clock.nanos());
    }
    let seconds = way.since.elapsed().as_secs_f64();
    if way.queued && inner.hears(WAITED) {
        tell(slf, "waited", claim, Some(seconds), None)?;
    }
    if inner.hears(ACQUIRED) {
        tell(slf, "acquired", claim, Some(seconds), None)?;
    }
    Ok(())
}

/// How long the holder has had its connection, if that was measured; asked before it is given back.
pub(crate) fn use_of(inner: &Inner, claim: Claim) -> Option<f64> {
    if !inner.hears(RELEASED) {
        return None;
    }
    let from = inner.core.measured(claim)?;
    let nanos = inner.clock.nanos().saturating_sub(from);
    Some(std::time::Duration::from_nanos(nanos).as_secs_f64())
}

/// Tells of a release, after it. `reason` says what it was, unless it was an ordinary one.
pub(crate) fn released(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    claim: Claim,
    seconds: Option<f64>,
    reason: Option<&str>,
) -> PyResult<()> {
    if inner.hears(RELEASED) {
        tell(slf, "released", claim, seconds, reason)?;
    }
    Ok(())
}

fn tell(
    slf: &Bound<'_, CorePool>,
    kind: &str,
    claim: Claim,
    seconds: Option<f64>,
    reason: Option<&str>,
) -> PyResult<()> {
    let event = (kind, claim.slot, seconds, reason);
    slf.call_method1(intern!(slf.py(), "_emit"), event).map(drop)
}
