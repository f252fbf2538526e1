//! Dead connections: who finds them, sweeps them away, and is served all the same, in every order.
#![cfg(loom)]

mod model;

use std::sync::Arc;

use loom::thread;
use millpond_core::{Job, Limits, Reason, State};
use model::{explore, explore_up_to, hang_up, limits, Pool};

const TIMEOUT: u64 = 1_000;

#[test]
fn two_callers_who_find_the_same_connection_dead_both_get_a_new_one() {
    explore_up_to(2, || {
        let pool = Pool::full_of_sockets(limits(2));
        hang_up(2);
        let other = Arc::clone(&pool);
        let other = thread::spawn(move || {
            let claim = other.acquire(0).expect("the pool is open");
            assert!(other.release(claim, 0));
        });

        let claim = pool.acquire(0).expect("the pool is open");

        assert!(pool.release(claim, 0));
        other.join().unwrap();
        assert_eq!(pool.closed(), 2);
        assert_eq!(pool.core.stats().closed(Reason::Dead), 2);
        assert!(pool.opened() <= 4);
    });
}

#[test]
fn a_sweep_closes_a_dead_connection_or_leaves_it_to_who_has_it() {
    explore(|| {
        let pool = Pool::full_of_sockets(limits(1));
        let held = pool.try_acquire(0).expect("it is idle");
        hang_up(1);
        let sweeper = Arc::clone(&pool);
        let sweeper = thread::spawn(move || {
            sweeper.does(0, |todo| sweeper.core.suspect_all(0, todo));
        });

        pool.touch(held);
        assert!(pool.release(held, 0));

        sweeper.join().unwrap();
        assert!(pool.try_acquire(0).is_none(), "nobody gets it");
        let new = pool.acquire(0).expect("but a new one");
        assert_eq!((pool.opened(), pool.closed()), (2, 1));
        assert!(pool.release(new, 0));
    });
}

#[test]
fn a_sweep_takes_nothing_from_who_acquires_meanwhile() {
    explore(|| {
        let pool = Pool::full_of_sockets(limits(1));
        let sweeper = Arc::clone(&pool);
        let sweeper = thread::spawn(move || {
            sweeper.does(0, |todo| sweeper.core.suspect_all(0, todo));
        });

        let claim = pool.acquire(0).expect("it is alive");
        pool.touch(claim);
        hang_up(1);

        assert!(pool.release(claim, 0));
        sweeper.join().unwrap();
        assert!(pool.closed() <= 1);
    });
}

#[test]
fn a_dead_connection_that_is_released_is_not_handed_to_a_waiter_and_its_place_is() {
    explore_up_to(3, || {
        let pool = Pool::full_of_sockets(limits(1));
        let held = pool.try_acquire(0).expect("it is idle");
        hang_up(1);
        let releaser = Arc::clone(&pool);
        let releaser = thread::spawn(move || assert!(releaser.release(held, 0)));

        let claim = pool.acquire(0).expect("the pool is open");

        assert!(pool.release(claim, 0));
        releaser.join().unwrap();
        assert_eq!((pool.opened(), pool.closed()), (2, 1));
    });
}

#[test]
fn a_holder_without_a_socket_is_asked_on_its_return_or_has_returned_before() {
    explore(|| {
        let limits =
            Limits { validation_interval: TIMEOUT, validation_timeout: TIMEOUT, ..limits(1) };
        let pool = Pool::full(limits);
        let held = pool.try_acquire(0).expect("it is idle");
        let sweeper = Arc::clone(&pool);
        let sweeper = thread::spawn(move || {
            sweeper.does(0, |todo| sweeper.core.suspect_all(0, todo));
        });

        assert!(pool.reset(held, 0));

        sweeper.join().unwrap();
        assert_eq!(pool.core.count(|state| state == State::Idle), 1);
        assert!((1..=2).contains(&pool.core.stats().checks.get()));
        assert_eq!(pool.opened(), 1);
    });
}

#[test]
fn a_success_ends_the_pause_of_a_failure_at_the_same_moment_or_the_timer_does() {
    explore_up_to(3, || {
        let pool = Pool::new(limits(2));
        let mut todo = millpond_core::Effects::default();
        let (first, first_mailbox) = pool.join_quietly(0, &mut todo);
        let (second, second_mailbox) = pool.join_quietly(0, &mut todo);
        let mut jobs = todo.jobs.into_iter();
        let (Some(Job::Open(failing)), Some(opening)) = (jobs.next(), jobs.next()) else {
            panic!("two are opened")
        };
        let failure = Arc::clone(&pool);
        let failure = thread::spawn(move || {
            let fails = |todo: &mut _| failure.core.open_failed(failing, TIMEOUT, true, 0, todo);
            assert!(failure.does(0, fails));
        });

        let mut todo = millpond_core::Effects::default();
        pool.run(opening, 0, &mut todo);
        pool.perform(0, todo);

        failure.join().unwrap();
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || {
            timer.does(TIMEOUT, |todo| timer.core.advance(TIMEOUT, todo));
        });
        let claims = [
            pool.wait(first, &first_mailbox, 0).expect("served"),
            pool.wait(second, &second_mailbox, 0).expect("served"),
        ];
        timer.join().unwrap();
        assert_ne!(claims[0].slot, claims[1].slot);
    });
}

#[test]
fn a_look_at_a_late_validation_does_not_move_the_deadline_of_the_next() {
    explore_up_to(4, || {
        let limits =
            Limits { validation_interval: TIMEOUT, validation_timeout: TIMEOUT, ..limits(1) };
        let pool = Pool::full(limits);
        let mut todo = millpond_core::Effects::default();
        let (ticket, mailbox) = pool.join_quietly(2 * TIMEOUT, &mut todo);
        let check = todo.jobs.pop().expect("it is unproven");
        let late = 2 * TIMEOUT + 100;
        let timer = Arc::clone(&pool);
        let timer = thread::spawn(move || {
            timer.does(late, |todo| timer.core.advance(late, todo));
        });

        let mut todo = millpond_core::Effects::default();
        pool.run(check, late, &mut todo);
        pool.perform(late, todo);
        let claim = pool.wait(ticket, &mailbox, late).expect("served");
        assert!(pool.release(claim, late));
        let next = late + 2 * TIMEOUT;
        let mut todo = millpond_core::Effects::default();
        pool.join_quietly(next, &mut todo);
        assert!(matches!(todo.jobs[..], [Job::Check(_)]), "and this one never ends");

        timer.join().unwrap();
        let mut todo = millpond_core::Effects::default();
        pool.core.advance(next + 100, &mut todo);
        pool.core.advance(next + TIMEOUT, &mut todo);
        assert_eq!(todo.overdue.len(), 1);
    });
}
