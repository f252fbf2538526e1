//! The semaphore: who acquires, releases, joins, leaves and sets the limit at the same time.
#![cfg(loom)]

#[allow(dead_code, unused_imports, reason = "only the explorer is of use here")]
mod model;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use millpond_core::{Permits, Served, Ticket, Waker};
use model::{explore, explore_up_to};

/// A caller that sleeps until it has a permit.
#[derive(Clone, Debug)]
struct Sleeper(Arc<(Mutex<bool>, Condvar)>);

impl Waker for Sleeper {
    type Nudge = ();

    fn nudge(&self) -> Option<()> {
        None
    }
}

impl Sleeper {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }

    fn wake(&self) {
        *self.0 .0.lock().unwrap() = true;
        self.0 .1.notify_one();
    }

    fn sleep(&self) {
        let mut awake = self.0 .0.lock().unwrap();
        while !*awake {
            awake = self.0 .1.wait(awake).unwrap();
        }
    }
}

/// A semaphore, something that only the holders of permits may touch, and a bell for watchers.
#[derive(Debug)]
struct Pond {
    permits: Permits<Sleeper>,
    guarded: UnsafeCell<u64>,
    bell: (Mutex<()>, Condvar),
}

impl Pond {
    /// With as many permits in use already. What is there at first is exempt from loom's order of
    /// accesses, and this ends that.
    fn new(limit: u64, in_use: u64) -> Arc<Self> {
        let permits = Permits::new(Some(limit));
        assert!((0..in_use).all(|_| permits.try_acquire()));
        let bell = (Mutex::new(()), Condvar::new());
        Arc::new(Self { permits, guarded: UnsafeCell::new(0), bell })
    }

    fn settle(&self, served: Served<Sleeper>) {
        for waiter in &served.waiters {
            waiter.wake();
        }
        if served.watched {
            let _lock = self.bell.0.lock().unwrap();
            self.bell.1.notify_all();
        }
    }

    fn join(&self) -> (Ticket, Sleeper) {
        let sleeper = Sleeper::new();
        let (ticket, served) = self.permits.join(sleeper.clone());
        self.settle(served);
        (ticket, sleeper)
    }

    fn acquire(&self) {
        if !self.permits.try_acquire() {
            self.join().1.sleep();
        }
    }

    fn release(&self) {
        if !self.permits.try_release() {
            self.settle(self.permits.release());
        }
    }

    /// Gives up waiting, and the permit as well, should it have come.
    fn give_up(&self, ticket: Ticket) {
        if self.permits.leave(ticket).is_none() {
            self.release();
        }
    }

    fn touch(&self) {
        // SAFETY: whether the caller is alone here is what loom checks.
        self.guarded.with_mut(|guarded| unsafe { *guarded += 1 });
    }

    fn assert_free(&self) {
        assert_eq!((self.permits.in_use(), self.permits.waiting()), (0, 0));
    }
}

fn spawn(pond: &Arc<Pond>, work: impl FnOnce(&Pond) + 'static) -> thread::JoinHandle<()> {
    let pond = Arc::clone(pond);
    thread::spawn(move || work(&pond))
}

#[test]
fn a_release_never_misses_a_waiter() {
    explore(|| {
        let pond = Pond::new(1, 1);
        let releaser = spawn(&pond, Pond::release);

        pond.acquire();

        releaser.join().unwrap();
        pond.release();
        pond.assert_free();
    });
}

#[test]
fn what_a_permit_guards_is_in_one_hand() {
    explore(|| {
        let pond = Pond::new(1, 0);
        let work = |pond: &Pond| {
            pond.acquire();
            pond.touch();
            pond.release();
        };
        let other = spawn(&pond, work);

        work(&pond);

        other.join().unwrap();
        pond.assert_free();
    });
}

#[test]
fn what_was_put_aside_before_a_release_is_seen_by_whoever_finds_the_permit() {
    explore(|| {
        let pond = Pond::new(1, 1);
        let releaser = spawn(&pond, |pond| {
            pond.touch();
            pond.release();
        });
        let newcomer = spawn(&pond, |pond| {
            if pond.permits.try_acquire() {
                pond.touch();
                pond.release();
            }
        });

        releaser.join().unwrap();
        newcomer.join().unwrap();
        pond.assert_free();
    });
}

#[test]
fn two_releases_serve_two_waiters() {
    explore_up_to(3, || {
        let pond = Pond::new(2, 2);
        let releaser = spawn(&pond, |pond| {
            pond.release();
            pond.release();
        });
        let waiter = spawn(&pond, Pond::acquire);

        pond.acquire();

        waiter.join().unwrap();
        releaser.join().unwrap();
        assert_eq!(pond.permits.in_use(), 2);
    });
}

#[test]
fn a_permit_is_free_when_its_waiter_gives_up_at_the_moment_of_the_release() {
    explore(|| {
        let pond = Pond::new(1, 1);
        let (ticket, _) = pond.join();
        let releaser = spawn(&pond, Pond::release);

        pond.give_up(ticket);

        releaser.join().unwrap();
        pond.assert_free();
        assert!(pond.permits.try_acquire());
    });
}

#[test]
fn a_waiter_that_gives_up_passes_its_permit_on() {
    explore_up_to(4, || {
        let pond = Pond::new(1, 1);
        let (first, _) = pond.join();
        let (_, second) = pond.join();
        let releaser = spawn(&pond, Pond::release);
        let leaver = spawn(&pond, move |pond| pond.give_up(first));

        second.sleep();

        releaser.join().unwrap();
        leaver.join().unwrap();
        pond.release();
        pond.assert_free();
    });
}

#[test]
fn nobody_gets_ahead_of_a_waiter() {
    explore(|| {
        let pond = Pond::new(1, 1);
        let (_, waiter) = pond.join();
        let barger = spawn(&pond, |pond| assert!(!pond.permits.try_acquire()));

        pond.release();

        waiter.sleep();
        barger.join().unwrap();
    });
}

#[test]
fn there_are_never_more_permits_than_the_limit() {
    explore_up_to(4, || {
        let pond = Pond::new(2, 1);
        let join_and_see = |pond: &Pond| {
            pond.acquire();
            assert!(pond.permits.in_use() <= 2);
            pond.release();
        };
        let one = spawn(&pond, join_and_see);
        let other = spawn(&pond, join_and_see);

        pond.release();

        one.join().unwrap();
        other.join().unwrap();
        pond.assert_free();
    });
}

#[test]
fn a_higher_limit_reaches_whoever_joins_meanwhile() {
    explore(|| {
        let pond = Pond::new(1, 1);
        let owner = spawn(&pond, |pond| pond.settle(pond.permits.set_limit(Some(2))));

        pond.acquire();

        owner.join().unwrap();
        assert_eq!(pond.permits.in_use(), 2);
    });
}

#[test]
fn a_lower_limit_is_kept_by_a_release_that_serves() {
    explore(|| {
        let pond = Pond::new(2, 2);
        let (_, waiter) = pond.join();
        let owner = spawn(&pond, |pond| pond.settle(pond.permits.set_limit(Some(1))));

        pond.release();
        owner.join().unwrap();
        pond.release();

        waiter.sleep();
        assert_eq!(pond.permits.in_use(), 1);
    });
}

#[test]
fn permits_that_are_said_to_be_free_reach_whoever_joins_meanwhile() {
    explore(|| {
        let pond = Pond::new(1, 1);
        let owner = spawn(&pond, |pond| pond.settle(pond.permits.set_in_use(0)));

        pond.acquire();

        owner.join().unwrap();
        assert_eq!((pond.permits.in_use(), pond.permits.waiting()), (1, 0));
    });
}

#[test]
fn a_release_never_misses_a_watcher() {
    explore(|| {
        let pond = Pond::new(1, 1);
        let releaser = spawn(&pond, Pond::release);

        pond.permits.watch();
        let mut lock = pond.bell.0.lock().unwrap();
        while !pond.permits.try_acquire() {
            lock = pond.bell.1.wait(lock).unwrap();
        }
        drop(lock);
        pond.permits.unwatch();

        releaser.join().unwrap();
        pond.release();
        pond.assert_free();
    });
}

#[test]
fn what_was_put_aside_before_a_release_that_tells_watchers_is_seen_as_well() {
    explore(|| {
        let pond = Pond::new(1, 1);
        pond.permits.watch();
        let releaser = spawn(&pond, |pond| {
            pond.touch();
            pond.release();
        });
        let newcomer = spawn(&pond, |pond| {
            if pond.permits.try_acquire() {
                pond.touch();
                pond.release();
            }
        });

        releaser.join().unwrap();
        newcomer.join().unwrap();
        pond.assert_free();
    });
}

#[test]
fn a_limit_that_rises_by_two_serves_two_waiters() {
    explore_up_to(3, || {
        let pond = Pond::new(1, 1);
        let waiter = spawn(&pond, Pond::acquire);
        let owner = spawn(&pond, |pond| pond.settle(pond.permits.set_limit(Some(3))));

        pond.acquire();

        waiter.join().unwrap();
        owner.join().unwrap();
        assert_eq!((pond.permits.in_use(), pond.permits.waiting()), (3, 0));
    });
}
