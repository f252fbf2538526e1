//! A pool's surroundings in one thread: callers, waiters, workers and the timer, each of which does its
//! part when a test says so, and the little that has to be true after each step.

mod check;
mod pulse;

use std::collections::BTreeSet;

use millpond_core::{
    Claim, Core, Effects, GivenBack, Held, Job, Limits, Policy, Priority, Reason, Refused, State,
    Ticket, Ticks, Wake, Waker, NEVER,
};

use pulse::Connection;

pub(crate) type Todo = Effects<Connection, Waiter>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    id: u64,
    /// Whether it is a thread, which can be nudged, or a callback.
    thread: bool,
}

/// The claim of a job, and the state that its slot is in.
fn claim_of(job: &Job<Connection>) -> (Claim, State) {
    match job {
        Job::Open(claim) => (*claim, State::Connecting),
        Job::Check(claim) => (*claim, State::Checking),
        Job::Close(claim, ..) => (*claim, State::Closing),
    }
}

impl Waker for Waiter {
    type Nudge = u64;

    fn nudge(&self) -> Option<u64> {
        self.thread.then_some(self.id)
    }
}

/// A place in the queue.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) id: u64,
    ticket: Ticket,
    priority: Priority,
}

/// The engine, and what everybody else knows of it. A connection is a number.
pub(crate) struct World {
    pub(crate) core: Core<Connection, Waiter>,
    pub(crate) now: Ticks,
    /// When the timer looks next.
    wake_at: Option<Ticks>,
    /// In the order in which they came.
    pub(crate) queue: Vec<Place>,
    /// Urgent callers served in a row while others waited.
    in_a_row: usize,
    pub(crate) grants: Vec<Claim>,
    pub(crate) nudges: Vec<(u64, Ticket)>,
    pub(crate) held: Vec<(Claim, Connection)>,
    pub(crate) resetting: Vec<Claim>,
    pub(crate) jobs: Vec<(Job<Connection>, Ticks)>,
    /// The connections that the pool has and does not want to close.
    inside: BTreeSet<Connection>,
    /// Those of them that are only still there since somebody had them when all were evicted.
    condemned: BTreeSet<Connection>,
    /// Connections that must be validated before anybody gets them.
    suspects: BTreeSet<Connection>,
    reported: Vec<Claim>,
    next: u64,
    pub(crate) shut: bool,
    /// Places that were taken at the last look.
    open: usize,
    /// Until when no connection was to spare, or one was granted: none has to be closed for being idle.
    needed_until: Ticks,
}

impl World {
    pub(crate) fn new(limits: Limits) -> Self {
        pulse::forget_the_past();
        let mut world = Self {
            core: Core::new(limits),
            now: 1,
            wake_at: None,
            queue: Vec::new(),
            in_a_row: 0,
            grants: Vec::new(),
            nudges: Vec::new(),
            held: Vec::new(),
            resetting: Vec::new(),
            jobs: Vec::new(),
            inside: BTreeSet::new(),
            condemned: BTreeSet::new(),
            suspects: BTreeSet::new(),
            reported: Vec::new(),
            next: 0,
            shut: false,
            open: 0,
            needed_until: 0,
        };
        world.does(Core::warm_up);
        world.check();
        world
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Calls the engine, and notes what it decided.
    pub(crate) fn does<R>(
        &mut self,
        decide: impl FnOnce(&Core<Connection, Waiter>, Ticks, &mut Todo) -> R,
    ) -> R {
        let mut todo = Todo::default();
        let result = decide(&self.core, self.now, &mut todo);
        self.note(todo);
        result
    }

    fn note(&mut self, todo: Todo) {
        for wake in todo.wakes {
            self.note_wake(&wake);
        }
        for job in todo.jobs {
            let (claim, state) = claim_of(&job);
            assert_eq!(self.view(claim), Some(state), "a job owns its slot: {job:?}");
            if let Job::Close(_, connection, _) = &job {
                let connection = connection.expect("a connection to close");
                assert!(self.inside.remove(&connection), "{connection:?} is closed twice");
            }
            self.jobs.push((job, self.now));
        }
        for claim in todo.leaks {
            assert!(self.held.iter().any(|(held, _)| *held == claim), "nobody holds {claim:?}");
            assert!(!self.reported.contains(&claim), "{claim:?} is reported twice");
            self.reported.push(claim);
        }
        for (claim, state) in todo.overdue {
            let overdue = |(job, _): &(Job<Connection>, _)| claim_of(job) == (claim, state);
            assert!(self.jobs.iter().any(overdue), "nobody works on {claim:?}");
            assert!(!self.core.is_current(claim));
        }
        if todo.retimed {
            self.wake_at = Some(self.now);
        }
    }

    fn note_wake(&mut self, wake: &Wake<Waiter>) {
        let Place { id, ticket, .. } = self.queue[self.turn().expect("only who waits is woken")];
        match wake {
            Wake::Granted(waiter, claim) => {
                assert_eq!(waiter.id, id, "only whose turn it is is served");
                assert_eq!(self.view(*claim), Some(State::Granted));
                self.check_lively(*claim);
                self.pop();
                self.grants.push(*claim);
            }
            Wake::Closed(waiter) => {
                assert_eq!(waiter.id, id);
                assert!(self.core.is_closed());
                self.pop();
            }
            Wake::Nudge(nudged) => {
                assert_eq!(*nudged, id, "only whose turn it is is nudged");
                assert_eq!(self.core.limits().policy, Policy::Throughput);
                self.nudges.push((id, ticket));
            }
        }
    }

    /// Whose turn it is.
    pub(crate) fn turn(&self) -> Option<usize> {
        let first = |priority| self.queue.iter().position(|place| place.priority == priority);
        match (first(Priority::High), first(Priority::Normal)) {
            (Some(_), Some(other)) if self.in_a_row == 4 => Some(other),
            (urgent, other) => urgent.or(other),
        }
    }

    fn pop(&mut self) -> Option<Place> {
        let place = self.queue.remove(self.turn()?);
        let others = self.queue.iter().any(|place| place.priority == Priority::Normal);
        let urgent = place.priority == Priority::High;
        self.in_a_row = if urgent && others { self.in_a_row + 1 } else { 0 };
        Some(place)
    }

    /// The state of the claim's slot, if the claim is good.
    fn view(&self, claim: Claim) -> Option<State> {
        let views = self.core.views();
        let view = views.iter().find(|view| view.slot == claim.slot)?;
        (view.generation == claim.generation).then_some(view.state)
    }

    pub(crate) fn try_acquire(&mut self, habit: u32) {
        let barred = self.shut || self.core.is_suspended();
        let fair = self.core.limits().policy == Policy::Fair;
        match self.core.try_acquire(habit, self.now) {
            Some(claim) => {
                assert!(!barred);
                self.check_lively(claim);
                assert!(!fair || self.queue.is_empty(), "it overtook a waiter");
                let connection = self.hold(claim);
                assert!(!self.condemned.contains(&connection), "it was evicted");
            }
            None if barred || !self.queue.is_empty() || self.is_shrinking() => {}
            None => {
                let validated = self.core.limits().validation_interval != NEVER;
                let excused = validated || self.some_are_lifeless();
                assert!(excused || self.count(State::Idle) == 0, "an idle one was not found");
            }
        }
    }

    fn hold(&mut self, claim: Claim) -> Connection {
        self.core.note_borrow(claim, 7, || 1);
        self.core.note_held(claim, self.now);
        // SAFETY: the claim is good and nobody else runs.
        let connection = unsafe { self.core.value(claim) };
        let connection = *connection.expect("who acquires gets a connection");
        assert!(self.inside.contains(&connection));
        assert!(!self.suspects.contains(&connection), "it was not validated");
        self.held.push((claim, connection));
        connection
    }

    pub(crate) fn join(&mut self, thread: bool, priority: Priority) {
        let id = self.number();
        let mut todo = Todo::default();
        let waiter = Waiter { id, thread };
        match self.core.join_as(waiter, priority, NEVER, self.now, &mut todo) {
            Ok(ticket) => self.queue.push(Place { id, ticket, priority }),
            Err(Refused::Hopeless(_)) => unreachable!("its patience has no end"),
            Err(Refused::Closed) => assert!(self.shut),
            Err(Refused::Down) => unreachable!("nobody asked for that"),
            Err(Refused::Full) => {
                assert!(self.queue.len() >= self.core.limits().max_waiting as usize);
            }
        }
        self.note(todo);
    }

    pub(crate) fn leave(&mut self, index: usize) {
        let Place { id, ticket, .. } = self.queue.remove(index);
        let left = self.does(|core, now, todo| core.leave(ticket, now, todo));
        assert_eq!(left.map(|waiter| waiter.id), Some(id));
        assert!(self.does(|core, now, todo| core.leave(ticket, now, todo)).is_none());
    }

    pub(crate) fn dismiss(&mut self) {
        let first = self.pop();
        let dismissed = self.does(Self::dismiss_oldest);
        assert_eq!(dismissed.map(|waiter| waiter.id), first.map(|place| place.id));
    }

    fn dismiss_oldest(
        core: &Core<Connection, Waiter>,
        now: Ticks,
        todo: &mut Todo,
    ) -> Option<Waiter> {
        core.dismiss_oldest(now, todo)
    }

    pub(crate) fn retry(&mut self, index: usize) {
        let (_, ticket) = self.nudges.swap_remove(index);
        self.does(|core, now, todo| core.retry(ticket, now, todo));
    }

    pub(crate) fn accept(&mut self, index: usize) {
        let claim = self.grants.swap_remove(index);
        if self.core.accept(claim) {
            assert!(!self.shut);
            self.hold(claim);
        } else {
            assert!(self.shut);
            self.does(|core, now, todo| core.give_up(claim, now, todo));
        }
    }

    pub(crate) fn give_up(&mut self, index: usize) {
        let claim = self.grants.swap_remove(index);
        self.does(|core, now, todo| core.give_up(claim, now, todo));
    }

    /// What a holder holds; the caller does something that ends that.
    fn take_held(&mut self, index: usize) -> (Held, Connection) {
        let (claim, connection) = self.held.swap_remove(index);
        // SAFETY: the claim is good and nobody else runs.
        assert_eq!(unsafe { self.core.value(claim) }, Some(&connection), "it is still the same");
        let held = self.core.held(claim.slot, Some(claim.generation));
        (held.expect("nobody takes it from its holder"), connection)
    }

    pub(crate) fn give_back(&mut self, index: usize) {
        let (held, _) = self.take_held(index);
        match self.core.give_back(held, self.now, || 2) {
            GivenBack::Idle => {}
            GivenBack::Attention => self.does(Core::after_release),
            GivenBack::Spent(reason) => {
                assert!(self.does(|core, now, todo| core.retire_held(held, reason, now, todo)));
            }
            GivenBack::NotHeld => panic!("it was held"),
        }
        self.assert_gone(held);
    }

    /// A cancelled query may still hit this connection.
    pub(crate) fn suspect(&mut self, index: usize) {
        let (claim, connection) = self.held[index];
        let held = self.core.held(claim.slot, Some(claim.generation)).expect("it is held");
        self.core.suspect_held(held);
        self.suspects.insert(connection);
    }

    /// A second release of the same finds it gone.
    fn assert_gone(&mut self, held: Held) {
        let claim = held.claim();
        assert!(self.core.held(claim.slot, Some(claim.generation)).is_none());
        assert!(self.core.begin_reset(held).is_none());
        let discarded = |core: &Core<_, _>, now: Ticks, todo: &mut Todo| {
            core.retire_held(held, Reason::Discarded, now, todo)
        };
        assert!(!self.does(discarded));
    }

    pub(crate) fn begin_reset(&mut self, index: usize) {
        let (held, _) = self.take_held(index);
        let claim = self.core.begin_reset(held).expect("it is held");
        self.resetting.push(claim);
    }

    pub(crate) fn end_reset(&mut self, index: usize, good: bool) {
        let claim = self.resetting.swap_remove(index);
        let end = if good {
            self.core.end_reset(claim, self.now, || 2)
        } else {
            GivenBack::Spent(Reason::Reset)
        };
        match end {
            GivenBack::Idle => {}
            GivenBack::Attention => self.does(Core::after_release),
            GivenBack::Spent(reason) => {
                assert!(self.does(|core, now, todo| core.retire_reset(claim, reason, now, todo)));
            }
            GivenBack::NotHeld => panic!("it was held"),
        }
    }

    pub(crate) fn discard(&mut self, index: usize) {
        let (held, _) = self.take_held(index);
        let reason = Reason::Discarded;
        assert!(self.does(|core, now, todo| core.retire_held(held, reason, now, todo)));
        self.check_suspicion();
        self.assert_gone(held);
    }

    pub(crate) fn detach(&mut self, index: usize) {
        let (held, connection) = self.take_held(index);
        assert!(self.inside.remove(&connection));
        let detached = self.does(|core, now, todo| core.detach(held, now, todo));
        assert_eq!(detached, Some(connection));
        self.assert_gone(held);
    }

    /// A caller asks whether it would be in vain to wait.
    pub(crate) fn turn_away(&mut self, patience: Ticks) {
        let turned_away = self.core.turns_away(patience, self.now);
        let open = |state| !matches!(state, State::Empty | State::Connecting | State::Closing);
        if turned_away {
            assert_eq!(self.core.count(open), 0, "something may come back");
            let since = self.core.failing_since().expect("attempts failed");
            let least = self.core.limits().fail_fast_after.max(patience);
            assert!(self.now - since >= least);
        }
    }

    /// A worker ends a job, well or badly, in time or too late.
    pub(crate) fn finish(&mut self, index: usize, good: bool) {
        let (job, _) = self.jobs.swap_remove(index);
        let (claim, _) = claim_of(&job);
        let ours = self.core.is_current(claim);
        match job {
            Job::Open(claim) if good => {
                let number = self.number();
                let new = Connection(number);
                self.inside.insert(new);
                let filled = self.does(|core, now, todo| core.fill(claim, new, number, now, todo));
                assert_eq!(filled.is_ok(), ours);
                if !ours {
                    self.inside.remove(&new);
                }
            }
            Job::Open(claim) => {
                let pause = claim.generation % 3 != 0;
                let end = |core: &Core<_, _>, now: Ticks, todo: &mut Todo| {
                    core.open_failed(claim, now + 20, pause, now, todo)
                };
                assert_eq!(self.does(end), ours);
            }
            Job::Check(claim) if good && !self.has_hung_up(claim) => {
                // SAFETY: while the claim is good the connection is its owner's, and nobody else runs.
                let connection = ours.then(|| unsafe { self.core.value(claim) }.copied()).flatten();
                if let Some(connection) = connection {
                    self.suspects.remove(&connection);
                }
                self.does(|core, now, todo| core.check_passed(claim, now, todo));
            }
            Job::Check(claim) => {
                assert_eq!(self.does(|core, now, todo| core.check_failed(claim, now, todo)), ours);
                if ours {
                    self.check_suspicion();
                }
            }
            Job::Close(claim, ..) => {
                assert_eq!(self.does(|core, now, todo| core.closed(claim, now, todo)), ours);
            }
        }
        assert!(!self.core.is_current(claim) || matches!(self.view(claim), Some(State::Idle)));
    }

    /// Lets time pass, with a timer that looks when it was told to and at no other time.
    pub(crate) fn pass(&mut self, ticks: Ticks) {
        let end = self.now + ticks;
        while let Some(wake_at) = self.wake_at.filter(|wake_at| *wake_at <= end) {
            self.now = self.now.max(wake_at);
            self.wake_at = None;
            let next = self.does(Core::advance);
            // Told again while it looked: it looks again.
            self.wake_at = self.wake_at.and(Some(self.now + 1)).or(next);
            assert!(next.is_none_or(|next| next > self.now), "it would never sleep");
        }
        self.now = end;
        self.check_deadlines();
    }

    pub(crate) fn resize(&mut self, min_size: u32, max_size: u32) {
        self.does(|core, now, todo| core.resize(min_size, max_size, now, todo));
    }

    pub(crate) fn evict(&mut self) {
        self.does(Core::evict);
        self.condemned.clone_from(&self.inside);
    }

    pub(crate) fn shut(&mut self) {
        let first = !std::mem::replace(&mut self.shut, true);
        assert_eq!(self.does(Core::shut), first);
    }

    fn count(&self, state: State) -> usize {
        self.core.views().iter().filter(|view| view.state == state).count()
    }

    fn is_shrinking(&self) -> bool {
        let (_, max_size) = self.core.sizes();
        self.core.views().iter().any(|view| view.slot >= max_size)
    }
}
