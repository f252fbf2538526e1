//! Everything at once, for as long as `MILLPOND_STRESS_SECONDS` says (1 by default): eight callers, a
//! timer, and somebody who resizes, evicts, suspends and resumes.
//!
//! Made to run under `ThreadSanitizer`, see `tests/README.md`. It does not see what the standard library
//! does inside, which is compiled without it: so threads are spawned and joined, every lock is
//! `parking_lot`'s, and nothing that threads share is in an `Arc`.
#![cfg(not(loom))]

use std::cell::UnsafeCell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::spawn;
use std::time::{Duration, Instant};

use millpond_core::{
    Claim, Core, Effects, GivenBack, Held, Job, Limits, Policy, Pulse, Reason, State, Ticks, Vital,
    Wake, Waker, NEVER,
};
use parking_lot::{Condvar, Mutex};

const CALLERS: u64 = 8;
const CONNECTIONS: u32 = 4;

type Todo = Effects<Connection, Waiter>;

/// A connection whose use is no atomic operation: `ThreadSanitizer` sees two owners even when they get
/// along, and the assertion sees them when they do not.
#[derive(Debug)]
struct Connection {
    uses: UnsafeCell<u64>,
    closed: &'static AtomicU64,
}

// SAFETY: a test of just that: one thread at a time uses it.
unsafe impl Send for Connection {}

impl Connection {
    fn touch(&self) {
        let uses = self.uses.get();
        // SAFETY: the caller owns the connection, which is what is tested.
        let before = unsafe { *uses };
        std::hint::spin_loop();
        // SAFETY: as above.
        unsafe { *uses = before + 1 };
        // SAFETY: as above.
        assert_eq!(unsafe { *uses }, before + 1, "two owners");
    }
}

/// Every now and then one has hung up, or has something to say.
impl Vital for Connection {
    fn socket(&self) -> i32 {
        0
    }

    fn pulse(_: i32) -> Pulse {
        static LOOKS: AtomicU64 = AtomicU64::new(0);
        match LOOKS.fetch_add(1, Relaxed) {
            look if look % 997 == 0 => Pulse::Dead,
            look if look % 101 == 0 => Pulse::Doubtful,
            _ => Pulse::Alive,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.touch();
        self.closed.fetch_add(1, Relaxed);
    }
}

#[derive(Debug)]
enum News {
    Granted(Claim),
    Closed,
    Retry,
}

#[derive(Debug, Default)]
struct Mailbox {
    news: Mutex<Option<News>>,
    arrived: Condvar,
}

impl Mailbox {
    fn leave(&self, news: News) {
        let mut place = self.news.lock();
        if place.is_none() || !matches!(news, News::Retry) {
            *place = Some(news);
        }
        self.arrived.notify_one();
    }

    /// `None` when nothing came in time; without a limit something always comes.
    fn wait(&self, limit: Option<Duration>) -> Option<News> {
        let mut place = self.news.lock();
        while place.is_none() {
            // Nobody has to wait that long: a lost wake-up ends the test.
            let patience = limit.unwrap_or(Duration::from_secs(20));
            if self.arrived.wait_for(&mut place, patience).timed_out() {
                assert!(limit.is_some() || place.is_some(), "a wake-up was lost");
                break;
            }
        }
        place.take()
    }
}

/// A caller that waits with its one mailbox. A nudge for its wait before may still come: an idle try.
#[derive(Debug)]
struct Waiter(&'static Mailbox);

impl Waker for Waiter {
    type Nudge = &'static Mailbox;

    fn nudge(&self) -> Option<&'static Mailbox> {
        Some(self.0)
    }
}

struct Pool {
    core: Core<Connection, Waiter>,
    start: Instant,
    opened: AtomicU64,
    closed: &'static AtomicU64,
    served: AtomicU64,
    gave_up: AtomicU64,
}

/// The numbers of one caller: `SplitMix64`, so that a run can be understood.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

impl Pool {
    /// One that stays for the rest of the process.
    fn new(policy: Policy) -> &'static Self {
        let limits = Limits {
            min_size: 1,
            max_size: CONNECTIONS,
            max_waiting: u32::MAX,
            max_uses: 1000,
            policy,
            connect_timeout: 5000,
            max_connecting: 2,
            fail_fast_after: NEVER,
            idle_timeout: 2,
            max_lifetime: 50,
            validation_interval: 3,
            validation_timeout: 5000,
            leak_threshold: 5,
        };
        Box::leak(Box::new(Self {
            core: Core::new(limits),
            start: Instant::now(),
            opened: AtomicU64::new(0),
            closed: Box::leak(Box::default()),
            served: AtomicU64::new(0),
            gave_up: AtomicU64::new(0),
        }))
    }

    fn now(&self) -> Ticks {
        let now = self.start.elapsed().as_millis();
        Ticks::try_from(now).expect("a test of less than a million years") + 1
    }

    fn does<R>(&self, decide: impl FnOnce(&Core<Connection, Waiter>, Ticks, &mut Todo) -> R) -> R {
        let mut todo = Todo::default();
        let result = decide(&self.core, self.now(), &mut todo);
        while !(todo.wakes.is_empty() && todo.jobs.is_empty()) {
            let mut next = Todo::default();
            for wake in todo.wakes.drain(..) {
                match wake {
                    Wake::Granted(waiter, claim) => waiter.0.leave(News::Granted(claim)),
                    Wake::Closed(waiter) => waiter.0.leave(News::Closed),
                    Wake::Nudge(mailbox) => mailbox.leave(News::Retry),
                }
            }
            todo.jobs.drain(..).for_each(|job| self.run(job, &mut next));
            todo = next;
        }
        result
    }

    fn run(&self, job: Job<Connection>, todo: &mut Todo) {
        let now = self.now();
        match job {
            Job::Open(claim) => {
                let number = self.opened.fetch_add(1, Relaxed) + 1;
                let connection = Connection { uses: UnsafeCell::new(0), closed: self.closed };
                drop(self.core.fill(claim, connection, number, now, todo));
            }
            Job::Check(claim) => {
                self.touch(claim);
                self.core.check_passed(claim, now, todo);
            }
            Job::Close(claim, connection, _) => {
                drop(connection);
                self.core.closed(claim, now, todo);
            }
        }
    }

    fn touch(&self, claim: Claim) {
        // SAFETY: the claim is the caller's.
        unsafe { self.core.value(claim) }.expect("a claim has a connection").touch();
    }

    /// Acquires as a caller does, who waits no longer than `limit`.
    fn acquire(
        &self,
        habit: u32,
        mailbox: &'static Mailbox,
        limit: Option<Duration>,
    ) -> Option<Claim> {
        if let Some(claim) = self.core.try_acquire(habit, self.now()) {
            return Some(claim);
        }
        let ticket = self.does(|core, now, todo| core.join(Waiter(mailbox), now, todo)).ok()?;
        loop {
            match mailbox.wait(limit) {
                Some(News::Granted(claim)) if self.core.accept(claim) => return Some(claim),
                Some(News::Granted(claim)) => {
                    self.does(|core, now, todo| core.give_up(claim, now, todo));
                    return None;
                }
                Some(News::Closed) => return None,
                Some(News::Retry) => self.does(|core, now, todo| core.retry(ticket, now, todo)),
                None => {
                    let left = self.does(|core, now, todo| core.leave(ticket, now, todo));
                    if left.is_some() {
                        self.gave_up.fetch_add(1, Relaxed);
                        return None;
                    }
                    // Served at the last moment, and does not want it any more.
                    if let Some(News::Granted(claim)) = last_news(mailbox) {
                        self.does(|core, now, todo| core.give_up(claim, now, todo));
                    }
                    return None;
                }
            }
        }
    }

    fn release(&self, claim: Claim, how: u64) {
        let held = self.core.held(claim.slot, Some(claim.generation)).expect("it is held");
        match how {
            0 => {
                let retire = |core: &Core<_, _>, now: Ticks, todo: &mut Todo| {
                    core.retire_held(held, Reason::Discarded, now, todo)
                };
                assert!(self.does(retire));
            }
            1..4 => self.reset(held),
            _ => {
                let end = self.core.give_back(held, self.now(), || 1);
                self.finish(end, |core, reason, now, todo| {
                    core.retire_held(held, reason, now, todo)
                });
            }
        }
        assert!(self.core.held(claim.slot, Some(claim.generation)).is_none());
    }

    fn reset(&self, held: Held) {
        let claim = self.core.begin_reset(held).expect("it is held");
        self.touch(claim);
        let end = self.core.end_reset(claim, self.now(), || 1);
        self.finish(end, |core, reason, now, todo| core.retire_reset(claim, reason, now, todo));
    }

    fn finish(
        &self,
        end: GivenBack,
        retire: impl FnOnce(&Core<Connection, Waiter>, Reason, Ticks, &mut Todo) -> bool,
    ) {
        match end {
            GivenBack::Idle => {}
            GivenBack::Attention => self.does(Core::after_release),
            GivenBack::Spent(reason) => {
                assert!(self.does(|core, now, todo| retire(core, reason, now, todo)));
            }
            GivenBack::NotHeld => panic!("it was held"),
        }
    }
}

/// The grant or the bad news of a waiter that was taken off the queue.
fn last_news(mailbox: &Mailbox) -> Option<News> {
    loop {
        match mailbox.wait(None) {
            Some(News::Retry) => {}
            news => return news,
        }
    }
}

fn caller(pool: &Pool, number: u64, end: Instant) {
    let mut random = Random(number);
    let mailbox = Box::leak(Box::default());
    let mut habit = 0;
    while Instant::now() < end {
        let limit = (random.below(8) == 0).then(|| Duration::from_micros(random.below(300)));
        let Some(claim) = pool.acquire(habit, mailbox, limit) else { continue };
        pool.core.note_borrow(claim, number, || 1);
        pool.core.note_held(claim, pool.now());
        habit = claim.slot;
        for _ in 0..random.below(20) {
            pool.touch(claim);
        }
        pool.release(claim, random.below(16));
        pool.served.fetch_add(1, Relaxed);
    }
}

fn owner(pool: &Pool, end: Instant) {
    let mut random = Random(99);
    while Instant::now() < end {
        match random.below(5) {
            0 => pool.does(Core::evict),
            1 => {
                pool.core.suspend();
                pool.does(Core::resume);
            }
            _ => {
                let max_size =
                    1 + u32::try_from(random.below(u64::from(CONNECTIONS))).expect("small");
                pool.does(|core, now, todo| core.resize(1, max_size, now, todo));
            }
        }
        std::thread::yield_now();
    }
    pool.does(|core, now, todo| core.resize(1, CONNECTIONS, now, todo));
}

fn timer(pool: &Pool, end: Instant) {
    while Instant::now() < end {
        pool.does(Core::advance);
        std::thread::yield_now();
    }
}

fn seconds() -> Duration {
    let seconds = std::env::var("MILLPOND_STRESS_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(1.0))
}

fn stress(policy: Policy) {
    let pool = Pool::new(policy);
    let end = Instant::now() + seconds();
    let mut threads = vec![spawn(move || owner(pool, end)), spawn(move || timer(pool, end))];
    for number in 0..CALLERS {
        threads.push(spawn(move || caller(pool, number, end)));
    }
    for thread in threads {
        thread.join().expect("no thread fails");
    }

    assert_eq!(pool.core.waiting(), 0);
    assert!(pool.served.load(Relaxed) > 0);
    assert!(pool.does(Core::shut));
    assert_eq!(pool.core.count(|state| state != State::Empty), 0);
    assert_eq!(pool.opened.load(Relaxed), pool.closed.load(Relaxed));
    eprintln!(
        "{policy:?}: {} served, {} gave up, {} connections",
        pool.served.load(Relaxed),
        pool.gave_up.load(Relaxed),
        pool.opened.load(Relaxed),
    );
}

#[test]
fn nobody_shares_a_connection_and_nobody_is_forgotten_when_all_take_turns() {
    stress(Policy::Fair);
}

#[test]
fn nobody_shares_a_connection_and_nobody_is_forgotten_when_newcomers_may_overtake() {
    stress(Policy::Throughput);
}
