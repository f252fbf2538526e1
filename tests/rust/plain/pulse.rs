//! Connections that hang up, or have something to say, when a test says so.

use std::cell::RefCell;
use std::collections::BTreeMap;

use millpond_core::{Claim, Pulse, State, Vital, NEVER};

use super::World;

thread_local! {
    /// What is out of the ordinary; each test has a thread of its own.
    static PULSES: RefCell<BTreeMap<i32, Pulse>> = const { RefCell::new(BTreeMap::new()) };
}

/// A number. Two of three have a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connection(pub(crate) u64);

impl Vital for Connection {
    fn socket(&self) -> i32 {
        let number = i32::try_from(self.0).expect("not so many");
        if number % 3 == 0 {
            -1
        } else {
            number
        }
    }

    fn pulse(socket: i32) -> Pulse {
        assert!(socket >= 0);
        PULSES.with_borrow(|pulses| pulses.get(&socket).copied().unwrap_or(Pulse::Alive))
    }
}

pub(super) fn forget_the_past() {
    PULSES.with_borrow_mut(BTreeMap::clear);
}

impl World {
    /// Something happens at the other end of a connection, whoever has it.
    pub(crate) fn changes(&mut self, which: usize, pulse: Pulse) {
        let Some(connection) = self.inside.iter().nth(which) else { return };
        PULSES.with_borrow_mut(|pulses| {
            let now = pulses.entry(connection.socket()).or_insert(pulse);
            if *now != Pulse::Dead {
                *now = pulse;
            }
        });
    }

    fn pulse_of(&self, claim: Claim) -> Pulse {
        // SAFETY: nobody else runs.
        let connection = unsafe { self.core.value(claim) };
        let socket = connection.map_or(-1, Vital::socket);
        if socket < 0 {
            Pulse::Alive
        } else {
            Connection::pulse(socket)
        }
    }

    /// What somebody is given is not known to be dead; if in doubt, it was asked.
    pub(super) fn check_lively(&self, claim: Claim) {
        assert_ne!(self.pulse_of(claim), Pulse::Dead, "somebody was given a dead connection");
    }

    pub(super) fn has_hung_up(&self, claim: Claim) -> bool {
        self.core.is_current(claim) && self.pulse_of(claim) == Pulse::Dead
    }

    pub(super) fn some_are_lifeless(&self) -> bool {
        self.idle().any(|claim| self.pulse_of(claim) != Pulse::Alive)
    }

    /// After a death no idle connection is dead, and those that can't be looked at are being validated.
    pub(super) fn check_suspicion(&mut self) {
        let validates = self.core.limits().validation_interval != NEVER;
        for claim in self.idle() {
            assert_ne!(self.pulse_of(claim), Pulse::Dead, "{claim:?} was overlooked");
            // SAFETY: nobody else runs.
            let connection = unsafe { self.core.value(claim) }.expect("it is idle");
            assert!(!validates || connection.socket() >= 0, "{claim:?} was not asked");
        }
        // SAFETY: nobody else runs.
        let given = |claim: &Claim| *unsafe { self.core.value(*claim) }.expect("it is being reset");
        let resetting = self.resetting.iter().map(given);
        let with_holders = self.held.iter().map(|(_, connection)| *connection).chain(resetting);
        let mute = with_holders.filter(|connection| validates && connection.socket() < 0);
        let mute: Vec<_> = mute.collect();
        self.suspects.extend(mute);
    }

    fn idle(&self) -> impl Iterator<Item = Claim> {
        let views = self.core.views().into_iter().filter(|view| view.state == State::Idle);
        views.map(|view| Claim { slot: view.slot, generation: view.generation })
    }
}
