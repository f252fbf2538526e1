//! Giving a connection back: the fast path's common part, and everything that is out of the ordinary.

use millpond_core::{Claim, GivenBack, Held, Reason};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;

use crate::acquire;
use crate::connection::Connection;
use crate::heard;
use crate::inner::Inner;
use crate::pool::{CorePool, Todo};
use crate::thread;

/// What is left to do after the fast part of a return.
pub(crate) enum Rest {
    /// Nothing.
    Nothing,
    /// The engine wants to serve somebody.
    Attention,
    /// The connection was taken for its reset and is to be closed.
    SpentReset(Claim, Reason),
    /// The connection is still in use and is to be closed.
    SpentHeld(Held, Reason),
    /// The reset raised; the exception is set in the interpreter.
    ResetFailed(Claim),
    /// The caller does not hold the connection.
    NotHeld,
}

/// Resets and gives back. Raises nothing, drops nothing, takes no lock.
///
/// # Safety
/// The thread is attached.
#[inline(always)]
pub(crate) unsafe fn give_back(inner: &Inner, held: Held) -> Rest {
    let claim = held.claim();
    // SAFETY: `held` is the caller's, and the reference is used only while the slot is CHECKING by
    // `begin_reset`, so nobody can take the connection out.
    let Some(connection) = (unsafe { inner.core.value(claim) }) else { return Rest::NotHeld };
    if !connection.needs_reset() {
        let nanos = || inner.clock.nanos();
        return match inner.core.give_back(held, inner.clock.coarse(), nanos) {
            GivenBack::Idle => Rest::Nothing,
            GivenBack::Attention => Rest::Attention,
            GivenBack::Spent(reason) => Rest::SpentHeld(held, reason),
            GivenBack::NotHeld => Rest::NotHeld,
        };
    }
    let Some(claim) = inner.core.begin_reset(held) else { return Rest::NotHeld };
    // SAFETY: attached.
    if !unsafe { connection.reset() } {
        return Rest::ResetFailed(claim);
    }
    match inner.core.end_reset(claim, inner.clock.coarse(), || inner.clock.nanos()) {
        GivenBack::Idle => Rest::Nothing,
        GivenBack::Attention => Rest::Attention,
        GivenBack::Spent(reason) => Rest::SpentReset(claim, reason),
        GivenBack::NotHeld => Rest::NotHeld,
    }
}

/// Does the rest, where there is one.
pub(crate) fn finish(slf: &Bound<'_, CorePool>, inner: &Inner, rest: Rest) -> PyResult<()> {
    let py = slf.py();
    // Taken before anything else runs: nothing may run with an exception set.
    let failed = match &rest {
        Rest::ResetFailed(_) => PyErr::take(py),
        _ => None,
    };
    let mut todo = Todo::default();
    let now = inner.clock.now();
    let ours = match rest {
        Rest::Nothing => return Ok(()),
        Rest::Attention => {
            inner.core.after_release(now, &mut todo);
            true
        }
        Rest::SpentReset(claim, reason) => inner.core.retire_reset(claim, reason, now, &mut todo),
        Rest::SpentHeld(held, reason) => inner.core.retire_held(held, reason, now, &mut todo),
        Rest::ResetFailed(claim) => inner.core.retire_reset(claim, Reason::Reset, now, &mut todo),
        Rest::NotHeld => false,
    };
    CorePool::perform(slf, inner, todo);
    if !ours {
        return Err(CorePool::failure(slf, "not_held", ()));
    }
    failed.map_or(Ok(()), |error| report(slf, "reset", error))
}

/// Releases by the connection itself, with hooks.
pub(crate) fn release(slf: &Bound<'_, CorePool>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
    let inner = slf.get().started()?;
    match find_held(slf, inner, connection)? {
        Some(held) => release_held(slf, inner, held),
        None => Ok(()),
    }
}

/// Releases what is held, with hooks.
pub(crate) fn release_held(slf: &Bound<'_, CorePool>, inner: &Inner, held: Held) -> PyResult<()> {
    let _guard = thread::InHook::of(inner.id);
    if let Err(error) = on_release(slf, inner, held.claim()) {
        discard_held(slf, inner, held, Reason::Reset);
        report(slf, "on_release", error)?;
        return heard::released(slf, inner, held.claim(), None, Some(Reason::Reset.name()));
    }
    let seconds = heard::use_of(inner, held.claim());
    // SAFETY: `slf` is bound, so the thread is attached.
    let rest = unsafe { give_back(inner, held) };
    finish(slf, inner, rest)?;
    heard::released(slf, inner, held.claim(), seconds, None)
}

/// Closes a connection instead of giving it back.
pub(crate) fn discard(slf: &Bound<'_, CorePool>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
    let inner = slf.get().started()?;
    let Some(held) = find_held(slf, inner, connection)? else { return Ok(()) };
    if give_up_held(slf, inner, held, Reason::Discarded)? {
        Ok(())
    } else {
        Err(CorePool::failure(slf, "not_held", ()))
    }
}

/// Closes what its holder has no more use for, and tells of it. False when it does not hold it any more.
pub(crate) fn give_up_held(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    held: Held,
    reason: Reason,
) -> PyResult<bool> {
    let seconds = heard::use_of(inner, held.claim());
    let ours = discard_held(slf, inner, held, reason);
    if ours {
        heard::released(slf, inner, held.claim(), seconds, Some(reason.name()))?;
    }
    Ok(ours)
}

/// Whether a connection in somebody's hands will be closed when it is given back.
pub(crate) fn is_retiring(inner: &Inner, connection: &Bound<'_, PyAny>) -> bool {
    let slot = inner.core.find(Connection::identity(connection.as_ptr()), thread::habit(inner.id));
    slot.and_then(|slot| inner.core.held(slot, None)).is_some_and(Held::is_retiring)
}

/// Has a connection validated when it is given back.
pub(crate) fn suspect(slf: &Bound<'_, CorePool>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
    mark(slf, connection, |inner, held| inner.core.suspect_held(held))
}

/// Has a connection closed when it is given back.
pub(crate) fn condemn(slf: &Bound<'_, CorePool>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
    mark(slf, connection, |inner, held| inner.core.condemn_held(held))
}

fn mark(
    slf: &Bound<'_, CorePool>,
    connection: &Bound<'_, PyAny>,
    how: impl FnOnce(&Inner, Held),
) -> PyResult<()> {
    let inner = slf.get().started()?;
    let slot = inner.core.find(Connection::identity(connection.as_ptr()), thread::habit(inner.id));
    // Who has given it back meanwhile, or only has what stands in for one, has nothing to fear.
    if let Some(held) = slot.and_then(|slot| inner.core.held(slot, None)) {
        how(inner, held);
    }
    Ok(())
}

/// Takes a connection out of the pool for good.
pub(crate) fn detach(slf: &Bound<'_, CorePool>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
    let inner = slf.get().started()?;
    let Some(held) = find_held(slf, inner, connection)? else { return Ok(()) };
    let seconds = heard::use_of(inner, held.claim());
    let mut todo = Todo::default();
    let detached = inner.core.detach(held, inner.clock.now(), &mut todo);
    CorePool::perform(slf, inner, todo);
    match detached {
        Some(_) => heard::released(slf, inner, held.claim(), seconds, Some("detached")),
        None => Err(CorePool::failure(slf, "not_held", ())),
    }
}

/// Closes what somebody holds.
pub(crate) fn discard_held(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    held: Held,
    reason: Reason,
) -> bool {
    let mut todo = Todo::default();
    let ours = inner.core.retire_held(held, reason, inner.clock.now(), &mut todo);
    CorePool::perform(slf, inner, todo);
    ours
}

/// Closes what a claim holds.
pub(crate) fn discard_claim(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    claim: Claim,
    reason: Reason,
) {
    if let Some(held) = inner.core.held(claim.slot, Some(claim.generation)) {
        discard_held(slf, inner, held, reason);
    }
}

/// What the caller holds of this connection; `None` when there is nothing to do: it only stood in for
/// one, or belongs to the parent of a fork, whose business it is.
pub(crate) fn find_held(
    slf: &Bound<'_, CorePool>,
    inner: &Inner,
    connection: &Bound<'_, PyAny>,
) -> PyResult<Option<Held>> {
    let identity = Connection::identity(connection.as_ptr());
    let Some(slot) = inner.core.find(identity, thread::habit(inner.id)) else {
        if inner.take_stand_in(connection).is_some() || inner.is_inherited(identity) {
            return Ok(None);
        }
        return Err(CorePool::failure(slf, "foreign", connection));
    };
    match inner.core.held(slot, None) {
        Some(held) => Ok(Some(held)),
        None => Err(CorePool::failure(slf, "not_held", ())),
    }
}

fn on_release(slf: &Bound<'_, CorePool>, inner: &Inner, claim: Claim) -> PyResult<()> {
    let Some(hook) = &inner.settings.on_release else { return Ok(()) };
    let object = acquire::connection(slf.py(), inner, claim)?;
    hook.call1(slf.py(), (object,)).map(drop)
}

/// A connection that could not be cleaned is discarded, which is no error of who released it; what is
/// no `Exception` (`KeyboardInterrupt`, `SystemExit`) is passed on.
fn report(slf: &Bound<'_, CorePool>, hook: &str, error: PyErr) -> PyResult<()> {
    let py = slf.py();
    if !error.is_instance_of::<PyException>(py) {
        return Err(error);
    }
    slf.call_method1(intern!(py, "_hook_failed"), (hook, error.into_value(py))).map(drop)
}
