//! The wheel by itself; `tests/rust/prop_wheel.rs` compares it with a plain model.

use super::*;

const TOP: u64 = 1 << 30;
const HORIZON: u64 = 64 * TOP;

/// Advances to the end and returns the payloads that came back.
fn fired(wheel: &mut Wheel, now: u64) -> Vec<u64> {
    let mut payloads = Vec::new();
    let progress = wheel.advance(now, usize::MAX, &mut |_, payload| payloads.push(payload));
    assert!(!progress.more);
    payloads
}

#[test]
fn a_timer_fires_at_its_tick_and_not_before_on_every_level() {
    for start in [0, 1, 63, 64, 4095, TOP - 1, TOP, HORIZON - 1, HORIZON + 12_345] {
        for level in 0..=7 {
            for distance in [(1_u64 << (6 * level)) - 1, 1 << (6 * level), 3 << (6 * level)] {
                let mut wheel = Wheel::new(start);
                let when = start + distance;
                wheel.insert(when, 7);

                if distance > 0 {
                    assert_eq!(fired(&mut wheel, when - 1), []);
                }
                assert_eq!(fired(&mut wheel, when), [7]);
            }
        }
    }
}

#[test]
fn a_deadline_in_the_past_fires_at_the_next_advance() {
    let mut wheel = Wheel::new(1000);
    wheel.insert(3, 7);

    assert_eq!(wheel.next_expiration(), Some(1000));
    assert_eq!(fired(&mut wheel, 1000), [7]);
}

#[test]
fn a_time_before_an_earlier_one_counts_as_that_one() {
    let mut wheel = Wheel::new(1000);
    wheel.insert(900, 1);
    wheel.insert(1001, 2);

    assert_eq!(fired(&mut wheel, 500), [1]);
    assert_eq!(fired(&mut wheel, 1001), [2]);
}

#[test]
fn the_last_tick_of_all_is_a_deadline_like_any_other() {
    let mut wheel = Wheel::new(u64::MAX - 3 * HORIZON);
    wheel.insert(u64::MAX, 7);

    assert_eq!(fired(&mut wheel, u64::MAX - 1), []);
    assert_eq!(fired(&mut wheel, u64::MAX), [7]);
    wheel.insert(u64::MAX, 8);
    assert_eq!(fired(&mut wheel, u64::MAX), [8]);
}

#[test]
fn a_cancelled_timer_does_not_fire() {
    let mut wheel = Wheel::new(0);
    let ids = [1, 2, 3].map(|payload| wheel.insert(50, payload));

    assert!(wheel.cancel(ids[1]));
    assert!(!wheel.cancel(ids[1]));

    let mut payloads = fired(&mut wheel, 50);
    payloads.sort_unstable();
    assert_eq!(payloads, [1, 3]);
    assert!(wheel.is_empty());
}

#[test]
fn the_name_of_a_fired_timer_does_nothing_to_its_successor() {
    let mut wheel = Wheel::new(0);
    let old = wheel.insert(1, 1);
    fired(&mut wheel, 1);
    wheel.insert(2, 2);

    assert!(!wheel.cancel(old));
    assert!(!wheel.reschedule(old, 9));

    assert_eq!(fired(&mut wheel, 2), [2]);
}

#[test]
fn a_rescheduled_timer_keeps_its_name_and_payload() {
    let mut wheel = Wheel::new(0);
    let id = wheel.insert(5, 7);

    assert!(wheel.reschedule(id, 5000));
    assert_eq!(fired(&mut wheel, 4999), []);
    assert!(wheel.reschedule(id, 6000));

    let mut names = Vec::new();
    let progress = wheel.advance(6000, 9, &mut |id, payload| names.push((id, payload)));
    assert_eq!(names, [(id, 7)]);
    assert!(!progress.more);
}

#[test]
fn a_small_budget_postpones_but_loses_nothing() {
    let mut wheel = Wheel::new(0);
    for payload in 0..1000 {
        wheel.insert(TOP + payload, payload);
    }

    let mut payloads = Vec::new();
    let mut calls = 0;
    while wheel.advance(TOP + 1000, 7, &mut |_, payload| payloads.push(payload)).more {
        assert_eq!(wheel.next_expiration(), Some(wheel.elapsed));
        calls += 1;
    }

    assert!(calls >= 1000 / 7);
    assert_eq!(payloads, (0..1000).collect::<Vec<_>>());
}

#[test]
fn timers_come_and_go_in_the_middle_of_a_cascade() {
    let mut wheel = Wheel::new(0);
    let ids: Vec<_> = (0..10).map(|payload| wheel.insert(4096 + payload, payload)).collect();
    assert!(wheel.advance(5000, 4, &mut |_, _| unreachable!()).more);

    wheel.insert(4098, 100);
    wheel.insert(9000, 200);
    assert!(wheel.cancel(ids[0]) && wheel.cancel(ids[9]));
    assert!(wheel.reschedule(ids[1], 9000));

    let mut payloads = fired(&mut wheel, 5000);
    payloads.sort_unstable();
    assert_eq!(payloads, [2, 3, 4, 5, 6, 7, 8, 100]);
    assert_eq!(wheel.len(), 2);
}

#[test]
fn a_driver_wakes_up_once_for_one_timer() {
    for when in [1, 64, 5000, TOP + 17, HORIZON - TOP] {
        let mut wheel = Wheel::new(0);
        wheel.insert(when, 7);

        assert_eq!(wheel.next_expiration(), Some(when));
    }
}

#[test]
fn a_crowded_slot_costs_at_most_one_idle_wake_up_for_each_level() {
    let mut wheel = Wheel::new(0);
    for _ in 0..=EXACT {
        wheel.insert(5 * TOP + 123_456_789, 7);
    }

    let mut wakes = 0;
    while let Some(now) = wheel.next_expiration() {
        let _ = wheel.advance(now, usize::MAX, &mut |_, _| ());
        wakes += 1;
    }

    assert!(wakes <= LEVELS, "{wakes}");
}

#[test]
fn a_deadline_beyond_the_horizon_costs_one_wake_up_for_each_turn() {
    let mut wheel = Wheel::new(0);
    wheel.insert(3 * HORIZON + 5, 7);

    let mut wakes = 0;
    while let Some(now) = wheel.next_expiration() {
        let _ = wheel.advance(now, usize::MAX, &mut |_, _| ());
        wakes += 1;
    }

    assert!(wakes <= 4, "{wakes}");
}

#[test]
fn a_timer_beyond_the_horizon_does_not_hide_a_later_one_within_it() {
    let mut wheel = Wheel::new(0);
    wheel.insert(10 * HORIZON, 1);
    fired(&mut wheel, 10 * TOP);
    wheel.insert(70 * TOP, 2);

    assert!(wheel.next_expiration().unwrap() <= 70 * TOP);
    assert_eq!(fired(&mut wheel, 70 * TOP), [2]);
}
