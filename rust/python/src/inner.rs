//! The inside of a pool: the engine, and what it needs from Python.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use millpond_core::{Claim, Core, Limits, Ticks, NEVER};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::clock::{ticks, Clock, ManualClock};
use crate::connection::Connection;
use crate::field::Field;
use crate::heard;
use crate::thread::Thread;
use crate::wait::Waiter;

pub(crate) type Engine = Core<Connection, Waiter>;

/// What `CorePool._start` is given, checked by `millpond._config`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options<'py> {
    min_size: u32,
    max_size: u32,
    max_waiting: Option<u32>,
    max_uses: Option<u64>,
    policy: String,
    acquire_timeout: Option<f64>,
    connect_timeout: Option<f64>,
    max_connecting: Option<u32>,
    fail_fast_after: Option<f64>,
    idle_timeout: Option<f64>,
    max_lifetime: Option<f64>,
    validation_interval: Option<f64>,
    validation_timeout: Option<f64>,
    validates: bool,
    leak_threshold: Option<f64>,
    on_acquire: Option<Py<PyAny>>,
    on_release: Option<Py<PyAny>>,
    on_exhausted: Option<Py<PyAny>>,
    shed: bool,
    clock: Option<Bound<'py, ManualClock>>,
}

/// What stays the same when a fork makes a new inside.
pub(crate) struct Settings {
    limits: Limits,
    /// Whether the user said how to validate; the driver may know as well.
    validates: bool,
    pub(crate) acquire_timeout: Option<Duration>,
    pub(crate) on_acquire: Option<Py<PyAny>>,
    pub(crate) on_release: Option<Py<PyAny>>,
    pub(crate) on_exhausted: Option<Py<PyAny>>,
    /// Whether callers are refused who would have to wait for longer than they want to.
    shed: bool,
    /// Whether each acquire notes the line that it came from.
    pub(crate) traced: bool,
    manual: Option<std::sync::Arc<std::sync::atomic::AtomicU64>>,
}

impl Settings {
    pub(crate) fn new(options: Options<'_>) -> PyResult<Self> {
        let policy = match options.policy.as_str() {
            "fair" => millpond_core::Policy::Fair,
            "throughput" => millpond_core::Policy::Throughput,
            other => return Err(PyValueError::new_err(format!("policy={other:?}"))),
        };
        let leak_threshold = ticks(options.leak_threshold)?;
        let limits = Limits {
            min_size: options.min_size,
            max_size: options.max_size,
            max_waiting: options.max_waiting.unwrap_or(u32::MAX),
            max_uses: options.max_uses.unwrap_or(u64::MAX),
            policy,
            connect_timeout: ticks(options.connect_timeout)?,
            max_connecting: options.max_connecting.unwrap_or(u32::MAX),
            fail_fast_after: ticks(options.fail_fast_after)?,
            idle_timeout: ticks(options.idle_timeout)?,
            max_lifetime: ticks(options.max_lifetime)?,
            validation_interval: ticks(options.validation_interval)?,
            validation_timeout: ticks(options.validation_timeout)?,
            leak_threshold,
        };
        Ok(Self {
            validates: options.validates,
            limits,
            acquire_timeout: options.acquire_timeout.map(Duration::from_secs_f64),
            on_acquire: options.on_acquire,
            on_release: options.on_release,
            on_exhausted: options.on_exhausted,
            shed: options.shed,
            traced: leak_threshold != NEVER,
            manual: options.clock.map(|clock| clock.get().nanos.clone()),
        })
    }
}

impl Settings {
    /// The ticks for which a caller with this limit may be told to wait.
    pub(crate) fn patience(&self, limit: Option<Duration>) -> Ticks {
        let limit = limit.filter(|_| self.shed);
        limit.map_or(NEVER, |limit| Ticks::try_from(limit.as_millis()).unwrap_or(NEVER))
    }
}

/// The line from which a connection was acquired, of the owner with this generation.
pub(crate) struct Site {
    pub(crate) generation: u64,
    pub(crate) place: Py<PyAny>,
}

/// Reasons for which a pool is not plain, each a bit of its own.
mod special {
    /// Hooks, or tracing.
    pub(super) const SETTINGS: u8 = 1;
    /// The driver is asked about each connection.
    pub(super) const DRIVER: u8 = 2;
    /// Somebody listens.
    pub(super) const HEARD: u8 = 4;
}

/// See the head of this file.
pub(crate) struct Inner {
    /// Unique in the process, also among the insides of one pool; never 0.
    pub(crate) id: u32,
    pub(crate) core: Engine,
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    /// What an acquire or a release has to do beside the engine's work and a reset: see `special`.
    special: AtomicU8,
    /// The events that somebody listens to, of those in heard.rs.
    heard: AtomicU8,
    /// Whether an acquire needs the time.
    timed: AtomicBool,
    pub(crate) sites: Mutex<HashMap<u32, Site>>,
    /// For asyncio: says of a connection that there is nothing to await at its release. None while each
    /// release has something.
    pub(crate) is_clean: Field,
    /// What callers got instead of connections, until they release it.
    pub(crate) stand_ins: Mutex<Vec<Py<PyAny>>>,
    /// The inside that this one replaced after a fork. Its connections belong to the parent.
    pub(crate) inherited: Option<&'static Inner>,
}

impl Inner {
    pub(crate) fn new(settings: Settings, inherited: Option<&'static Inner>) -> Box<Self> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        let mut limits = settings.limits.clone();
        if let Some(before) = inherited {
            (limits.min_size, limits.max_size) = before.core.sizes();
        }
        let core = Engine::new(limits);
        let (interval, validates) = match inherited {
            Some(before) => before.core.validation(),
            None => (settings.limits.validation_interval, settings.validates),
        };
        core.set_validation(interval, validates);
        let plain =
            settings.on_acquire.is_none() && settings.on_release.is_none() && !settings.traced;
        let special = if plain { 0 } else { special::SETTINGS };
        let special = special | inherited.map_or(0, |before| before.special.load(Relaxed));
        let heard = inherited.map_or(0, |before| before.heard.load(Relaxed));
        Box::new(Self {
            id: NEXT_ID.fetch_add(1, Relaxed).max(1),
            timed: AtomicBool::new(settings.traced || interval != NEVER),
            core,
            clock: match &settings.manual {
                Some(nanos) => Clock::Manual(nanos.clone()),
                None => Clock::Machine,
            },
            special: AtomicU8::new(special),
            heard: AtomicU8::new(heard),
            settings,
            sites: Mutex::new(HashMap::new()),
            is_clean: Field::new(None),
            stand_ins: Mutex::new(Vec::new()),
            inherited,
        })
    }

    /// The inside for the child of a fork: as this one was at first, with the sizes of now.
    pub(crate) fn for_child(&'static self, py: Python<'_>) -> Box<Self> {
        let hook = |hook: &Option<Py<PyAny>>| hook.as_ref().map(|hook| hook.clone_ref(py));
        let settings = Settings {
            limits: self.settings.limits.clone(),
            validates: self.settings.validates,
            acquire_timeout: self.settings.acquire_timeout,
            on_acquire: hook(&self.settings.on_acquire),
            on_release: hook(&self.settings.on_release),
            on_exhausted: hook(&self.settings.on_exhausted),
            shed: self.settings.shed,
            traced: self.settings.traced,
            manual: self.settings.manual.clone(),
        };
        let child = Self::new(settings, Some(self));
        if self.core.is_closed() {
            let mut effects = millpond_core::Effects::default();
            child.core.shut(0, &mut effects);
        }
        child
    }

    /// See `timed`.
    #[inline(always)]
    pub(crate) fn is_timed(&self) -> bool {
        self.timed.load(Relaxed)
    }

    /// Whether an acquire or a release has nothing to do beside the engine's work and a reset.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        // Relaxed, as for `timed`: who misses the change takes what was just opened for alive, or is
        // not heard by who just began to listen.
        self.special.load(Relaxed) == 0
    }

    /// Whether somebody listens to one of these events.
    pub(crate) fn hears(&self, events: u8) -> bool {
        self.heard.load(Relaxed) & events != 0
    }

    /// Sets the events that somebody listens to. Not to be called by two threads at once.
    pub(crate) fn set_heard(&self, events: u8) {
        self.heard.store(events, Relaxed);
        if events & (heard::ACQUIRED | heard::RELEASED) == 0 {
            self.special.fetch_and(!special::HEARD, Relaxed);
        } else {
            self.special.fetch_or(special::HEARD, Relaxed);
        }
    }

    /// Sets what is known of validation since the driver is.
    pub(crate) fn set_validation(&self, interval: Ticks, validates: bool) {
        self.core.set_validation(interval, validates);
        self.timed.store(self.settings.traced || interval != NEVER, Relaxed);
    }

    /// Has every acquire ask the driver about the connection.
    pub(crate) fn ask_the_driver(&self) {
        self.special.fetch_or(special::DRIVER, Relaxed);
    }

    /// Claims an idle connection, and nothing else.
    #[inline(always)]
    pub(crate) fn try_claim(&self) -> Option<Claim> {
        self.try_claim_for(None)
    }

    /// The same for a holder that is not the calling thread.
    #[inline(always)]
    pub(crate) fn try_claim_for(&self, holder: Option<u64>) -> Option<Claim> {
        // Without a validator and without tracing nobody asks what time it is.
        let timed = self.is_timed();
        let now = if timed { self.clock.coarse() } else { 0 };
        Thread::with(|thread| {
            let claim = self.core.try_acquire(thread.habit(self.id), now)?;
            thread.set_habit(self.id, claim.slot);
            let holder = holder.unwrap_or_else(|| thread.ident());
            self.core.note_borrow(claim, holder, || self.clock.nanos());
            if timed {
                self.core.note_held(claim, now);
            }
            Some(claim)
        })
    }

    /// Takes back what stood in for a connection, if that is what it is.
    pub(crate) fn take_stand_in(&self, object: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
        let mut stand_ins = self.stand_ins.lock();
        let index = stand_ins.iter().position(|one| one.as_ptr() == object.as_ptr())?;
        Some(stand_ins.swap_remove(index))
    }

    /// Whether the connection belongs to the process that this one was forked from.
    pub(crate) fn is_inherited(&self, identity: u64) -> bool {
        let ancestors = std::iter::successors(self.inherited, |inner| inner.inherited);
        ancestors.into_iter().any(|inner| inner.core.find(identity, 0).is_some())
    }
}
