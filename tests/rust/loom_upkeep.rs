//! Time against everybody else: what expires, what is overdue, and who was faster.
#![cfg(loom)]

mod model;

use std::sync::Arc;

use loom::thread;
use millpond_core::{Claim, Job, Limits, State, Ticks};
use model::{explore, explore_up_to, limits, Connection, Pool, Todo};

const TIMEOUT: Ticks = 100;

fn idle_limit() -> Limits {
    Limits { idle_timeout: TIMEOUT, ..limits(1) }
}

/// Lets time act, without running the jobs that it begins.
fn advance(pool: &Pool, now: Ticks) -> (Option<Ticks>, Todo) {
    let mut todo = Todo::default();
    let next = pool.core.advance(now, &mut todo);
    (next, todo)
}

#[test]
fn an_idle_connection_is_either_acquired_or_closed() {
    explore(|| {
        let pool = Pool::full(idle_limit());
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || {
            let (_, todo) = advance(&timer, TIMEOUT);
            let closes = todo.jobs.len();
            timer.perform(TIMEOUT, todo);
            closes
        });

        let claim = pool.try_acquire(TIMEOUT);

        assert_eq!(claim.is_some(), timer.join().unwrap() == 0);
    });
}

#[test]
fn a_connection_that_is_released_while_the_timer_looks_at_it_expires_later() {
    explore(|| {
        let pool = Pool::full(idle_limit());
        let held = pool.try_acquire(0).expect("it is idle");
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || advance(&timer, TIMEOUT).0);

        assert!(pool.release(held, TIMEOUT));

        let next = timer.join().unwrap().expect("somebody has to look again");
        expires(&pool, next);
    });
}

#[test]
fn a_connection_that_is_being_reset_while_the_timer_looks_at_it_expires_later() {
    explore(|| {
        let pool = Pool::full(idle_limit());
        let held = pool.try_acquire(0).expect("it is idle");
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || advance(&timer, TIMEOUT).0);

        assert!(pool.reset(held, TIMEOUT));

        let next = timer.join().unwrap().expect("somebody has to look again");
        expires(&pool, next);
    });
}

/// The timer, which wakes up only when it is due, comes to close the connection.
fn expires(pool: &Pool, mut next: Ticks) {
    for _ in 0..3 {
        assert!(next <= 3 * TIMEOUT);
        let (again, todo) = advance(pool, next);
        pool.perform(next, todo);
        match again {
            _ if pool.closed() == 1 => return,
            Some(again) => next = again,
            None => break,
        }
    }
    panic!("it never expires");
}

#[test]
fn a_waiter_is_served_though_the_connection_expires_at_its_release() {
    explore_up_to(4, || {
        let pool = Pool::full(idle_limit());
        let held = pool.try_acquire(0).expect("it is idle");
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || {
            let (_, todo) = advance(&timer, 3 * TIMEOUT);
            timer.perform(3 * TIMEOUT, todo);
        });
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));

        let claim = pool.acquire(0).expect("the pool is open");

        timer.join().unwrap();
        releaser.join().unwrap();
        assert!(pool.release(claim, 3 * TIMEOUT));
    });
}

/// A pool in which the connection for a waiter is on its way, with the time that it has for that.
fn opening() -> (Arc<Pool>, Claim) {
    let pool = Pool::full(Limits { connect_timeout: TIMEOUT, ..limits(1) });
    let held = pool.try_acquire(0).expect("it is idle");
    let held = pool.core.held(held.slot, None).expect("it is held");
    let mut todo = Todo::default();
    pool.core.detach(held, 0, &mut todo).expect("it is held").touch();
    let (ticket, _) = pool.join_quietly(0, &mut todo);
    let Some(Job::Open(claim)) = todo.jobs.pop() else { panic!("it is opened for the waiter") };
    assert!(pool.core.leave(ticket, 0, &mut todo).is_some());
    (pool, claim)
}

#[test]
fn a_connection_that_arrives_at_its_deadline_is_either_in_the_pool_or_refused() {
    explore(|| {
        let (pool, claim) = opening();
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || advance(&timer, TIMEOUT).1.overdue.len());

        let filled = pool.does(0, |todo| {
            let filled = pool.core.fill(claim, Connection::new(9), 9, 0, todo);
            filled.is_ok()
        });

        assert_eq!(filled, timer.join().unwrap() == 0, "overdue is what lost its place");
        assert_eq!(filled, pool.try_acquire(0).is_some());
        assert_eq!(pool.core.stats().open_failed.get(), u64::from(!filled));
    });
}

#[test]
fn a_validation_that_ends_at_its_deadline_is_either_passed_or_overdue() {
    explore(|| {
        let limits =
            Limits { validation_interval: TIMEOUT, validation_timeout: TIMEOUT, ..limits(1) };
        let pool = Pool::full(limits);
        let (_, mut todo) = advance(&pool, TIMEOUT);
        let Some(Job::Check(claim)) = todo.jobs.pop() else { panic!("it has to be validated") };
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || {
            let (_, todo) = advance(&timer, 2 * TIMEOUT);
            let overdue = todo.overdue.len();
            timer.perform(2 * TIMEOUT, todo);
            overdue
        });

        pool.does(2 * TIMEOUT, |todo| pool.core.check_passed(claim, 2 * TIMEOUT, todo));

        let passed = timer.join().unwrap() == 0;
        assert_eq!(passed, pool.try_acquire(2 * TIMEOUT).is_some());
        assert_eq!(pool.closed(), u64::from(!passed));
        let stats = pool.core.stats();
        assert_eq!((stats.checks.get(), stats.checks_failed.get()), (1, u64::from(!passed)));
    });
}

/// A connection that its holder left to a job to reset, until `TIMEOUT`.
fn being_reset() -> (Arc<Pool>, Claim) {
    let pool = Pool::full(Limits { validation_timeout: TIMEOUT, ..limits(1) });
    let claim = pool.try_acquire(0).expect("it is idle");
    let held = pool.core.held(claim.slot, Some(claim.generation)).expect("it was just acquired");
    let claim = pool.does(0, |todo| pool.core.reset_later(held, 0, todo));
    (pool, claim.expect("it is held"))
}

#[test]
fn a_reset_by_a_job_that_ends_at_its_deadline_is_either_done_or_overdue() {
    explore(|| {
        let (pool, claim) = being_reset();
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || {
            let (_, todo) = advance(&timer, TIMEOUT);
            let overdue = todo.overdue.len();
            timer.perform(TIMEOUT, todo);
            overdue
        });

        let done = pool.core.is_current(claim) && pool.end_reset(claim, TIMEOUT);

        assert_eq!(done, timer.join().unwrap() == 0);
        assert_eq!(done, pool.try_acquire(TIMEOUT).is_some());
        assert_eq!(pool.closed(), u64::from(!done));
    });
}

#[test]
fn a_waiter_is_served_by_the_end_of_a_reset_that_a_job_does() {
    explore(|| {
        let (pool, claim) = being_reset();
        let waiter = Arc::clone(&pool);
        let waiter = thread::spawn(move || waiter.acquire(0).is_some());

        assert!(pool.end_reset(claim, 0));

        assert!(waiter.join().unwrap());
    });
}

#[test]
fn a_job_that_just_began_is_not_overdue() {
    explore(|| {
        let pool = Pool::full(Limits { connect_timeout: TIMEOUT, ..idle_limit() });
        let now = 5 * TIMEOUT;
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || advance(&timer, now).1);

        let mut todo = Todo::default();
        pool.core.evict(now, &mut todo);

        let of_timer = timer.join().unwrap();
        assert_eq!(of_timer.overdue.len(), 0, "it has {TIMEOUT} ticks from now on");
        assert_eq!(todo.jobs.len() + of_timer.jobs.len(), 1);
        pool.perform(now, todo);
        pool.perform(now, of_timer);
        assert_eq!(pool.core.count(|state| state == State::Empty), 1);
    });
}

#[test]
fn a_job_that_began_while_the_timer_looked_at_its_slot_has_its_deadline() {
    explore(|| {
        let pool = Pool::full(Limits { connect_timeout: TIMEOUT / 10, ..idle_limit() });
        let held = pool.try_acquire(0).expect("it is idle");
        assert!(pool.release(held, TIMEOUT / 2));
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || advance(&timer, TIMEOUT).0);

        let mut todo = Todo::default();
        pool.core.evict(TIMEOUT, &mut todo);

        assert_eq!(todo.jobs.len(), 1, "it is not yet idle for long enough");
        let due_at = TIMEOUT + TIMEOUT / 10;
        let timer_knows = timer.join().unwrap().is_some_and(|next| next <= due_at);
        assert!(timer_knows || todo.retimed);
        assert_eq!(advance(&pool, due_at).1.overdue.len(), 1);
    });
}

#[test]
fn a_waiter_is_served_when_the_pause_after_a_failure_ends_while_it_joins() {
    explore_up_to(4, || {
        let (pool, claim) = opening();
        let mut todo = Todo::default();
        assert!(pool.core.open_failed(claim, TIMEOUT, true, 0, &mut todo));
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || {
            let (_, todo) = advance(&timer, TIMEOUT);
            timer.perform(TIMEOUT, todo);
        });

        let served = pool.acquire(0);

        timer.join().unwrap();
        assert!(served.is_some());
    });
}

#[test]
fn a_connection_can_be_acquired_though_its_holder_released_it_at_the_moment_of_a_report() {
    explore(|| {
        let pool = Pool::full(Limits { leak_threshold: TIMEOUT, ..limits(1) });
        let held = pool.try_acquire(0).expect("it is idle");
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || advance(&timer, TIMEOUT).1.leaks);

        assert!(pool.release(held, TIMEOUT));

        let leaks = timer.join().unwrap();
        assert!(leaks.iter().all(|leak| *leak == held));
        assert_eq!(pool.core.stats().leaks.get(), leaks.len() as u64);
        assert!(pool.try_acquire(TIMEOUT).is_some());
    });
}

#[test]
fn who_just_acquired_a_connection_is_not_reported_for_having_it_for_long() {
    explore(|| {
        let pool = Pool::full(Limits { leak_threshold: TIMEOUT, ..limits(1) });
        let before = pool.try_acquire(0).expect("it is idle");
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || advance(&timer, TIMEOUT).1.leaks);

        assert!(pool.release(before, TIMEOUT));
        let held = pool.try_acquire(TIMEOUT).expect("it is idle");

        assert!(!timer.join().unwrap().contains(&held));
        let (_, todo) = advance(&pool, 3 * TIMEOUT);
        assert_eq!(todo.leaks, [held], "but later");
    });
}
