//! A connection that belongs to one caller, while time and others act on it.
#![cfg(loom)]

mod model;

use std::sync::Arc;

use loom::thread;
use millpond_core::{Limits, Ticks};
use model::{explore, explore_up_to, limits, Pool, Todo};

const TIMEOUT: Ticks = 100;

/// The first connection of every pool.
const OWN: u64 = 1;

/// A pool whose only connection is kept and idle.
fn resting(limits: Limits) -> Arc<Pool> {
    let pool = Pool::full(limits);
    let claim = pool.try_acquire(0).expect("it is idle");
    assert!(pool.core.keep(pool.core.held(claim.slot, None).expect("it is held")));
    assert!(pool.release(claim, 0));
    pool
}

fn reclaim(pool: &Pool, now: Ticks) -> bool {
    let Some(claim) = pool.core.reclaim(OWN, 0, now) else { return false };
    pool.touch(claim);
    assert!(pool.release(claim, now));
    true
}

fn forsake(pool: &Pool) -> bool {
    pool.does(0, |todo| pool.core.forsake(OWN, 0, 0, todo))
}

#[test]
fn a_kept_connection_is_either_reclaimed_or_closed() {
    explore(|| {
        let pool = resting(Limits { idle_timeout: TIMEOUT, ..limits(1) });
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || {
            let mut todo = Todo::default();
            timer.core.advance(TIMEOUT, &mut todo);
            timer.perform(TIMEOUT, todo);
        });

        let reclaimed = reclaim(&pool, TIMEOUT);

        timer.join().unwrap();
        assert_eq!(reclaimed, pool.closed() == 0);
    });
}

#[test]
fn a_kept_connection_that_is_validated_is_nobody_elses_afterwards() {
    explore(|| {
        let pool = resting(Limits { validation_interval: TIMEOUT, ..limits(1) });
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || {
            let mut todo = Todo::default();
            timer.core.advance(TIMEOUT, &mut todo);
            timer.perform(TIMEOUT, todo);
        });

        reclaim(&pool, TIMEOUT);

        timer.join().unwrap();
        assert_eq!(pool.try_acquire(TIMEOUT), None);
        assert!(reclaim(&pool, TIMEOUT));
    });
}

#[test]
fn a_kept_connection_that_is_forsaken_while_it_is_validated_is_closed_once() {
    explore(|| {
        let pool = resting(Limits { validation_interval: TIMEOUT, ..limits(1) });
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || {
            let mut todo = Todo::default();
            timer.core.advance(TIMEOUT, &mut todo);
            timer.perform(TIMEOUT, todo);
        });

        assert!(forsake(&pool));

        timer.join().unwrap();
        assert_eq!(pool.closed(), 1);
        assert!(!reclaim(&pool, TIMEOUT));
    });
}

#[test]
fn whoever_waits_gets_the_place_of_a_forsaken_connection() {
    explore_up_to(3, || {
        let pool = resting(limits(1));
        let owner = Arc::clone(&pool);
        let owner = thread::spawn(move || {
            assert!(reclaim(&owner, 0));
            assert!(forsake(&owner));
        });

        let claim = pool.acquire(0).expect("the pool is open");

        owner.join().unwrap();
        assert_eq!((pool.opened(), pool.closed()), (2, 1));
        assert!(pool.release(claim, 0));
    });
}

#[test]
fn a_kept_connection_is_closed_with_the_pool_also_when_it_is_released_meanwhile() {
    explore(|| {
        let pool = resting(limits(1));
        let claim = pool.core.reclaim(OWN, 0, 0).expect("it is idle");
        let owner = Arc::clone(&pool);
        let owner = thread::spawn(move || {
            owner.release(claim, 0);
            reclaim(&owner, 0);
        });

        assert!(pool.does(0, |todo| pool.core.shut(0, todo)));

        owner.join().unwrap();
        assert_eq!(pool.closed(), 1);
    });
}
