//! What the engine costs without Python: a borrow and its return, on one thread and on two, and a wait.
//!
//! `floor` is an empty iteration, to be taken off the others.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use divan::{black_box, Bencher};
use millpond_core::{Core, Effects, GivenBack, Job, Limits, Policy, Pulse, Vital, Waker, NEVER};

fn main() {
    divan::main();
}

/// A caller that is never woken.
#[derive(Debug)]
struct Nobody;

impl Waker for Nobody {
    type Nudge = ();

    fn nudge(&self) -> Option<()> {
        None
    }
}

/// A connection without a socket.
#[derive(Debug)]
struct Stub;

impl Vital for Stub {
    fn socket(&self) -> i32 {
        -1
    }

    fn pulse(_: i32) -> Pulse {
        Pulse::Alive
    }
}

/// A pool with this many idle connections and no room for more.
fn pool(size: u32) -> Core<Stub, Nobody> {
    let core = Core::new(Limits {
        min_size: size,
        max_size: size,
        max_waiting: u32::MAX,
        max_uses: u64::MAX,
        policy: Policy::Fair,
        connect_timeout: 5_000,
        max_connecting: u32::MAX,
        fail_fast_after: NEVER,
        idle_timeout: 600_000,
        max_lifetime: 3_600_000,
        validation_interval: 30_000,
        validation_timeout: 5_000,
        leak_threshold: NEVER,
    });
    let mut todo = Effects::default();
    core.warm_up(1, &mut todo);
    for job in std::mem::take(&mut todo.jobs) {
        let Job::Open(claim) = job else { panic!("nothing but new connections") };
        core.fill(claim, Stub, 1, 1, &mut todo).expect("there is room");
    }
    core
}

fn borrow_and_give_back(core: &Core<Stub, Nobody>, habit: u32) {
    let claim = core.try_acquire(black_box(habit), 2).expect("it is idle");
    core.note_borrow(claim, 7, || 1);
    let held = core.held(claim.slot, Some(claim.generation)).expect("it is held");
    assert_eq!(core.give_back(held, 2, || 2), GivenBack::Idle);
}

fn borrow_and_reset(core: &Core<Stub, Nobody>, habit: u32) {
    let claim = core.try_acquire(black_box(habit), 2).expect("it is idle");
    core.note_borrow(claim, 7, || 1);
    let held = core.held(claim.slot, Some(claim.generation)).expect("it is held");
    let claim = core.begin_reset(held).expect("it is held");
    assert_eq!(core.end_reset(claim, 2, || 2), GivenBack::Idle);
}

#[divan::bench]
fn floor(bencher: Bencher) {
    let core = pool(4);
    bencher.bench_local(|| {
        black_box(&core);
    });
}

#[divan::bench]
fn acquire_and_release(bencher: Bencher) {
    let core = pool(4);
    bencher.bench_local(|| borrow_and_give_back(&core, 0));
}

#[divan::bench]
fn acquire_and_release_with_a_reset(bencher: Bencher) {
    let core = pool(4);
    bencher.bench_local(|| borrow_and_reset(&core, 0));
}

/// The thread's last connection is taken, and the sixteenth is the first that is idle.
#[divan::bench]
fn acquire_behind_fifteen_that_are_held(bencher: Bencher) {
    let core = pool(16);
    for slot in 0..15 {
        core.try_acquire(slot, 2).expect("it is idle");
    }
    bencher.bench_local(|| borrow_and_give_back(&core, 0));
}

/// Each thread has a connection that no other thread takes.
#[divan::bench(threads = [1, 2])]
fn acquire_and_release_on_threads(bencher: Bencher) {
    static THREADS: AtomicU32 = AtomicU32::new(0);
    thread_local!(static HABIT: u32 = THREADS.fetch_add(1, Relaxed) % 4);
    let core = pool(4);
    bencher.bench(|| HABIT.with(|habit| borrow_and_give_back(&core, *habit)));
}

#[divan::bench]
fn join_and_leave(bencher: Bencher) {
    let core = pool(1);
    core.try_acquire(0, 2).expect("it is idle");
    bencher.bench_local(|| {
        let mut todo = Effects::default();
        let ticket = core.join(Nobody, 2, &mut todo).expect("the pool is open");
        core.leave(black_box(ticket), 2, &mut todo).expect("it waits");
        todo
    });
}
