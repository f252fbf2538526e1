//! What the engine does with ticks: refusals, overdue jobs, and ages.

use super::*;
use crate::effects::Job;
use crate::queue::Refused;
use crate::vital::Pulse;

#[derive(Debug)]
struct Nobody;

impl Waker for Nobody {
    type Nudge = ();

    fn nudge(&self) -> Option<()> {
        None
    }
}

/// A number below a thousand has no socket; one above is dead when it is odd.
impl Vital for u64 {
    fn socket(&self) -> i32 {
        i32::try_from(*self).ok().filter(|number| *number >= 1_000).unwrap_or(-1)
    }

    fn pulse(socket: i32) -> Pulse {
        if socket % 2 == 0 {
            Pulse::Alive
        } else {
            Pulse::Dead
        }
    }
}

type Engine = Core<u64, Nobody>;
type Todo = Effects<u64, Nobody>;

fn limits(max_size: u32) -> Limits {
    Limits {
        min_size: 0,
        max_size,
        max_waiting: u32::MAX,
        max_uses: u64::MAX,
        policy: Policy::Fair,
        connect_timeout: 50,
        max_connecting: u32::MAX,
        fail_fast_after: NEVER,
        idle_timeout: NEVER,
        max_lifetime: NEVER,
        validation_interval: NEVER,
        validation_timeout: 30,
        leak_threshold: NEVER,
    }
}

/// An engine whose places all have an idle connection, opened at tick 1.
fn full(mut limits: Limits) -> Engine {
    let size = limits.max_size;
    limits.min_size = size;
    let core = Engine::new(limits);
    let mut todo = Todo::default();
    core.warm_up(1, &mut todo);
    for (number, job) in (1..).zip(std::mem::take(&mut todo.jobs)) {
        let Job::Open(claim) = job else { panic!("nothing but new connections") };
        core.fill(claim, number, number, 1, &mut todo).unwrap();
    }
    core.resize(0, size, 1, &mut todo);
    core
}

fn advanced(core: &Engine, now: Ticks) -> Todo {
    let mut todo = Todo::default();
    core.advance(now, &mut todo);
    todo
}

/// The place that is being filled for a waiter.
fn opening(core: &Engine) -> Claim {
    let mut todo = Todo::default();
    core.join(Nobody, 1, &mut todo).unwrap();
    match todo.jobs[..] {
        [Job::Open(claim)] => claim,
        _ => panic!("one is opened"),
    }
}

#[test]
fn a_caller_is_refused_when_as_many_as_allowed_wait_for_a_release() {
    let core = full(Limits { max_waiting: 1, ..limits(1) });
    let mut todo = Todo::default();
    core.try_acquire(0, 1).unwrap();
    core.join(Nobody, 1, &mut todo).unwrap();

    assert_eq!(core.join(Nobody, 1, &mut todo).unwrap_err(), Refused::Full);

    assert_eq!(core.waiting(), 1);
}

#[test]
fn whoever_a_new_connection_can_serve_does_not_count_as_waiting() {
    let core = Engine::new(Limits { max_waiting: 0, ..limits(2) });
    let mut todo = Todo::default();

    core.join(Nobody, 1, &mut todo).unwrap();
    core.join(Nobody, 1, &mut todo).unwrap();

    assert_eq!(core.join(Nobody, 1, &mut todo).unwrap_err(), Refused::Full);
    assert_eq!(todo.jobs.len(), 2);
}

#[test]
fn a_connection_that_comes_too_late_is_given_back_to_who_opened_it() {
    let core = Engine::new(limits(1));
    let claim = opening(&core);

    let todo = advanced(&core, 51);

    assert_eq!(todo.overdue, [(claim, State::Connecting)]);
    assert_eq!(core.fill(claim, 7, 7, 60, &mut Todo::default()), Err(7));
    assert!(!core.open_failed(claim, 70, true, 60, &mut Todo::default()));
    assert_eq!(core.stats().open_failed.get(), 1);
}

#[test]
fn a_server_that_did_not_answer_in_time_is_asked_again_after_a_pause() {
    let core = Engine::new(limits(1));
    opening(&core);

    assert!(advanced(&core, 51).jobs.is_empty());
    assert!(advanced(&core, 150).jobs.is_empty());
    assert!(matches!(advanced(&core, 151).jobs[..], [Job::Open(_)]));
}

#[test]
fn a_pause_ends_though_a_later_failure_names_no_moment() {
    let core = Engine::new(limits(2));
    let mut todo = Todo::default();
    core.join(Nobody, 1, &mut todo).unwrap();
    core.join(Nobody, 1, &mut todo).unwrap();
    let [Job::Open(first), Job::Open(second)] = todo.jobs[..] else { panic!("two are opened") };
    let mut todo = Todo::default();

    assert!(core.open_failed(first, 20, true, 1, &mut todo));
    assert!(core.open_failed(second, NEVER, false, 1, &mut todo));

    assert_eq!(advanced(&core, 20).jobs.len(), 1, "a probe");
    assert_eq!(advanced(&core, 39).jobs.len(), 1, "and since that may hang, another");
}

#[test]
fn a_validation_that_is_late_still_has_its_deadline_and_a_new_connection_is_opened_beside_it() {
    let core = full(Limits {
        connect_timeout: 5_000,
        validation_interval: 100,
        validation_timeout: 500,
        ..limits(1)
    });
    core.resize(0, 2, 1, &mut Todo::default());
    let mut todo = Todo::default();
    core.join(Nobody, 2_000, &mut todo).unwrap();
    assert!(matches!(todo.jobs[..], [Job::Check(_)]));

    assert!(advanced(&core, 2_099).jobs.is_empty());
    assert!(matches!(advanced(&core, 2_100).jobs[..], [Job::Open(_)]));

    assert!(advanced(&core, 2_499).overdue.is_empty());
    assert_eq!(advanced(&core, 2_500).overdue.len(), 1);
}

#[test]
fn a_dead_connection_is_seen_and_the_others_of_its_time_with_it() {
    let core = Engine::new(limits(4));
    let mut todo = Todo::default();
    for _ in 0..4 {
        core.join(Nobody, 1, &mut todo).unwrap();
    }
    let mut grants = Vec::new();
    for (number, job) in (1_000..).zip(std::mem::take(&mut todo.jobs)) {
        let Job::Open(claim) = job else { panic!("nothing but new connections") };
        // Of these numbers, the odd ones are dead as soon as they are open.
        core.fill(claim, number, number, 1, &mut todo).unwrap();
    }
    for wake in std::mem::take(&mut todo.wakes) {
        let crate::effects::Wake::Granted(_, claim) = wake else { panic!("all are served") };
        grants.push(claim);
    }

    assert_eq!(grants.len(), 2, "nobody was given a dead one");
    assert_eq!(core.stats().closed(Reason::Dead), 2);
    assert!(core.try_acquire(0, 1).is_none());
}

#[test]
fn of_those_who_knock_at_a_database_that_is_down_one_at_a_time_is_let_through() {
    let core = Engine::new(Limits { fail_fast_after: 100, connect_timeout: 1_000, ..limits(2) });
    let claim = opening(&core);
    assert!(core.open_failed(claim, 60, true, 10, &mut Todo::default()));
    assert_eq!(core.failing_since(), Some(10));

    assert!(!core.turns_away(0, 109), "it may be a moment's trouble");
    assert!(core.turns_away(0, 110));
    assert!(!core.turns_away(200, 110), "who has more time than that waits");
    let [Job::Open(probe)] = advanced(&core, 110).jobs[..] else {
        panic!("there is one who waits, and one attempt for it")
    };
    assert!(core.open_failed(probe, 300, true, 120, &mut Todo::default()));
    assert_eq!(core.failing_since(), Some(10), "the first failure counts");
    let [Job::Open(probe)] = advanced(&core, 300).jobs[..] else { panic!("another attempt") };
    core.fill(probe, 2, 2, 310, &mut Todo::default()).unwrap();

    assert_eq!(core.failing_since(), None);
    assert!(!core.turns_away(0, 1_000));
}

#[test]
fn a_validation_that_takes_too_long_costs_the_connection() {
    let core = full(Limits { validation_interval: 100, ..limits(1) });
    let todo = advanced(&core, 101);
    let [Job::Check(claim)] = todo.jobs[..] else { panic!("it is validated") };

    let todo = advanced(&core, 131);

    assert_eq!(todo.overdue, [(claim, State::Checking)]);
    assert!(matches!(todo.jobs[..], [Job::Close(_, Some(1), Reason::Invalid)]));
    core.check_passed(claim, 140, &mut Todo::default());
    assert_eq!((core.stats().checks.get(), core.stats().checks_failed.get()), (1, 1));
}

#[test]
fn a_close_that_takes_too_long_frees_the_place_without_its_connection() {
    let core = full(limits(1));
    let mut todo = Todo::default();
    core.evict(1, &mut todo);
    let Some(Job::Close(claim, ..)) = todo.jobs.pop() else { panic!("it is closed") };

    let todo = advanced(&core, 51);

    assert_eq!(todo.overdue, [(claim, State::Closing)]);
    assert_eq!(core.count(|state| state == State::Empty), 1);
    assert!(!core.closed(claim, 60, &mut Todo::default()));
}

#[test]
fn connections_opened_together_are_too_old_one_after_the_other() {
    let core = full(Limits { max_lifetime: 3_600_000, ..limits(100) });
    let mut ends = Vec::new();
    let mut next = core.advance(2, &mut Todo::default());
    while let Some(now) = next {
        let mut todo = Todo::default();
        next = core.advance(now, &mut todo);
        for job in std::mem::take(&mut todo.jobs) {
            let Job::Close(claim, _, Reason::Lifetime) = job else { panic!("too old, no more") };
            ends.push(now);
            core.closed(claim, now, &mut todo);
        }
    }

    assert_eq!(ends.len(), 100);
    assert!(ends.iter().all(|end| (3_240_001..=3_600_001).contains(end)));
    // A hundred in a tenth of the lifetime are 3600 ticks apart on average.
    let gaps = ends.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.clone().min() > Some(1200), "{:?}", gaps.min());
}

#[test]
fn a_short_lifetime_is_kept_to_the_tick() {
    let core = full(Limits { max_lifetime: 10_000, ..limits(3) });

    assert!(advanced(&core, 10_000).jobs.is_empty());
    assert_eq!(advanced(&core, 10_001).jobs.len(), 3);
}

#[test]
fn a_connection_is_closed_after_as_many_borrows_as_allowed() {
    let core = full(Limits { max_uses: 2, ..limits(1) });
    let borrow = || {
        let claim = core.try_acquire(0, 1).unwrap();
        core.note_borrow(claim, 7, || 1);
        let held = core.held(claim.slot, Some(claim.generation)).unwrap();
        core.give_back(held, 1, || 1)
    };

    assert_eq!(borrow(), GivenBack::Idle);
    assert_eq!(borrow(), GivenBack::Spent(Reason::Uses));
}

#[test]
fn time_that_goes_back_is_no_reason_to_panic() {
    let core = full(Limits { idle_timeout: 100, validation_interval: 100, ..limits(1) });
    let _ = advanced(&core, 90);

    let _ = advanced(&core, 10);

    assert!(core.try_acquire(0, 5).is_some());
}
