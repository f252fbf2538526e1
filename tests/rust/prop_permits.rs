//! The semaphore against a plain model: any sequence of calls gives permits to the same callers.
#![cfg(not(loom))]

use std::collections::VecDeque;

use millpond_core::{Permits, Served, Ticket, Waker};
use proptest::prelude::*;

#[derive(Debug)]
struct Caller(usize);

impl Waker for Caller {
    type Nudge = ();

    fn nudge(&self) -> Option<()> {
        None
    }
}

#[derive(Clone, Debug)]
enum Step {
    TryAcquire,
    Release,
    Join,
    Leave(usize),
    SetLimit(Option<u64>),
    SetInUse(u64),
    Force,
    Watch(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::TryAcquire),
        4 => Just(Step::Release),
        4 => Just(Step::Join),
        2 => any::<prop::sample::Index>().prop_map(|index| Step::Leave(index.index(20))),
        1 => proptest::option::of(0..5_u64).prop_map(Step::SetLimit),
        1 => (0..6_u64).prop_map(Step::SetInUse),
        1 => Just(Step::Force),
        1 => any::<bool>().prop_map(Step::Watch),
    ]
}

/// A counter, a limit and a list.
#[derive(Debug)]
struct Model {
    in_use: u64,
    limit: u64,
    queue: VecDeque<usize>,
    watchers: u64,
}

impl Model {
    fn serve(&mut self) -> Vec<usize> {
        let room = self.limit.saturating_sub(self.in_use);
        let count = self.queue.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.in_use += count as u64;
        self.queue.drain(..count).collect()
    }
}

fn served(served: Served<Caller>) -> Vec<usize> {
    served.waiters.into_iter().map(|caller| caller.0).collect()
}

/// Does one step to both, and gives who was served by each.
fn run(
    step: &Step,
    permits: &Permits<Caller>,
    tickets: &mut Vec<Ticket>,
    model: &mut Model,
) -> Result<(Vec<usize>, Vec<usize>), TestCaseError> {
    match *step {
        Step::TryAcquire => {
            let expected = model.queue.is_empty() && model.in_use < model.limit;
            prop_assert_eq!(permits.try_acquire(), expected);
            model.in_use += u64::from(expected);
        }
        Step::Release => {
            let quick = permits.try_release();
            prop_assert_eq!(quick, model.queue.is_empty() && model.watchers == 0);
            model.in_use = model.in_use.saturating_sub(1);
            let expected = model.serve();
            if quick {
                return Ok((vec![], expected));
            }
            let release = permits.release();
            prop_assert_eq!(release.watched, model.watchers > 0);
            return Ok((served(release), expected));
        }
        Step::Join => {
            let (ticket, woken) = permits.join(Caller(tickets.len()));
            model.queue.push_back(tickets.len());
            tickets.push(ticket);
            return Ok((served(woken), model.serve()));
        }
        Step::Leave(index) => {
            let Some(ticket) = tickets.get(index) else { return Ok((vec![], vec![])) };
            let left = permits.leave(*ticket).map(|caller| caller.0);
            let waits = model.queue.contains(&index).then_some(index);
            prop_assert_eq!(left, waits);
            model.queue.retain(|waiter| *waiter != index);
        }
        Step::SetLimit(limit) => {
            model.limit = limit.unwrap_or(u64::MAX);
            return Ok((served(permits.set_limit(limit)), model.serve()));
        }
        Step::SetInUse(in_use) => {
            model.in_use = in_use;
            return Ok((served(permits.set_in_use(in_use)), model.serve()));
        }
        Step::Force => {
            permits.force();
            model.in_use += 1;
        }
        Step::Watch(true) => {
            permits.watch();
            model.watchers += 1;
        }
        Step::Watch(false) if model.watchers > 0 => {
            permits.unwatch();
            model.watchers -= 1;
        }
        Step::Watch(false) => {}
    }
    Ok((vec![], vec![]))
}

proptest! {
    #[test]
    fn the_semaphore_serves_whom_the_model_serves(
        limit in proptest::option::of(0..5_u64),
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let permits = Permits::new(limit);
        let mut tickets = Vec::new();
        let limit = limit.unwrap_or(u64::MAX);
        let mut model = Model { in_use: 0, limit, queue: VecDeque::new(), watchers: 0 };

        for step in &steps {
            let (woken, expected) = run(step, &permits, &mut tickets, &mut model)?;

            prop_assert_eq!(woken, expected, "{:?}", step);
            prop_assert_eq!(permits.in_use(), model.in_use);
            prop_assert_eq!(permits.waiting(), model.queue.len() as u64);
            prop_assert_eq!(permits.is_watched(), model.watchers > 0);
        }
    }
}
