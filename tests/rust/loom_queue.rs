//! Waiting: who releases, joins, leaves and gives up at the same time, in every order.
#![cfg(loom)]

mod model;

use std::sync::Arc;

use loom::thread;
use millpond_core::{Limits, Policy, Reason, State, HAND_OFF_AFTER};
use model::{explore, explore_up_to, limits, Pool};

/// One connection, which is in the hands of the caller.
fn one_held() -> (Arc<Pool>, millpond_core::Claim) {
    let pool = Pool::full(limits(1));
    let held = pool.try_acquire(0).expect("it is idle");
    (pool, held)
}

fn throughput(max_size: u32) -> Limits {
    Limits { policy: Policy::Throughput, ..limits(max_size) }
}

#[test]
fn a_release_never_misses_a_waiter() {
    explore(|| {
        let (pool, held) = one_held();
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));

        let claim = pool.acquire(0).expect("the pool is open");

        assert!(pool.release(claim, 0));
        releaser.join().unwrap();
        assert_eq!(pool.core.waiting(), 0);
    });
}

#[test]
fn a_release_with_a_reset_never_misses_a_waiter() {
    explore(|| {
        let (pool, held) = one_held();
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.reset(held, 0)));

        let claim = pool.acquire(0).expect("the pool is open");

        assert!(pool.reset(claim, 0));
        releaser.join().unwrap();
        assert_eq!(pool.opened(), 1);
    });
}

#[test]
fn a_connection_that_its_holder_discards_makes_room_for_a_waiter() {
    explore_up_to(4, || {
        let (pool, held) = one_held();
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || {
            let held = releaser.core.held(held.slot, None).expect("it is held");
            releaser.does(0, |todo| releaser.core.retire_held(held, Reason::Discarded, 0, todo));
        });

        let claim = pool.acquire(0).expect("the pool is open");

        assert!(pool.release(claim, 0));
        releaser.join().unwrap();
        assert_eq!((pool.opened(), pool.closed()), (2, 1));
    });
}

#[test]
fn a_connection_goes_back_to_the_pool_when_its_waiter_gives_up_at_the_moment_of_the_release() {
    explore(|| {
        let (pool, held) = one_held();
        let (ticket, mailbox) = pool.join(0).expect("the pool is open");
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));

        pool.cancel(ticket, &mailbox, 0);

        releaser.join().unwrap();
        assert_eq!(pool.core.waiting(), 0);
        assert!(pool.try_acquire(0).is_some());
    });
}

#[test]
fn a_waiter_that_gives_up_passes_its_grant_on() {
    explore_up_to(3, || {
        let (pool, held) = one_held();
        let (first, news_of_first) = pool.join(0).expect("the pool is open");
        let (second, news_of_second) = pool.join(0).expect("the pool is open");
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));
        let leaver = Arc::clone(&pool);
        let leaver = thread::spawn(move || leaver.cancel(first, &news_of_first, 0));

        let claim = pool.wait(second, &news_of_second, 0).expect("the pool is open");

        assert!(pool.release(claim, 0));
        releaser.join().unwrap();
        leaver.join().unwrap();
        assert_eq!(pool.core.waiting(), 0);
    });
}

#[test]
fn two_callers_and_one_connection_are_both_served() {
    explore(|| {
        let pool = Pool::full(limits(1));
        let other = Arc::clone(&pool);
        let other = thread::spawn(move || {
            let claim = other.acquire(0).expect("the pool is open");
            assert!(other.release(claim, 0));
        });

        let claim = pool.acquire(0).expect("the pool is open");
        assert!(pool.release(claim, 0));

        other.join().unwrap();
        assert_eq!(pool.core.count(|state| state == State::Idle), 1);
    });
}

#[test]
fn a_waiter_that_was_overtaken_is_nudged_again() {
    explore_up_to(6, || {
        let pool = Pool::full(throughput(1));
        let held = pool.try_acquire(0).expect("it is idle");
        let barger = Arc::clone(&pool);
        let barger = thread::spawn(move || {
            assert!(barger.release(held, 0));
            if let Some(again) = barger.try_acquire(0) {
                assert!(barger.release(again, 0));
            }
        });

        let claim = pool.acquire(0).expect("the pool is open");

        assert!(pool.release(claim, 0));
        barger.join().unwrap();
    });
}

#[test]
fn a_waiter_that_was_overtaken_for_long_is_handed_the_connection() {
    explore_up_to(6, || {
        let pool = Pool::full(throughput(1));
        let held = pool.try_acquire(0).expect("it is idle");
        let (ticket, mailbox) = pool.join(0).expect("the pool is open");
        let barger = Arc::clone(&pool);
        let barger = thread::spawn(move || {
            assert!(barger.release(held, 0));
            if let Some(again) = barger.try_acquire(HAND_OFF_AFTER) {
                assert!(barger.release(again, HAND_OFF_AFTER));
            }
        });

        let claim = pool.wait(ticket, &mailbox, HAND_OFF_AFTER).expect("the pool is open");

        assert!(pool.release(claim, HAND_OFF_AFTER));
        barger.join().unwrap();
        assert!(pool.try_acquire(0).is_some(), "the hand-off is over");
    });
}

#[test]
fn two_releases_serve_two_waiters_though_only_the_oldest_is_nudged() {
    explore_up_to(3, || {
        let pool = Pool::full(throughput(2));
        let held = [(); 2].map(|()| pool.try_acquire(0).expect("there are two"));
        let (first, news_of_first) = pool.join(0).expect("the pool is open");
        let (second, news_of_second) = pool.join(0).expect("the pool is open");
        let waiter = Arc::clone(&pool);
        let waiter = thread::spawn(move || {
            waiter.wait(first, &news_of_first, 0).expect("the pool is open");
        });
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || {
            for held in held {
                assert!(releaser.release(held, 0));
            }
        });

        pool.wait(second, &news_of_second, 0).expect("the pool is open");

        waiter.join().unwrap();
        releaser.join().unwrap();
    });
}

#[test]
fn a_nudged_waiter_that_gives_up_passes_its_nudge_on() {
    explore_up_to(3, || {
        let pool = Pool::full(throughput(1));
        let held = pool.try_acquire(0).expect("it is idle");
        let (first, news_of_first) = pool.join(0).expect("the pool is open");
        let (second, news_of_second) = pool.join(0).expect("the pool is open");
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || {
            assert!(releaser.release(held, 0));
            if let Some(again) = releaser.try_acquire(0) {
                assert!(releaser.release(again, 0));
            }
        });
        let leaver = Arc::clone(&pool);
        let leaver = thread::spawn(move || leaver.cancel(first, &news_of_first, 0));

        pool.wait(second, &news_of_second, 0).expect("the pool is open");

        releaser.join().unwrap();
        leaver.join().unwrap();
    });
}

#[test]
fn a_nudged_waiter_that_gets_bad_news_passes_its_nudge_on() {
    explore_up_to(3, || {
        let pool = Pool::full(throughput(1));
        let held = pool.try_acquire(0).expect("it is idle");
        pool.join(0).expect("the pool is open");
        let (second, news_of_second) = pool.join(0).expect("the pool is open");
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));
        let worker = Arc::clone(&pool);
        let worker = thread::spawn(move || {
            worker.does(0, |todo| worker.core.dismiss_oldest(0, todo)).expect("it waits");
        });

        pool.wait(second, &news_of_second, 0).expect("the pool is open");

        releaser.join().unwrap();
        worker.join().unwrap();
    });
}
