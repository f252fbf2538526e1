//! The engine keeps its promises whatever is asked of it, in whatever order.
#![cfg(not(loom))]

mod plain;

use millpond_core::{Limits, Policy, Priority, Pulse, Ticks, NEVER};
use plain::World;
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug)]
enum Step {
    TryAcquire(u32),
    /// A thread that can be nudged, or a callback.
    Join(bool, bool),
    Leave(Index),
    Dismiss,
    Retry(Index),
    Accept(Index),
    GiveUp(Index),
    GiveBack(Index),
    BeginReset(Index),
    EndReset(Index, bool),
    Discard(Index),
    Suspect(Index),
    Detach(Index),
    /// A job ends, well or badly.
    Finish(Index, bool),
    Pass(Ticks),
    Resize(u32, u32),
    /// A connection hangs up, or has something to say.
    Changes(Index, bool),
    TurnAway(Ticks),
    Evict,
    Suspend,
    Resume,
    Shut,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        6 => (0..5_u32).prop_map(Step::TryAcquire),
        6 => (any::<bool>(), prop::bool::weighted(0.3)).prop_map(|(thread, urgent)| Step::Join(thread, urgent)),
        2 => index().prop_map(Step::Leave),
        1 => Just(Step::Dismiss),
        6 => index().prop_map(Step::Retry),
        6 => index().prop_map(Step::Accept),
        1 => index().prop_map(Step::GiveUp),
        6 => index().prop_map(Step::GiveBack),
        3 => index().prop_map(Step::BeginReset),
        4 => (index(), prop::bool::weighted(0.8)).prop_map(|(which, good)| Step::EndReset(which, good)),
        1 => index().prop_map(Step::Discard),
        1 => index().prop_map(Step::Suspect),
        1 => index().prop_map(Step::Detach),
        12 => (index(), prop::bool::weighted(0.8)).prop_map(|(which, good)| Step::Finish(which, good)),
        3 => (1..40_u64).prop_map(Step::Pass),
        1 => (50..700_u64).prop_map(Step::Pass),
        1 => (0..3_u32, 1..5_u32).prop_map(|(min, max)| Step::Resize(min.min(max), max)),
        1 => Just(Step::Evict),
        2 => (index(), any::<bool>()).prop_map(|(which, dead)| Step::Changes(which, dead)),
        1 => prop_oneof![Just(0), 1..100_u64].prop_map(Step::TurnAway),
        1 => prop_oneof![Just(Step::Suspend), Just(Step::Resume), Just(Step::Resume)],
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let policy = prop_oneof![3 => Just(Policy::Fair), 2 => Just(Policy::Throughput)];
    let max_waiting = prop_oneof![3 => Just(u32::MAX), 1 => 0..3_u32];
    let max_uses = prop_oneof![3 => Just(u64::MAX), 1 => 1..4_u64];
    let sizes = (0..3_u32, 1..4_u32);
    let or_never = |ticks| prop_oneof![Just(NEVER), Just(ticks)];
    let proof = prop_oneof![Just(NEVER), Just(120), Just(0)];
    let ages = (or_never(200), or_never(500), proof, or_never(90));
    let opening = (prop_oneof![Just(u32::MAX), 1..3_u32], or_never(60));
    (policy, max_waiting, max_uses, sizes, ages, opening).prop_map(
        |(
            policy,
            max_waiting,
            max_uses,
            (min_size, max_size),
            (idle, lifetime, proof, leak),
            (max_connecting, fail_fast_after),
        )| {
            Limits {
                min_size: min_size.min(max_size),
                max_size,
                max_waiting,
                max_uses,
                policy,
                connect_timeout: 50,
                max_connecting,
                fail_fast_after,
                idle_timeout: idle,
                max_lifetime: lifetime,
                validation_interval: proof,
                validation_timeout: 30,
                leak_threshold: leak,
            }
        },
    )
}

/// One of so many, if there is one.
fn one<T>(which: Index, of: &[T]) -> Option<usize> {
    (!of.is_empty()).then(|| which.index(of.len()))
}

fn apply(world: &mut World, step: &Step) {
    match *step {
        Step::TryAcquire(habit) => world.try_acquire(habit),
        Step::Join(thread, urgent) => {
            world.join(thread, if urgent { Priority::High } else { Priority::Normal });
        }
        Step::Dismiss => world.dismiss(),
        Step::Pass(ticks) => world.pass(ticks),
        Step::Resize(min_size, max_size) => world.resize(min_size, max_size),
        Step::Evict => world.evict(),
        Step::Changes(which, dead) => {
            world.changes(which.index(8), if dead { Pulse::Dead } else { Pulse::Doubtful });
        }
        Step::TurnAway(patience) => world.turn_away(patience),
        Step::Suspend => world.core.suspend(),
        Step::Resume => world.does(millpond_core::Core::resume),
        Step::Shut => world.shut(),
        _ => apply_to_one(world, step),
    }
}

fn apply_to_one(world: &mut World, step: &Step) {
    let done = match *step {
        Step::Leave(which) => one(which, &world.queue).map(|index| world.leave(index)),
        Step::Retry(which) => one(which, &world.nudges).map(|index| world.retry(index)),
        Step::Accept(which) => one(which, &world.grants).map(|index| world.accept(index)),
        Step::GiveUp(which) => one(which, &world.grants).map(|index| world.give_up(index)),
        Step::GiveBack(which) => one(which, &world.held).map(|index| world.give_back(index)),
        Step::BeginReset(which) => one(which, &world.held).map(|index| world.begin_reset(index)),
        Step::EndReset(which, good) => {
            one(which, &world.resetting).map(|index| world.end_reset(index, good))
        }
        Step::Discard(which) => one(which, &world.held).map(|index| world.discard(index)),
        Step::Suspect(which) => one(which, &world.held).map(|index| world.suspect(index)),
        Step::Detach(which) => one(which, &world.held).map(|index| world.detach(index)),
        Step::Finish(which, good) => one(which, &world.jobs).map(|index| world.finish(index, good)),
        _ => None,
    };
    done.unwrap_or_default();
}

/// Leaves no files behind: a sequence that fails becomes a test with a name.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_waiter_is_served_in_order_and_nothing_is_lost(
        limits in limits(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new(limits);
        for step in steps {
            apply(&mut world, &step);
            world.check();
        }
        world.end();
    }

    #[test]
    fn a_pool_that_is_closed_in_the_middle_of_everything_becomes_empty(
        limits in limits(),
        before in prop::collection::vec(step(), 1..60),
        after in prop::collection::vec(step(), 0..60),
    ) {
        let mut world = World::new(limits);
        for step in before.iter().chain([&Step::Shut]).chain(&after) {
            apply(&mut world, step);
            world.check();
        }
        world.end();
    }
}
