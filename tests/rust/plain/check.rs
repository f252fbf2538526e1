//! What has to be true after each step, and what comes true when everybody does his part.

use millpond_core::{Claim, Limits, State, Ticks};

use super::{claim_of, World};

/// Slots are looked at again this long after a reset, at the latest.
const AFTER_RESET: Ticks = 100;

impl World {
    pub(crate) fn check(&mut self) {
        self.check_owners();
        self.check_queue();
        self.check_size();
        self.note_need();
    }

    fn note_need(&mut self) {
        let (min_size, _) = self.core.sizes();
        let open = self.core.count(|state| !matches!(state, State::Empty | State::Closing));
        if open <= min_size as usize || !self.grants.is_empty() {
            self.needed_until = self.now;
        }
    }

    /// Every slot that is taken has the one owner that its state calls for.
    fn check_owners(&self) {
        let held = self.held.iter().map(|(claim, _)| (*claim, State::InUse));
        let granted = self.grants.iter().map(|claim| (*claim, State::Granted));
        let resetting = self.resetting.iter().map(|claim| (*claim, State::Checking));
        let jobs = self.jobs.iter().map(|(job, _)| claim_of(job));
        let current = jobs.filter(|(claim, _)| self.core.is_current(*claim));
        let mut owners: Vec<_> = held.chain(granted).chain(resetting).chain(current).collect();
        let mut views = self.core.views();
        views.retain(|view| view.state != State::Idle);
        owners.sort_by_key(|(claim, _)| claim.slot);
        let owned = views.iter().map(|view| {
            let claim = Claim { slot: view.slot, generation: view.generation };
            (claim, view.state)
        });
        assert_eq!(owners, owned.collect::<Vec<_>>());
    }

    fn check_queue(&self) {
        assert_eq!(self.core.waiting(), self.queue.len() as u64);
        let (since, _) = self.core.waiting_since();
        assert_eq!(since.len(), self.queue.len());
        assert!(since.is_sorted(), "whoever came first waits longest");
        let Some(turn) = self.turn() else { return };
        if self.shut || self.core.is_suspended() {
            return;
        }
        let limit = self.core.sizes().1;
        let views = self.core.views();
        let mut idle = views.iter().filter(|view| view.slot < limit && view.state == State::Idle);
        let nudged = self.nudges.iter().any(|(id, _)| *id == self.queue[turn].id);
        assert!(nudged || idle.next().is_none(), "somebody waits for what is idle");
    }

    /// What is open is within the limit, or was before and does not become more.
    fn check_size(&mut self) {
        let open = self.core.views().len();
        let (_, max_size) = self.core.sizes();
        assert!(open <= self.open.max(max_size as usize), "{open} of {max_size} are open");
        self.open = open;
        let connecting = self.core.count(|state| state == State::Connecting);
        let most = self.core.limits().max_connecting as usize;
        assert!(connecting <= most, "{connecting} connect at once");
        let idle = self.core.count(|state| state == State::Idle);
        if self.shut {
            let opening = self.core.count(|state| state == State::Connecting);
            assert_eq!((idle, opening), (0, 0), "what is this for?");
        } else if !self.core.is_suspended() {
            let staying = self.core.count(|state| !matches!(state, State::Empty | State::Closing));
            assert!(
                idle == 0 || staying <= max_size as usize,
                "an idle one is kept above the limit"
            );
            let views = self.core.views();
            let mut above = views.iter().filter(|view| view.slot >= max_size);
            assert!(above.all(|view| view.state != State::Idle));
        }
    }

    /// With a timer that comes when it is due, nothing is older than it may be.
    pub(super) fn check_deadlines(&mut self) {
        self.note_need();
        let limits = self.core.limits();
        for (job, since) in &self.jobs {
            let (claim, state) = claim_of(job);
            let timeout = match state {
                State::Checking => limits.validation_timeout,
                _ => limits.connect_timeout,
            };
            let overdue = since.saturating_add(timeout) <= self.now;
            assert!(!overdue || !self.core.is_current(claim), "{job:?} hangs");
        }
        self.check_ages(limits);
        for (claim, _) in &self.held {
            let views = self.core.views();
            let view = views.iter().find(|view| view.slot == claim.slot);
            let since = view.and_then(|view| view.held_since).expect("it was noted");
            let due = since.saturating_add(limits.leak_threshold) <= self.now;
            assert_eq!(due, self.reported.contains(claim), "held since {since}");
        }
    }

    fn check_ages(&self, limits: &Limits) {
        for view in self.core.views() {
            if view.state != State::Idle {
                continue;
            }
            let old_at = view.opened_at.saturating_add(limits.max_lifetime);
            assert!(old_at.saturating_add(AFTER_RESET) > self.now, "too old: {view:?}");
            // One that was needed when its time came is looked at again a whole timeout later.
            let idle_since = view.released_at.max(self.needed_until);
            let idle_until = idle_since.saturating_add(limits.idle_timeout.saturating_mul(2));
            let is_late = idle_until.saturating_add(AFTER_RESET) <= self.now;
            assert!(!is_late, "idle for too long: {view:?}");
        }
    }

    /// Everybody does his part, and well.
    fn settle(&mut self) {
        for _ in 0..self.jobs.len() {
            self.finish(0, true);
        }
        while !self.resetting.is_empty() {
            self.end_reset(0, true);
        }
        while !self.nudges.is_empty() {
            self.retry(0);
        }
        while !self.grants.is_empty() {
            self.accept(0);
        }
        while !self.held.is_empty() {
            self.give_back(0);
        }
        self.check();
        // Less than any job's timeout.
        self.pass(20);
        self.check();
    }

    /// After all releases every waiter was served, and after a close nothing is left.
    pub(crate) fn end(&mut self) {
        self.does(millpond_core::Core::resume);
        let enough = 20 + self.queue.len();
        for _ in 0..enough {
            self.settle();
        }
        assert!(self.queue.is_empty(), "somebody waits for ever");
        if !self.shut {
            let (min_size, max_size) = self.core.sizes();
            let open = self.core.count(|state| state != State::Empty);
            assert!(open >= min_size.min(max_size) as usize, "{open} of at least {min_size}");
        }
        self.shut();
        for _ in 0..3 {
            self.settle();
        }
        assert_eq!(self.core.views().len(), 0);
        assert!(self.inside.is_empty(), "lost: {:?}", self.inside);
    }
}
