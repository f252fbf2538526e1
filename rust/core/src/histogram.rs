//! How long things took: counts in buckets that grow with the duration.
//!
//! Every power of two is divided into four buckets of equal width, so a bucket is never wider than
//! a quarter of the durations in it, from one nanosecond to five hundred years:
//!
//! ```text
//! 0 1 2 3 | 4 5 6 7 | 8.. 10.. 12.. 14.. | 16.. 20.. 24.. 28.. | 32.. 40.. 48.. 56.. | …
//! ```
//!
//! That takes 252 buckets, two kilobytes, and no configuration. [`Histogram`] is what is written
//! to, a few relaxed operations and no lock; [`HistogramSnapshot`] is what is read, and the sum of
//! as many histograms as were merged into it.

use std::ops::RangeInclusive;

use crate::sync::Tally;
use std::sync::atomic::Ordering::Relaxed;

/// Four buckets for each power of two.
const SUB_BITS: u32 = 2;
const SUB: usize = 1 << SUB_BITS;
const SUB_MASK: u64 = (1 << SUB_BITS) - 1;

/// The first four hold one value each, and so do the next four; there are 62 powers of two from 4
/// on.
const BUCKETS: usize = SUB * 63;

#[inline]
fn bucket_of(nanoseconds: u64) -> usize {
    let power = nanoseconds.max(SUB as u64).ilog2();
    let sub = (nanoseconds >> (power - SUB_BITS) & SUB_MASK) as usize;
    if nanoseconds < SUB as u64 {
        sub
    } else {
        SUB * (power - SUB_BITS + 1) as usize + sub
    }
}

fn bounds_of(bucket: usize) -> RangeInclusive<u64> {
    if bucket < SUB {
        return bucket as u64..=bucket as u64;
    }
    let shift = bucket / SUB - 1;
    let lower = ((SUB + bucket % SUB) as u64) << shift;
    lower..=lower + ((1 << shift) - 1)
}

/// A histogram of durations in nanoseconds, written by one thread or by many.
///
/// The orderings are all relaxed: a count publishes nothing. A snapshot taken during a recording
/// may hold one part of it and not yet another.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Tally; BUCKETS],
    sum: Tally,
    max: Tally,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// Creates a histogram with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Tally::new(0)),
            sum: Tally::new(0),
            max: Tally::new(0),
        }
    }

    /// Records a duration; any number of threads may do so at once.
    #[inline]
    pub fn record(&self, nanoseconds: u64) {
        self.buckets[bucket_of(nanoseconds)].fetch_add(1, Relaxed);
        self.sum.fetch_add(nanoseconds, Relaxed);
        // A new maximum is rare, and a read leaves the cache line shared.
        if nanoseconds > self.max.load(Relaxed) {
            self.max.fetch_max(nanoseconds, Relaxed);
        }
    }

    /// Records a duration without any locked instruction.
    ///
    /// No two threads may record at the same time in any way: a recording would be lost.
    #[inline]
    pub fn record_exclusive(&self, nanoseconds: u64) {
        let bucket = &self.buckets[bucket_of(nanoseconds)];
        bucket.store(bucket.load(Relaxed) + 1, Relaxed);
        let sum = self.sum.load(Relaxed);
        self.sum.store(sum.wrapping_add(nanoseconds), Relaxed);
        if nanoseconds > self.max.load(Relaxed) {
            self.max.store(nanoseconds, Relaxed);
        }
    }

    /// Returns what was recorded so far.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::new();
        self.add_to(&mut snapshot);
        snapshot
    }

    /// Adds what was recorded so far to `snapshot`.
    pub fn add_to(&self, snapshot: &mut HistogramSnapshot) {
        for (total, bucket) in snapshot.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.load(Relaxed);
        }
        snapshot.sum = snapshot.sum.wrapping_add(self.sum.load(Relaxed));
        snapshot.max = snapshot.max.max(self.max.load(Relaxed));
    }
}

/// The contents of one or more [`Histogram`]s at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    buckets: [u64; BUCKETS],
    sum: u64,
    max: u64,
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self::new()
    }
}

impl HistogramSnapshot {
    /// Creates a snapshot of nothing, to add histograms to.
    #[must_use]
    pub const fn new() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0, max: 0 }
    }

    /// Adds the contents of another snapshot.
    pub fn merge(&mut self, other: &Self) {
        for (total, bucket) in self.buckets.iter_mut().zip(other.buckets) {
            *total += bucket;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// Returns how many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the exact sum in nanoseconds, which wraps around after five hundred years.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Returns the exact longest duration in nanoseconds, or 0 when nothing was recorded.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// Returns the exact mean in nanoseconds, rounded down, or `None` when nothing was recorded.
    #[must_use]
    pub fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.count())
    }

    /// Returns the duration in nanoseconds that a share `q` of all durations do not exceed, or
    /// `None` when nothing was recorded. A `q` outside 0 to 1 counts as the nearer of the two.
    ///
    /// The estimate is less than a quarter off from the duration of that rank (rank ⌈q × count⌉ of
    /// the sorted ones, and at least the first), usually much less, since it assumes that durations
    /// are spread evenly within a bucket. Durations below 8 ns and the maximum, `q` = 1, are exact.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let rank = rank_of(q, count)?;
        if rank == count {
            return Some(self.max);
        }
        let mut below = 0;
        for (bounds, inside) in self.buckets() {
            if rank <= below + inside {
                let estimate = interpolate(&bounds, rank - below, inside);
                return Some(estimate.min(self.max));
            }
            below += inside;
        }
        unreachable!("a rank is at most the count")
    }

    /// Returns each bucket's lowest and highest duration in nanoseconds and how many durations are
    /// in it, from the shortest to the longest.
    pub fn buckets(&self) -> impl Iterator<Item = (RangeInclusive<u64>, u64)> + '_ {
        let numbered = self.buckets.iter().enumerate();
        numbered.map(|(bucket, &count)| (bounds_of(bucket), count))
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "between 1 and the count; a count beyond 2^53 is no count of ours"
)]
fn rank_of(q: f64, count: u64) -> Option<u64> {
    let rank = (q * count as f64).ceil() as u64;
    (count > 0).then(|| rank.clamp(1, count))
}

/// Returns the middle of the part of a bucket that belongs to one of the durations in it.
fn interpolate(bounds: &RangeInclusive<u64>, rank: u64, inside: u64) -> u64 {
    let width = u128::from(bounds.end() - bounds.start()) + 1;
    let part = width * u128::from(2 * rank - 1) / u128::from(2 * inside);
    bounds.start() + u64::try_from(part).expect("less than the width of the bucket")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn recorded(durations: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::new();
        for &duration in durations {
            histogram.record(duration);
        }
        histogram.snapshot()
    }

    #[test]
    fn the_buckets_cover_every_duration_once() {
        let mut next = Some(0);

        for bucket in 0..BUCKETS {
            let bounds = bounds_of(bucket);
            assert_eq!(Some(*bounds.start()), next);
            assert_eq!(bucket_of(*bounds.start()), bucket);
            assert_eq!(bucket_of(*bounds.end()), bucket);
            next = bounds.end().checked_add(1);
        }

        assert_eq!(next, None);
    }

    #[test]
    fn no_bucket_is_wider_than_a_quarter_of_its_durations() {
        for bucket in 2 * SUB..BUCKETS {
            let bounds = bounds_of(bucket);
            assert!(bounds.end() - bounds.start() < bounds.start() / 4);
        }
    }

    #[test]
    fn both_ways_of_recording_count_the_same() {
        let (shared, exclusive) = (Histogram::new(), Histogram::new());

        for duration in [0, 3, 4, 1000, 1001, 7_000_000_000, u64::MAX] {
            shared.record(duration);
            exclusive.record_exclusive(duration);
        }

        assert_eq!(shared.snapshot(), exclusive.snapshot());
    }

    #[test]
    fn recordings_of_several_threads_are_all_counted() {
        let histogram = std::sync::Arc::new(Histogram::new());
        let threads = [1, 2].map(|duration| {
            let histogram = histogram.clone();
            std::thread::spawn(move || (0..1000).for_each(|_| histogram.record(duration)))
        });
        for thread in threads {
            thread.join().unwrap();
        }

        let snapshot = histogram.snapshot();

        assert_eq!(snapshot.count(), 2000);
        assert_eq!(snapshot.sum(), 3000);
    }

    #[test]
    fn a_snapshot_of_nothing_has_no_mean_and_no_quantiles() {
        let nothing = HistogramSnapshot::new();

        assert_eq!((nothing.count(), nothing.sum(), nothing.max()), (0, 0, 0));
        assert_eq!(nothing.mean(), None);
        assert_eq!(nothing.quantile(0.5), None);
    }

    #[test]
    fn the_count_the_sum_the_mean_and_the_maximum_are_exact() {
        let snapshot = recorded(&[10, 1_000_003, 20]);

        assert_eq!(snapshot.count(), 3);
        assert_eq!(snapshot.sum(), 1_000_033);
        assert_eq!(snapshot.mean(), Some(333_344));
        assert_eq!(snapshot.max(), 1_000_003);
        assert_eq!(snapshot.quantile(1.0), Some(1_000_003));
    }

    #[test]
    fn a_quantile_lies_where_its_rank_lies_within_the_bucket() {
        let evenly: Vec<u64> = (1024..1280).collect();

        let snapshot = recorded(&evenly);

        assert_eq!(snapshot.quantile(0.25), Some(1024 + 63));
        assert_eq!(snapshot.quantile(0.5), Some(1024 + 127));
    }

    #[test]
    fn no_quantile_is_above_the_maximum() {
        let snapshot = recorded(&[1024, 1025, 1025]);

        assert_eq!(snapshot.quantile(0.5), Some(1025));
    }

    #[test]
    fn a_share_outside_zero_to_one_counts_as_the_nearer_bound() {
        let snapshot = recorded(&[1, 2, 3]);

        assert_eq!(snapshot.quantile(-1.0), Some(1));
        assert_eq!(snapshot.quantile(f64::NAN), Some(1));
        assert_eq!(snapshot.quantile(2.0), Some(3));
    }

    #[test]
    fn merged_snapshots_are_as_one_recording() {
        let mut merged = recorded(&[5, 500]);

        merged.merge(&recorded(&[50, 5_000]));

        assert_eq!(merged, recorded(&[5, 50, 500, 5_000]));
    }
}
