//! The next deadline of every slot, and the alarms of its users, on one timer wheel.
//!
//! A slot has at most one entry, for the earliest of its deadlines. Borrow and return do not touch it:
//! they store a tick, and when the entry fires the upkeep reads the slot and arms it again for what is
//! then the earliest (Varghese and Lauck call such timers lazy).
//!
//! Two parties arm a slot, both under the schedule's mutex: the owner of a job, after it claimed the
//! slot, for the job's deadline; and `Core::settle`, for a slot that it sees, under the mutex, to have
//! no job. So the deadline of a job is never overwritten: who claims the slot after that look arms it
//! after that look.

use crate::limits::{Ticks, NEVER};
use crate::wheel::{TimerId, Wheel};

/// What fires: a slot, an alarm from here on, or the end of the pause after failed attempts to connect.
const ALARMS: u64 = 1 << 32;
const REOPEN: u64 = u64::MAX;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Slot(u32),
    Reopen,
    Alarm(Alarm),
}

/// An alarm, by a number that is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alarm(u64);

impl Alarm {
    /// Its number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0 - ALARMS
    }
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    timer: TimerId,
    when: Ticks,
}

#[derive(Debug)]
pub(crate) struct Schedule {
    wheel: Wheel,
    slots: Vec<Option<Armed>>,
    reopen: Option<Armed>,
    next_alarm: u64,
    /// The moment at which the timer thread will look by itself.
    promised: Ticks,
}

impl Schedule {
    pub(crate) fn new() -> Self {
        Self {
            wheel: Wheel::new(0),
            slots: Vec::new(),
            reopen: None,
            next_alarm: ALARMS,
            promised: NEVER,
        }
    }

    /// Sets the deadline of a slot. True when the timer thread has to be told.
    pub(crate) fn arm(&mut self, slot: u32, when: Ticks) -> bool {
        let before = self.entry(slot).take();
        *self.entry(slot) = self.set(before, when, u64::from(slot));
        self.is_news(before, when)
    }

    /// Sets the end of the pause, which always comes. True when the timer thread has to be told.
    pub(crate) fn arm_reopen(&mut self, when: Ticks) -> bool {
        if when == NEVER {
            return false;
        }
        let before = self.reopen.take();
        self.reopen = self.set(before, when, REOPEN);
        self.is_news(before, when)
    }

    /// Sets an alarm. The second is true when the timer thread has to be told.
    pub(crate) fn set_alarm(&mut self, when: Ticks) -> (Alarm, TimerId, bool) {
        let alarm = Alarm(self.next_alarm);
        self.next_alarm += 1;
        let timer = self.wheel.insert(when, alarm.0);
        (alarm, timer, self.is_news(None, when))
    }

    /// Takes an alarm back, if it has not gone off.
    pub(crate) fn cancel_alarm(&mut self, timer: TimerId) {
        // The timer thread is not told: it may sleep until then, and finds nothing to do.
        self.wheel.cancel(timer);
    }

    /// Collects what is due, at most `budget` timers at a time. True when there is more.
    pub(crate) fn advance(&mut self, now: Ticks, budget: usize, due: &mut Vec<Due>) -> bool {
        let Self { wheel, slots, reopen, .. } = self;
        let progress = wheel.advance(now, budget, &mut |_, payload| {
            due.push(match (u32::try_from(payload), payload) {
                (Ok(slot), _) => {
                    slots[slot as usize] = None;
                    Due::Slot(slot)
                }
                (Err(_), REOPEN) => {
                    *reopen = None;
                    Due::Reopen
                }
                (Err(_), alarm) => Due::Alarm(Alarm(alarm)),
            });
        });
        progress.more
    }

    /// The moment at which the timer thread should look again; it is taken at its word.
    pub(crate) fn promise(&mut self) -> Option<Ticks> {
        let next = self.wheel.next_expiration();
        self.promised = next.unwrap_or(NEVER);
        next
    }

    fn set(&mut self, armed: Option<Armed>, when: Ticks, payload: u64) -> Option<Armed> {
        match armed {
            Some(armed) if when == NEVER => {
                self.wheel.cancel(armed.timer);
                None
            }
            Some(armed) => {
                self.wheel.reschedule(armed.timer, when);
                Some(Armed { when, ..armed })
            }
            None if when == NEVER => None,
            None => Some(Armed { timer: self.wheel.insert(when, payload), when }),
        }
    }

    /// Whether the timer thread would be late, or, since what it sleeps for is gone, wake in vain. It
    /// is told of the second now, when the pool is at work, and not woken later, when it is idle.
    fn is_news(&mut self, before: Option<Armed>, when: Ticks) -> bool {
        let in_vain =
            before.is_some_and(|before| before.when == self.promised) && when > self.promised;
        let late = when < self.promised;
        if late || in_vain {
            // Until it has looked, so that it is told once.
            self.promised = when;
        }
        late || in_vain
    }

    fn entry(&mut self, slot: u32) -> &mut Option<Armed> {
        let index = slot as usize;
        if index >= self.slots.len() {
            self.slots.resize(index + 1, None);
        }
        &mut self.slots[index]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn due(schedule: &mut Schedule, now: Ticks) -> Vec<Due> {
        let mut due = Vec::new();
        while schedule.advance(now, 8, &mut due) {}
        due
    }

    #[test]
    fn a_slot_fires_once_at_the_deadline_that_was_set_last() {
        let mut schedule = Schedule::new();
        schedule.arm(3, 100);

        schedule.arm(3, 500);

        assert_eq!(due(&mut schedule, 499), []);
        assert_eq!(due(&mut schedule, 500), [Due::Slot(3)]);
        assert_eq!(due(&mut schedule, 1000), []);
    }

    #[test]
    fn the_timer_thread_is_told_when_what_it_sleeps_for_is_gone() {
        let mut schedule = Schedule::new();
        assert!(schedule.arm(0, 100));
        assert_eq!(schedule.promise(), Some(100));

        assert!(schedule.arm(0, 600));
        assert_eq!(schedule.promise(), Some(600));
        assert!(!schedule.arm(0, 600));
    }

    #[test]
    fn a_slot_without_deadline_never_fires() {
        let mut schedule = Schedule::new();
        schedule.arm(0, 100);

        schedule.arm(0, NEVER);

        assert_eq!(due(&mut schedule, 10_000), []);
        assert_eq!(schedule.promise(), None);
    }

    #[test]
    fn the_timer_thread_is_told_only_of_what_it_would_miss() {
        let mut schedule = Schedule::new();

        assert!(schedule.arm(0, 100));
        assert!(!schedule.arm(1, 200));
        assert_eq!(schedule.promise(), Some(100));
        assert!(schedule.arm_reopen(50));
        assert_eq!(due(&mut schedule, 60), [Due::Reopen]);
        assert_eq!(schedule.promise(), Some(100));
        assert!(!schedule.arm(2, 100));
    }

    #[test]
    fn an_alarm_goes_off_once_unless_it_is_taken_back() {
        let mut schedule = Schedule::new();
        let (first, _, news) = schedule.set_alarm(100);
        let (second, timer, _) = schedule.set_alarm(100);

        schedule.cancel_alarm(timer);

        assert!(news);
        assert_ne!(first, second);
        assert_eq!(due(&mut schedule, 100), [Due::Alarm(first)]);
        assert_eq!(due(&mut schedule, 1000), []);
    }
}
