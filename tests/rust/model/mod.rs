//! What every model needs: connections that notice a second owner, callers that sleep until there is
//! news for them, and a pool that does at once what the engine decides.
//!
//! A caller that nobody wakes is a thread that never ends, and loom reports that as a deadlock. So a
//! model of a lost wake-up needs no assertion. loom's threads have small stacks, in which a pool fits in a
//! release build only.

#![allow(dead_code, reason = "each model uses its part")]

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::{Condvar, Mutex};
use millpond_core::{
    Claim, Core, Effects, GivenBack, Job, Limits, Policy, Pulse, Ticket, Ticks, Vital, Wake, Waker,
    NEVER,
};

pub(crate) type Todo = Effects<Connection, Waiter>;

/// Explores every order of what the threads of `run` do.
pub(crate) fn explore(run: impl Fn() + Send + Sync + 'static) {
    explore_up_to(None, run);
}

/// Explores orders in which at most so many threads are interrupted that could have gone on.
///
/// `LOOM_MAX_PREEMPTIONS` in the environment sets another number for all models. At the end it says how
/// many executions there were.
pub(crate) fn explore_up_to(
    preemptions: impl Into<Option<usize>>,
    run: impl Fn() + Send + Sync + 'static,
) {
    let executions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = Builder::new();
    builder.max_branches = 20_000;
    builder.preemption_bound = builder.preemption_bound.or(preemptions.into());
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        run();
    });
    let name = std::thread::current();
    let name = name.name().unwrap_or("a model");
    eprintln!("{name}: {} executions", executions.load(Relaxed));
}

/// Limits that nothing reaches.
pub(crate) fn limits(max_size: u32) -> Limits {
    Limits {
        min_size: 0,
        max_size,
        max_waiting: u32::MAX,
        max_uses: u64::MAX,
        policy: Policy::Fair,
        connect_timeout: NEVER,
        max_connecting: u32::MAX,
        fail_fast_after: NEVER,
        idle_timeout: NEVER,
        max_lifetime: NEVER,
        validation_interval: NEVER,
        validation_timeout: NEVER,
        leak_threshold: NEVER,
    }
}

/// A connection that can be in one hand only: loom fails a model in which two threads use it without
/// one having got it from the other.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    has_socket: bool,
    uses: UnsafeCell<u64>,
}

impl Connection {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, has_socket: SOCKETS.get(), uses: UnsafeCell::new(0) }
    }

    pub(crate) fn touch(&self) {
        // SAFETY: whether the caller is alone here is what loom checks.
        self.uses.with_mut(|uses| unsafe { *uses += 1 });
    }
}

thread_local! {
    /// Whether connections have sockets. All threads of a model are one thread of the machine.
    static SOCKETS: Cell<bool> = const { Cell::new(false) };
}

loom::lazy_static! {
    /// The highest number of a connection that hung up. loom's, so that it may do so at any moment.
    static ref HUNG_UP: loom::sync::atomic::AtomicU64 = loom::sync::atomic::AtomicU64::new(0);
}

impl Vital for Connection {
    fn socket(&self) -> i32 {
        if self.has_socket {
            i32::try_from(self.number).expect("not so many")
        } else {
            -1
        }
    }

    fn pulse(socket: i32) -> Pulse {
        if u64::try_from(socket).expect("a socket") <= HUNG_UP.load(SeqCst) {
            Pulse::Dead
        } else {
            Pulse::Alive
        }
    }
}

/// The other side of all connections up to this number hangs up.
pub(crate) fn hang_up(number: u64) {
    HUNG_UP.store(number, SeqCst);
}

#[derive(Debug)]
pub(crate) enum News {
    Granted(Claim),
    Closed,
    Retry,
}

/// Where a caller sleeps until there is news.
#[derive(Debug)]
pub(crate) struct Mailbox {
    news: Mutex<Option<News>>,
    arrived: Condvar,
}

impl Mailbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { news: Mutex::new(None), arrived: Condvar::new() })
    }

    fn leave(&self, news: News) {
        let mut place = self.news.lock().unwrap();
        // A nudge overwrites nothing. What a grant overwrites is at most a nudge.
        if place.is_none() || !matches!(news, News::Retry) {
            *place = Some(news);
        }
        self.arrived.notify_one();
    }

    pub(crate) fn wait(&self) -> News {
        let mut place = self.news.lock().unwrap();
        loop {
            match place.take() {
                Some(news) => return news,
                None => place = self.arrived.wait(place).unwrap(),
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Waiter(pub(crate) Arc<Mailbox>);

impl Waker for Waiter {
    type Nudge = Arc<Mailbox>;

    fn nudge(&self) -> Option<Arc<Mailbox>> {
        Some(Arc::clone(&self.0))
    }
}

/// The engine, and what its binding does around it.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) core: Core<Connection, Waiter>,
    /// Connections opened so far, and closed: not modelled, they are only counted.
    opened: AtomicU64,
    closed: AtomicU64,
    most: AtomicU64,
}

impl Pool {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let core = Core::new(limits);
        let zero = || AtomicU64::new(0);
        Arc::new(Self { core, opened: zero(), closed: zero(), most: zero() })
    }

    /// A pool whose every place has an idle connection.
    pub(crate) fn full(mut limits: Limits) -> Arc<Self> {
        let max_size = limits.max_size;
        limits.min_size = max_size;
        let pool = Self::new(limits);
        pool.does(0, |todo| pool.core.warm_up(0, todo));
        pool.does(0, |todo| pool.core.resize(0, max_size, 0, todo));
        pool
    }

    /// The same with connections that have sockets.
    pub(crate) fn full_of_sockets(limits: Limits) -> Arc<Self> {
        SOCKETS.set(true);
        hang_up(0);
        Self::full(limits)
    }

    /// Calls the engine, and does what it decided.
    pub(crate) fn does<R>(&self, now: Ticks, decide: impl FnOnce(&mut Todo) -> R) -> R {
        let mut todo = Todo::default();
        let result = decide(&mut todo);
        self.perform(now, todo);
        result
    }

    pub(crate) fn perform(&self, now: Ticks, mut todo: Todo) {
        while !(todo.wakes.is_empty() && todo.jobs.is_empty()) {
            let mut next = Todo::default();
            todo.wakes.drain(..).for_each(deliver);
            todo.jobs.drain(..).for_each(|job| self.run(job, now, &mut next));
            todo = next;
        }
    }

    /// Runs a job to its good end.
    pub(crate) fn run(&self, job: Job<Connection>, now: Ticks, todo: &mut Todo) {
        match job {
            Job::Open(claim) => {
                let connection = self.open();
                let identity = connection.number;
                if self.core.fill(claim, connection, identity, now, todo).is_err() {
                    self.closed.fetch_add(1, Relaxed);
                }
            }
            Job::Check(claim) => {
                self.touch(claim);
                self.core.check_passed(claim, now, todo);
            }
            Job::Close(claim, connection, _) => {
                connection.expect("a connection to close").touch();
                self.closed.fetch_add(1, Relaxed);
                self.core.closed(claim, now, todo);
            }
        }
    }

    pub(crate) fn open(&self) -> Connection {
        let number = self.opened.fetch_add(1, Relaxed) + 1;
        self.most.fetch_max(self.open_now(), Relaxed);
        Connection::new(number)
    }

    pub(crate) fn open_now(&self) -> u64 {
        self.opened() - self.closed()
    }

    /// The most connections that were open at once since `forget_the_past`.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.most.load(Relaxed)
    }

    pub(crate) fn forget_the_past(&self) {
        self.most.store(self.open_now(), Relaxed);
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Relaxed)
    }

    /// Uses the connection of a claim.
    pub(crate) fn touch(&self, claim: Claim) {
        // SAFETY: the claim is the caller's; where it isn't, loom sees it.
        unsafe { self.core.value(claim) }.expect("a claim has a connection").touch();
    }

    pub(crate) fn try_acquire(&self, now: Ticks) -> Option<Claim> {
        let claim = self.core.try_acquire(0, now)?;
        self.core.note_borrow(claim, 1, || 0);
        self.core.note_held(claim, now);
        self.touch(claim);
        Some(claim)
    }

    /// Acquires a connection as every caller does, waiting if needed. `None` when the pool was closed.
    pub(crate) fn acquire(&self, now: Ticks) -> Option<Claim> {
        self.try_acquire(now).or_else(|| {
            let (ticket, mailbox) = self.join(now)?;
            self.wait(ticket, &mailbox, now)
        })
    }

    /// Joins the queue. `None` when the pool is closed.
    pub(crate) fn join(&self, now: Ticks) -> Option<(Ticket, Arc<Mailbox>)> {
        let mailbox = Mailbox::new();
        let waiter = Waiter(Arc::clone(&mailbox));
        let ticket = self.does(now, |todo| self.core.join(waiter, now, todo)).ok()?;
        Some((ticket, mailbox))
    }

    /// Joins the queue, and leaves to the caller what the engine decided.
    pub(crate) fn join_quietly(&self, now: Ticks, todo: &mut Todo) -> (Ticket, Arc<Mailbox>) {
        let mailbox = Mailbox::new();
        let waiter = Waiter(Arc::clone(&mailbox));
        (self.core.join(waiter, now, todo).expect("the pool is open"), mailbox)
    }

    /// Waits for what `join` asked for. `None` when the pool was closed.
    pub(crate) fn wait(&self, ticket: Ticket, mailbox: &Mailbox, now: Ticks) -> Option<Claim> {
        loop {
            match mailbox.wait() {
                News::Granted(claim) => return self.accept(claim, now),
                News::Closed => return None,
                News::Retry => self.does(now, |todo| self.core.retry(ticket, now, todo)),
            }
        }
    }

    fn accept(&self, claim: Claim, now: Ticks) -> Option<Claim> {
        if !self.core.accept(claim) {
            self.does(now, |todo| self.core.give_up(claim, now, todo));
            return None;
        }
        self.core.note_borrow(claim, 1, || 0);
        self.core.note_held(claim, now);
        self.touch(claim);
        Some(claim)
    }

    /// Stops waiting, as a caller does whose time is over.
    pub(crate) fn cancel(&self, ticket: Ticket, mailbox: &Mailbox, now: Ticks) {
        if self.does(now, |todo| self.core.leave(ticket, now, todo)).is_some() {
            return;
        }
        loop {
            match mailbox.wait() {
                News::Granted(claim) => {
                    return self.does(now, |todo| self.core.give_up(claim, now, todo));
                }
                News::Closed => return,
                News::Retry => {}
            }
        }
    }

    /// Gives a connection back as it is. False when the caller does not hold it any more.
    pub(crate) fn release(&self, claim: Claim, now: Ticks) -> bool {
        let Some(held) = self.core.held(claim.slot, Some(claim.generation)) else { return false };
        match self.core.give_back(held, now, || 0) {
            GivenBack::Idle => true,
            GivenBack::Attention => {
                self.does(now, |todo| self.core.after_release(now, todo));
                true
            }
            GivenBack::Spent(reason) => {
                self.does(now, |todo| self.core.retire_held(held, reason, now, todo))
            }
            GivenBack::NotHeld => false,
        }
    }

    /// Gives a connection back after a reset. False when the caller does not hold it any more.
    pub(crate) fn reset(&self, claim: Claim, now: Ticks) -> bool {
        let held = self.core.held(claim.slot, Some(claim.generation));
        let Some(claim) = held.and_then(|held| self.core.begin_reset(held)) else { return false };
        self.touch(claim);
        self.end_reset(claim, now)
    }

    /// Ends a reset, whoever did it. A job has a reference of its own to the connection.
    pub(crate) fn end_reset(&self, claim: Claim, now: Ticks) -> bool {
        match self.core.end_reset(claim, now, || 0) {
            GivenBack::Idle => true,
            GivenBack::Attention => {
                self.does(now, |todo| self.core.after_release(now, todo));
                true
            }
            GivenBack::Spent(reason) => {
                self.does(now, |todo| self.core.retire_reset(claim, reason, now, todo))
            }
            GivenBack::NotHeld => false,
        }
    }
}

pub(crate) fn deliver(wake: Wake<Waiter>) {
    match wake {
        Wake::Granted(waiter, claim) => waiter.0.leave(News::Granted(claim)),
        Wake::Closed(waiter) => waiter.0.leave(News::Closed),
        Wake::Nudge(mailbox) => mailbox.leave(News::Retry),
    }
}
