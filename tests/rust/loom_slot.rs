//! One connection and several who want it: one of them gets it, and the others see that they didn't.
#![cfg(loom)]

mod model;

use std::sync::Arc;

use loom::thread;
use millpond_core::State;
use model::{explore, limits, Pool};

#[test]
fn of_two_callers_one_gets_the_connection() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let other = Arc::clone(&pool);
        let other = thread::spawn(move || other.try_acquire(0));

        let mine = pool.try_acquire(0);

        let others = other.join().unwrap();
        assert!(mine.is_some() != others.is_some());
    });
}

#[test]
fn a_connection_is_never_in_two_hands() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let other = Arc::clone(&pool);
        let borrow_and_release = |pool: &Pool| {
            if let Some(claim) = pool.try_acquire(0) {
                assert!(pool.release(claim, 0));
            }
        };
        let other = thread::spawn(move || borrow_and_release(&other));

        borrow_and_release(&pool);

        other.join().unwrap();
        assert!(pool.try_acquire(0).is_some());
    });
}

#[test]
fn of_two_releases_of_one_connection_one_counts() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let held = pool.try_acquire(0).expect("it is idle");
        let other = Arc::clone(&pool);
        let other = thread::spawn(move || other.release(held, 0));

        let mine = pool.release(held, 0);

        assert!(mine != other.join().unwrap());
    });
}

#[test]
fn of_two_releases_with_a_reset_one_resets() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let held = pool.try_acquire(0).expect("it is idle");
        let other = Arc::clone(&pool);
        let other = thread::spawn(move || other.reset(held, 0));

        let mine = pool.reset(held, 0);

        assert!(mine != other.join().unwrap());
    });
}

#[test]
fn a_late_second_release_never_takes_the_connection_from_its_next_holder() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let held = pool.try_acquire(0).expect("it is idle");
        let other = Arc::clone(&pool);
        let other = thread::spawn(move || other.release(held, 0));

        let mine = pool.release(held, 0);
        let next = pool.try_acquire(0);

        assert!(mine != other.join().unwrap());
        if let Some(next) = next {
            assert!(pool.release(next, 0), "it was taken away");
        }
    });
}

#[test]
fn an_evicted_connection_is_closed_though_it_is_being_released() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let held = pool.try_acquire(0).expect("it is idle");
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));

        pool.does(0, |todo| pool.core.evict(0, todo));

        releaser.join().unwrap();
        assert_eq!(pool.closed(), 1);
        assert_eq!(pool.core.count(|state| state == State::Empty), 1);
    });
}

#[test]
fn an_evicted_connection_is_closed_though_it_is_being_reset() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let held = pool.try_acquire(0).expect("it is idle");
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.reset(held, 0)));

        pool.does(0, |todo| pool.core.evict(0, todo));

        releaser.join().unwrap();
        assert_eq!(pool.closed(), 1);
    });
}

#[test]
fn an_evicted_connection_is_closed_though_it_changes_hands() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let held = pool.try_acquire(0).expect("it is idle");
        let borrower = Arc::clone(&pool);
        let borrower = thread::spawn(move || {
            assert!(borrower.release(held, 0));
            borrower.try_acquire(0)
        });

        pool.does(0, |todo| pool.core.evict(0, todo));

        if let Some(held) = borrower.join().unwrap() {
            assert!(pool.release(held, 0));
        }
        assert_eq!(pool.closed(), 1);
    });
}

#[test]
fn a_connection_that_its_holder_keeps_is_in_the_pool_no_more() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let held = pool.try_acquire(0).expect("it is idle");
        let other = Arc::clone(&pool);
        let other = thread::spawn(move || other.release(held, 0));

        let kept = pool
            .core
            .held(held.slot, Some(held.generation))
            .and_then(|held| pool.does(0, |todo| pool.core.detach(held, 0, todo)));

        assert!(kept.is_some() != other.join().unwrap());
        assert!(kept.is_some() != pool.try_acquire(0).is_some());
    });
}
