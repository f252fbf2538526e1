//! The wheel does what a sorted map does, and the histogram's quantiles are as near as it says.
#![cfg(not(loom))]

use std::collections::BTreeMap;

use millpond_core::{Histogram, TimerId, Wheel};
use proptest::prelude::*;
use proptest::sample::Index;

/// As many timers in one slot as the wheel looks at to find the earliest deadline.
const EXACT: usize = 128;
/// What the top level can see from everywhere in its current slot.
const HORIZON: u64 = 62 << 30;

#[derive(Debug, Clone)]
enum Step {
    /// Sets a timer so many ticks from now, or ago.
    Insert(i64),
    Cancel(Index),
    Reschedule(Index, i64),
    /// Uses a name whose timer has gone.
    UseOldName(Index),
    /// Moves the time on and calls `advance` once.
    AdvanceOnce(u64, usize),
    /// Moves the time on and calls `advance` until there is nothing more to do.
    AdvanceFully(u64, usize),
    /// Does what a driver does: sleeps until the next expiration.
    AdvanceToNext(usize),
}

/// A distance of any magnitude, so that each level has its share.
fn ahead() -> impl Strategy<Value = u64> {
    (0..40_u32).prop_flat_map(|bits| 0..=1_u64 << bits)
}

fn distance() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => ahead().prop_map(|ticks| i64::try_from(ticks).expect("40 bits")),
        1 => -5000..0_i64,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => distance().prop_map(Step::Insert),
        2 => any::<Index>().prop_map(Step::Cancel),
        2 => (any::<Index>(), distance()).prop_map(|(which, by)| Step::Reschedule(which, by)),
        1 => any::<Index>().prop_map(Step::UseOldName),
        3 => (ahead(), 0..4_usize).prop_map(|(by, budget)| Step::AdvanceOnce(by, budget)),
        2 => (ahead(), 1..9_usize).prop_map(|(by, budget)| Step::AdvanceFully(by, budget)),
        2 => (1..9_usize).prop_map(Step::AdvanceToNext),
    ]
}

/// What the model knows of a timer.
struct Timer {
    id: TimerId,
    when: u64,
    /// Whether the wheel could see that far when the timer was set.
    in_sight: bool,
}

/// A wheel and what it should contain.
struct Pair {
    wheel: Wheel,
    now: u64,
    /// Whether the last `advance` had more to do.
    more: bool,
    /// By payload; payloads are never used twice.
    model: BTreeMap<u64, Timer>,
    gone: Vec<TimerId>,
    next_payload: u64,
}

impl Pair {
    fn new(now: u64) -> Self {
        Self {
            wheel: Wheel::new(now),
            now,
            more: false,
            model: BTreeMap::new(),
            gone: Vec::new(),
            next_payload: 0,
        }
    }

    fn pick(&self, which: Index) -> Option<u64> {
        let payloads: Vec<u64> = self.model.keys().copied().collect();
        (!payloads.is_empty()).then(|| *which.get(&payloads))
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Insert(by) => self.insert(by),
            Step::Cancel(which) => self.cancel(which),
            Step::Reschedule(which, by) => self.reschedule(which, by),
            Step::UseOldName(which) => self.use_old_name(which),
            Step::AdvanceOnce(by, budget) => {
                self.now += by;
                self.advance(budget);
            }
            Step::AdvanceFully(by, budget) => {
                self.now += by;
                self.advance_fully(budget);
            }
            Step::AdvanceToNext(budget) => {
                self.now = self.now.max(self.wheel.next_expiration().unwrap_or(0));
                self.advance_fully(budget);
            }
        }
    }

    /// Returns the tick, and whether the wheel sees it: in the middle of an `advance` its present
    /// is any.
    fn deadline(&self, by: i64) -> (u64, bool) {
        let when = self.now.saturating_add_signed(by);
        (when, !self.more && when.saturating_sub(self.now) < HORIZON)
    }

    fn insert(&mut self, by: i64) {
        let (when, in_sight) = self.deadline(by);
        let payload = self.next_payload;
        self.next_payload += 1;
        let id = self.wheel.insert(when, payload);
        self.model.insert(payload, Timer { id, when, in_sight });
    }

    fn cancel(&mut self, which: Index) {
        let Some(payload) = self.pick(which) else {
            return;
        };
        let timer = self.model.remove(&payload).expect("picked");
        assert!(self.wheel.cancel(timer.id));
        self.gone.push(timer.id);
    }

    fn reschedule(&mut self, which: Index, by: i64) {
        let Some(payload) = self.pick(which) else {
            return;
        };
        let (when, in_sight) = self.deadline(by);
        let timer = self.model.get_mut(&payload).expect("picked");
        (timer.when, timer.in_sight) = (when, in_sight);
        assert!(self.wheel.reschedule(timer.id, when));
    }

    fn use_old_name(&mut self, which: Index) {
        if !self.gone.is_empty() {
            let id = *which.get(&self.gone);
            assert!(!self.wheel.cancel(id));
            assert!(!self.wheel.reschedule(id, self.now));
        }
    }

    fn advance(&mut self, budget: usize) {
        let (model, gone, now) = (&mut self.model, &mut self.gone, self.now);
        let mut touched = 0;
        let progress = self.wheel.advance(now, budget, &mut |id, payload| {
            let timer = model.remove(&payload).expect("fires once, and only when set");
            assert_eq!(id, timer.id);
            assert!(timer.when <= now, "fired early: {} at {now}", timer.when);
            gone.push(id);
            touched += 1;
        });
        assert!(touched <= budget);
        self.more = progress.more;
    }

    fn advance_fully(&mut self, budget: usize) {
        loop {
            self.advance(budget);
            if !self.more {
                break;
            }
            assert_eq!(self.wheel.next_expiration().map(|next| next <= self.now), Some(true));
        }
    }

    fn check(&self) {
        assert_eq!(self.wheel.len(), self.model.len());
        let next = self.wheel.next_expiration();
        assert_eq!(next.is_some(), !self.model.is_empty());
        let first = self.model.values().map(|timer| timer.when).min();
        let (Some(next), Some(first)) = (next, first) else {
            return;
        };
        let earliest = first.max(self.now);
        assert!(next <= earliest, "asks to wake up late: {next}, not {earliest}");
        if self.more {
            return;
        }
        assert!(first > self.now || next == self.now, "overdue: {first}");
        let all_in_sight = self.model.values().all(|timer| timer.in_sight);
        if self.model.len() <= EXACT && all_in_sight {
            assert_eq!(next, earliest);
        }
    }
}

/// A duration of any magnitude in nanoseconds.
fn duration() -> impl Strategy<Value = u64> {
    (0..64_u32).prop_flat_map(|bits| 0..=u64::MAX >> bits)
}

/// Leaves no files behind: a sequence that fails becomes a test with a name.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_wheel_does_what_a_sorted_map_does(
        start in prop_oneof![0..10_000_u64, ahead()],
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut pair = Pair::new(start);
        for step in steps {
            pair.apply(&step);
            pair.check();
        }
        pair.now += 1 << 41;
        pair.advance_fully(3);
        prop_assert!(pair.model.is_empty());
    }

    #[test]
    fn timers_fire_in_the_order_of_their_ticks(
        deadlines in prop::collection::vec(ahead(), 1..200),
        jumps in prop::collection::vec((ahead(), 1..9_usize), 1..50),
    ) {
        let mut wheel = Wheel::new(0);
        for &when in &deadlines {
            wheel.insert(when, when);
        }

        let mut fired = Vec::new();
        let mut now = 0;
        for (by, budget) in jumps.into_iter().chain([(1 << 41, usize::MAX)]) {
            now += by;
            let _ = wheel.advance(now, budget, &mut |_, when| fired.push(when));
        }

        let mut sorted = deadlines;
        sorted.sort_unstable();
        prop_assert_eq!(fired, sorted);
    }

    #[test]
    fn a_driver_that_sleeps_until_the_next_expiration_wakes_up_for_deadlines_only(
        deadlines in prop::collection::vec(0..HORIZON, 1..EXACT),
    ) {
        let mut wheel = Wheel::new(0);
        for &when in &deadlines {
            wheel.insert(when, when);
        }

        while let Some(now) = wheel.next_expiration() {
            let mut fired = 0;
            let _ = wheel.advance(now, usize::MAX, &mut |_, when| {
                assert_eq!(when, now);
                fired += 1;
            });
            prop_assert!(fired > 0);
        }
    }

    #[test]
    fn a_quantile_is_less_than_a_quarter_off(
        mut durations in prop::collection::vec(duration(), 1..300),
        share in 0.0..=1.0_f64,
    ) {
        let histogram = Histogram::new();
        for &duration in &durations {
            histogram.record_exclusive(duration);
        }
        durations.sort_unstable();

        let estimate = histogram.snapshot().quantile(share).expect("not empty");

        let exact = durations[rank(share, durations.len()) - 1];
        prop_assert!(estimate.abs_diff(exact) <= exact / 4, "{estimate}, not {exact}");
        prop_assert!(exact >= 8 || estimate == exact);
        prop_assert!(estimate <= durations[durations.len() - 1]);
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a few hundred"
)]
fn rank(share: f64, count: usize) -> usize {
    ((share * count as f64).ceil() as usize).max(1)
}
