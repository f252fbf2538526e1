//! Closing, suspending and shrinking a pool while others use it.
#![cfg(loom)]

mod model;

use std::sync::Arc;

use loom::thread;
use millpond_core::{Claim, Job, Reason, State};
use model::{explore, explore_up_to, limits, Pool, Todo};

fn one_held() -> (Arc<Pool>, Claim) {
    let pool = Pool::full(limits(1));
    let held = pool.try_acquire(0).expect("it is idle");
    (pool, held)
}

/// A connection is being opened for a waiter that has left again.
fn opening() -> (Arc<Pool>, Claim) {
    let (pool, held) = one_held();
    let mut todo = Todo::default();
    let (ticket, _) = pool.join_quietly(0, &mut todo);
    let held = pool.core.held(held.slot, None).expect("it is held");
    assert!(pool.core.retire_held(held, Reason::Discarded, 0, &mut todo));
    let close = todo.jobs.pop().expect("it is closed");
    pool.run(close, 0, &mut todo);
    let Some(Job::Open(claim)) = todo.jobs.pop() else { panic!("it is opened for the waiter") };
    assert!(pool.core.leave(ticket, 0, &mut todo).is_some());
    (pool, claim)
}

fn assert_empty(pool: &Pool) {
    assert_eq!(pool.opened(), pool.closed());
    assert_eq!(pool.core.count(|state| state != State::Empty), 0);
    assert_eq!(pool.core.waiting(), 0);
}

#[test]
fn a_connection_that_is_released_while_the_pool_is_closed_is_closed() {
    explore(|| {
        let (pool, held) = one_held();
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));

        assert!(pool.does(0, |todo| pool.core.shut(0, todo)));

        releaser.join().unwrap();
        assert_empty(&pool);
    });
}

#[test]
fn a_connection_that_is_reset_while_the_pool_is_closed_is_closed() {
    explore(|| {
        let (pool, held) = one_held();
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.reset(held, 0)));

        assert!(pool.does(0, |todo| pool.core.shut(0, todo)));

        releaser.join().unwrap();
        assert_empty(&pool);
    });
}

#[test]
fn a_connection_that_is_acquired_while_the_pool_is_closed_is_closed_on_its_return() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let borrower = Arc::clone(&pool);
        let borrower = thread::spawn(move || {
            if let Some(claim) = borrower.try_acquire(0) {
                assert!(borrower.release(claim, 0));
            }
        });

        assert!(pool.does(0, |todo| pool.core.shut(0, todo)));

        borrower.join().unwrap();
        assert_empty(&pool);
    });
}

#[test]
fn a_caller_does_not_wait_for_a_pool_that_is_closed() {
    explore_up_to(3, || {
        let (pool, held) = one_held();
        let caller = Arc::clone(&pool);
        let caller = thread::spawn(move || {
            if let Some(claim) = caller.acquire(0) {
                assert!(caller.release(claim, 0));
            }
        });
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));

        assert!(pool.does(0, |todo| pool.core.shut(0, todo)));

        caller.join().unwrap();
        releaser.join().unwrap();
        assert_empty(&pool);
    });
}

#[test]
fn a_connection_that_arrives_while_the_pool_is_closed_is_closed() {
    explore(|| {
        let (pool, claim) = opening();
        let opener = Arc::clone(&pool);
        let opener = thread::spawn(move || {
            let mut todo = Todo::default();
            opener.run(Job::Open(claim), 0, &mut todo);
            opener.perform(0, todo);
        });

        assert!(pool.does(0, |todo| pool.core.shut(0, todo)));

        opener.join().unwrap();
        assert_empty(&pool);
    });
}

#[test]
fn a_waiter_of_a_suspended_pool_is_served_when_it_goes_on() {
    explore_up_to(3, || {
        let (pool, held) = one_held();
        pool.core.suspend();
        let caller = Arc::clone(&pool);
        let caller = thread::spawn(move || {
            let claim = caller.acquire(0).expect("the pool is open");
            assert!(caller.release(claim, 0));
        });
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));

        pool.does(0, |todo| pool.core.resume(0, todo));

        caller.join().unwrap();
        releaser.join().unwrap();
    });
}

/// Two connections; the caller holds the second one.
fn second_held() -> (Arc<Pool>, Claim) {
    let pool = Pool::full(limits(2));
    let first = pool.try_acquire(0).expect("there are two");
    let second = pool.try_acquire(0).expect("there are two");
    assert!(pool.release(first, 0));
    assert_eq!((first.slot, second.slot), (0, 1));
    (pool, second)
}

/// Nobody has to queue for an idle connection.
fn assert_no_longer_shrinking(pool: &Pool) {
    let claim = pool.acquire(0).expect("the pool is open");
    assert!(pool.release(claim, 0));
    assert!(pool.try_acquire(0).is_some());
}

#[test]
fn a_connection_above_the_limit_does_not_stay_though_it_is_being_released() {
    explore_up_to(4, || {
        let (pool, held) = second_held();
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));

        pool.does(0, |todo| pool.core.resize(0, 1, 0, todo));

        releaser.join().unwrap();
        assert!(pool.core.views().iter().all(|view| view.slot == 0));
        assert_no_longer_shrinking(&pool);
    });
}

#[test]
fn a_connection_above_the_limit_does_not_stay_though_it_is_being_reset() {
    explore_up_to(4, || {
        let (pool, held) = second_held();
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.reset(held, 0)));

        pool.does(0, |todo| pool.core.resize(0, 1, 0, todo));

        releaser.join().unwrap();
        assert!(pool.core.views().iter().all(|view| view.slot == 0));
        assert_no_longer_shrinking(&pool);
    });
}

#[test]
fn a_waiter_of_a_pool_that_became_smaller_is_served_and_the_limit_is_kept() {
    explore_up_to(4, || {
        let (pool, held) = second_held();
        let first = pool.try_acquire(0).expect("it is idle");
        pool.does(0, |todo| pool.core.resize(0, 1, 0, todo));
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || {
            assert!(releaser.release(first, 0));
            assert!(releaser.release(held, 0));
        });

        let claim = pool.acquire(0).expect("the pool is open");

        releaser.join().unwrap();
        assert_eq!(pool.open_now(), 1);
        assert!(pool.release(claim, 0));
        assert_no_longer_shrinking(&pool);
    });
}

#[test]
fn a_connection_that_moves_below_the_limit_leaves_no_room_for_another() {
    explore_up_to(3, || {
        let pool = Pool::full(limits(4));
        let held = [(); 4].map(|()| pool.try_acquire(0).expect("there are four"));
        pool.does(0, |todo| pool.core.resize(0, 2, 0, todo));
        assert!(pool.release(held[0], 0));
        assert!(pool.release(held[1], 0));
        assert_eq!(pool.open_now(), 2, "both are above the limit");
        pool.forget_the_past();
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held[2], 0)));

        let claim = pool.acquire(0).expect("the pool is open");

        releaser.join().unwrap();
        assert_eq!(pool.most_at_once(), 2);
        assert!(pool.release(claim, 0));
        assert!(pool.release(held[3], 0));
        assert_no_longer_shrinking(&pool);
    });
}

#[test]
fn a_connection_does_not_escape_its_eviction_by_moving_below_the_limit() {
    explore_up_to(4, || {
        let (pool, held) = second_held();
        pool.does(0, |todo| pool.core.resize(0, 1, 0, todo));
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));

        pool.does(0, |todo| pool.core.evict(0, todo));

        releaser.join().unwrap();
        assert_eq!(pool.core.count(|state| state != State::Empty), 0);
    });
}

#[test]
fn of_two_resizes_at_once_the_limit_that_stays_is_kept() {
    explore(|| {
        let (pool, held) = second_held();
        let first = pool.try_acquire(0).expect("it is idle");
        let other = Arc::clone(&pool);
        let other = thread::spawn(move || other.does(0, |todo| other.core.resize(0, 2, 0, todo)));

        pool.does(0, |todo| pool.core.resize(0, 1, 0, todo));

        other.join().unwrap();
        assert!(pool.release(first, 0));
        let (_, max_size) = pool.core.sizes();
        assert!(pool.core.count(|state| state != State::Empty) <= max_size as usize);
        assert!(pool.release(held, 0));
    });
}
