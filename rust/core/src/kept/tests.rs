//! Who may have a kept connection, and what becomes of it.

use super::*;
use crate::effects::Job;
use crate::limits::{Limits, Policy, NEVER};
use crate::waiter::Ticket;

#[derive(Debug)]
struct Nobody;

impl Waker for Nobody {
    type Nudge = ();

    fn nudge(&self) -> Option<()> {
        None
    }
}

type Engine = Core<u64, Nobody>;
type Todo = Effects<u64, Nobody>;

const ONE: u64 = 1;

/// A connection whose other side hung up: see `core/tests.rs`.
const DEAD: u64 = 1_001;

/// When a validation is not good for the next caller any more.
const LATER: Ticks = 10_000;

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

/// An engine with one connection, which is kept and in use.
fn kept(limits: Limits) -> (Engine, Claim) {
    kept_of(limits, ONE)
}

fn kept_of(limits: Limits, connection: u64) -> (Engine, Claim) {
    let (min_size, max_size) = (limits.min_size, limits.max_size);
    let core = Engine::new(limits);
    let mut todo = Todo::default();
    core.resize(1, max_size, 1, &mut todo);
    core.warm_up(1, &mut todo);
    let Some(Job::Open(claim)) = todo.jobs.pop() else { panic!("it is opened") };
    core.fill(claim, connection, connection, 1, &mut todo).unwrap();
    core.resize(min_size, max_size, 1, &mut todo);
    let word = core.slots.get(claim.slot).word();
    let grant = core.slots.get(claim.slot).try_acquire(word).unwrap();
    let grant = Claim { slot: claim.slot, generation: grant };
    assert!(core.keep(core.held(grant.slot, None).unwrap()));
    (core, grant)
}

fn release(core: &Engine, claim: Claim) {
    let held = core.held(claim.slot, Some(claim.generation)).unwrap();
    if core.give_back(held, 1, || 1) == crate::GivenBack::Attention {
        core.after_release(1, &mut Todo::default());
    }
}

fn resting(limits: Limits) -> Engine {
    let (core, claim) = kept(limits);
    release(&core, claim);
    core
}

fn reasons(todo: &Todo) -> Vec<Reason> {
    let reason = |job: &Job<u64>| match job {
        Job::Close(_, _, reason) => Some(*reason),
        _ => None,
    };
    todo.jobs.iter().filter_map(reason).collect()
}

fn waiting(core: &Engine, todo: &mut Todo) -> Ticket {
    core.join(Nobody, 1, todo).unwrap()
}

#[test]
fn nobody_else_gets_a_kept_connection_that_is_idle() {
    let core = resting(limits(1));
    let mut todo = Todo::default();

    assert_eq!(core.try_acquire(0, 1), None);
    waiting(&core, &mut todo);

    assert!(todo.is_empty());
    assert_eq!(core.waiting(), 1);
}

#[test]
fn its_caller_gets_it_again_and_again_also_while_others_wait() {
    let core = resting(limits(1));
    waiting(&core, &mut Todo::default());

    for _ in 0..3 {
        let claim = core.reclaim(ONE, 0, 1).unwrap();
        assert_eq!(core.reclaim(ONE, 0, 1), None);
        release(&core, claim);
    }

    assert_eq!(core.waiting(), 1);
}

#[test]
fn whoever_waits_gets_the_place_of_a_forsaken_connection() {
    let core = resting(limits(1));
    waiting(&core, &mut Todo::default());
    let mut todo = Todo::default();

    assert!(core.forsake(ONE, 0, 1, &mut todo));

    assert_eq!(reasons(&todo), [Reason::Discarded]);
    assert_eq!(core.reclaim(ONE, 0, 1), None);
    let Some(Job::Close(claim, ..)) = todo.jobs.pop() else { panic!("it is closed") };
    assert!(core.closed(claim, 1, &mut todo));
    assert!(matches!(todo.jobs[..], [Job::Open(_)]));
}

#[test]
fn a_connection_that_is_forsaken_in_use_is_closed_on_its_return() {
    let (core, claim) = kept(limits(1));
    let mut todo = Todo::default();

    assert!(core.forsake(ONE, 0, 1, &mut todo));

    assert!(todo.is_empty());
    let held = core.held(claim.slot, None).unwrap();
    assert_eq!(core.give_back(held, 1, || 1), crate::GivenBack::Spent(Reason::Discarded));
}

#[test]
fn a_kept_connection_expires_like_any_other() {
    let core = resting(Limits { idle_timeout: 100, ..limits(1) });
    let mut todo = Todo::default();

    core.advance(102, &mut todo);

    assert_eq!(reasons(&todo), [Reason::Idle]);
    assert_eq!(core.reclaim(ONE, 0, 102), None);
    assert!(!core.forsake(ONE, 0, 102, &mut todo));
}

#[test]
fn it_is_still_kept_after_it_was_validated() {
    let core = resting(Limits { validation_interval: 5_000, ..limits(1) });
    let mut todo = Todo::default();
    assert_eq!(core.reclaim(ONE, 0, LATER), None);

    core.prove(ONE, 0, LATER, &mut todo);

    let Some(Job::Check(claim)) = todo.jobs.pop() else { panic!("it is validated") };
    assert!(core.is_proving(ONE, 0));
    core.check_passed(claim, LATER, &mut todo);
    assert!(!core.is_proving(ONE, 0));
    assert_eq!(core.try_acquire(0, LATER), None);
    assert!(core.reclaim(ONE, 0, LATER).is_some());
}

#[test]
fn one_that_is_being_validated_is_on_its_way_to_nobody_who_waits() {
    let core = resting(Limits { validation_interval: 5_000, ..limits(2) });
    let mut todo = Todo::default();
    core.prove(ONE, 0, LATER, &mut todo);

    waiting(&core, &mut todo);

    assert!(matches!(todo.jobs[..], [Job::Check(_), Job::Open(_)]));
}

#[test]
fn it_is_no_room_for_one_more_who_waits() {
    let core = resting(Limits { max_waiting: 0, ..limits(1) });

    let refused = core.join(Nobody, 1, &mut Todo::default()).unwrap_err();

    assert_eq!(refused, crate::Refused::Full);
}

#[test]
fn evict_resize_and_close_mean_it_too() {
    for reason in [Reason::Evicted, Reason::Shrunk, Reason::Closed] {
        let core = resting(limits(1));
        let mut todo = Todo::default();

        match reason {
            Reason::Evicted => core.evict(1, &mut todo),
            Reason::Shrunk => core.resize(0, 0, 1, &mut todo),
            _ => assert!(core.shut(1, &mut todo)),
        }

        assert_eq!(reasons(&todo), [reason]);
        assert_eq!(core.reclaim(ONE, 0, 1), None);
    }
}

#[test]
fn it_is_still_kept_where_a_resize_moved_it() {
    let core = Engine::new(Limits { min_size: 2, ..limits(2) });
    let mut todo = Todo::default();
    core.warm_up(1, &mut todo);
    for (number, job) in (1..).zip(std::mem::take(&mut todo.jobs)) {
        let Job::Open(claim) = job else { panic!("nothing but new connections") };
        core.fill(claim, number, number, 1, &mut todo).unwrap();
    }
    let lower = core.try_acquire(0, 1).unwrap();
    let upper = core.try_acquire(1, 1).unwrap();
    assert!(core.keep(core.held(upper.slot, None).unwrap()));
    core.resize(0, 1, 1, &mut todo);
    core.detach(core.held(lower.slot, None).unwrap(), 1, &mut todo).unwrap();

    let held = core.held(upper.slot, None).unwrap();
    assert_eq!(core.give_back(held, 1, || 1), crate::GivenBack::Spent(Reason::Shrunk));
    assert!(core.retire_held(held, Reason::Shrunk, 1, &mut todo));

    assert_eq!(core.try_acquire(0, 1), None);
    assert_eq!(core.reclaim(2, 1, 1).unwrap().slot, 0);
}

#[test]
fn a_kept_connection_that_died_is_closed_and_not_given_to_its_caller() {
    let (core, grant) = kept_of(limits(1), DEAD);
    let mut todo = Todo::default();
    release(&core, grant);

    assert!(core.reclaim(DEAD, 0, 1).is_none());
    core.prove(DEAD, 0, 1, &mut todo);

    assert_eq!(reasons(&todo), [Reason::Dead]);
}
