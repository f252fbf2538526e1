//! A million timers, uniform over half an hour: what it costs to set one, to drop one, and how long
//! the longest `advance` holds its owner's lock while all of them expire.
//!
//! The first two are ordinary benchmarks. The third is no average, so `main` measures it by itself:
//! it runs the same sequence of calls several times, takes the shortest time of each call, which is
//! what remains when the machine does nothing else, and prints the longest of these.

use std::time::{Duration, Instant};

use divan::counter::ItemsCount;
use divan::{black_box, Bencher};
use millpond_core::{TimerId, Wheel};

const TIMERS: usize = 1_000_000;
const HALF_AN_HOUR: u64 = 30 * 60 * 1000;
const STEP: u64 = 10;
const PASSES: usize = 5;

fn main() {
    divan::main();
    for budget in [256, 512, 1024] {
        report_longest_advance(budget);
    }
}

/// Gives the same pseudo-random numbers in every run (Steele, Lea and Flood's `SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

fn deadlines() -> Vec<u64> {
    let mut random = Random(1);
    (0..TIMERS).map(|_| 1 + random.below(HALF_AN_HOUR)).collect()
}

fn fill(deadlines: &[u64]) -> (Wheel, Vec<TimerId>) {
    let mut wheel = Wheel::new(0);
    let ids = deadlines.iter().map(|&when| wheel.insert(when, when)).collect();
    (wheel, ids)
}

fn shuffle<T>(items: &mut [T]) {
    let mut random = Random(2);
    for last in (1..items.len()).rev() {
        let other = random.below(last as u64 + 1);
        items.swap(last, usize::try_from(other).expect("less than `last`"));
    }
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn insert(bencher: Bencher) {
    let deadlines = deadlines();
    bencher.counter(ItemsCount::new(TIMERS)).with_inputs(|| Wheel::new(0)).bench_local_values(
        |mut wheel| {
            for &when in &deadlines {
                black_box(wheel.insert(when, when));
            }
            wheel
        },
    );
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn cancel_in_random_order(bencher: Bencher) {
    let deadlines = deadlines();
    bencher
        .counter(ItemsCount::new(TIMERS))
        .with_inputs(|| {
            let (wheel, mut ids) = fill(&deadlines);
            shuffle(&mut ids);
            (wheel, ids)
        })
        .bench_local_values(|(mut wheel, ids)| {
            for &id in &ids {
                black_box(wheel.cancel(id));
            }
            wheel
        });
}

#[divan::bench]
fn insert_and_cancel_among_a_thousand(bencher: Bencher) {
    let mut wheel = Wheel::new(0);
    let mut random = Random(3);
    for payload in 0..1000 {
        wheel.insert(1 + random.below(HALF_AN_HOUR), payload);
    }
    bencher.bench_local(|| {
        let id = wheel.insert(black_box(600_000), 0);
        wheel.cancel(black_box(id))
    });
}

#[divan::bench]
fn next_expiration_among_a_hundred(bencher: Bencher) {
    let mut wheel = Wheel::new(0);
    for payload in 0..100 {
        wheel.insert(600_000 + payload, payload);
    }
    bencher.bench_local(|| black_box(&wheel).next_expiration());
}

/// Returns how long each call took, in the order of the calls.
fn expire_all(deadlines: &[u64], budget: usize) -> Vec<Duration> {
    let (mut wheel, _) = fill(deadlines);
    let mut calls = Vec::new();
    let mut now = 0;
    while !wheel.is_empty() {
        now += STEP;
        loop {
            let start = Instant::now();
            let progress = wheel.advance(now, budget, &mut |id, payload| {
                black_box((id, payload));
            });
            calls.push(start.elapsed());
            if !progress.more {
                break;
            }
        }
    }
    calls
}

#[allow(clippy::print_stderr, reason = "divan has no place for a maximum")]
fn report_longest_advance(budget: usize) {
    let deadlines = deadlines();
    let mut shortest = expire_all(&deadlines, budget);
    let mut once = shortest.iter().max().copied();
    for _ in 1..PASSES {
        let calls = expire_all(&deadlines, budget);
        once = once.min(calls.iter().max().copied());
        for (best, call) in shortest.iter_mut().zip(calls) {
            *best = call.min(*best);
        }
    }
    let total: Duration = shortest.iter().sum();
    eprintln!(
        "advance in {STEP} ms steps, budget {budget}: {} calls, {:?} a timer, longest {:?} \
         (with the noise of the best of {PASSES} runs {:?})",
        shortest.len(),
        total / u32::try_from(TIMERS).expect("a million"),
        shortest.iter().max().expect("there are timers"),
        once.expect("there are timers"),
    );
}
