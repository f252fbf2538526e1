use super::*;
use State::{Checking, Closing, Connecting, Empty, Granted, Idle, InUse};

const STATES: [State; 7] = [Empty, Connecting, Idle, InUse, Granted, Checking, Closing];

/// A method that its caller's claim entitles to, the state that it leads from, and the one that it leads
/// to. It says whether it did.
type Edge = (&'static str, fn(&Slot<u8>, u64) -> bool, State, State);

const EDGES: [Edge; 12] = [
    ("T1 reserve", |slot, _| slot.reserve().is_some(), Empty, Connecting),
    ("T2 begin_fill", |slot, owner| slot.begin_fill(owner).is_some(), Connecting, Checking),
    ("T2 publish", |slot, owner| slot.publish(owner, Checking), Checking, Idle),
    ("T3 abandon", Slot::abandon, Connecting, Empty),
    ("T6 accept", Slot::accept, Granted, InUse),
    ("T7 publish", |slot, owner| slot.publish(owner, Granted), Granted, Idle),
    ("T10 begin_close", |slot, owner| close(slot, owner, InUse), InUse, Closing),
    ("T10 begin_close", |slot, owner| close(slot, owner, Granted), Granted, Closing),
    ("T12 begin_close", |slot, owner| close(slot, owner, Checking), Checking, Closing),
    ("T12 begin_close", |slot, owner| close(slot, owner, Connecting), Connecting, Closing),
    ("T14 finish_close", Slot::finish_close, Closing, Empty),
    ("T16 detach", |slot, owner| slot.detach(owner).is_some(), InUse, Empty),
];

/// Methods that lead on from the very word that their caller looked at.
type Claiming = fn(&Slot<u8>, Word) -> Option<u64>;
type GivingUp = fn(&Slot<u8>, Word) -> bool;

fn close(slot: &Slot<u8>, owner: u64, from: State) -> bool {
    slot.begin_close(owner, from).is_some()
}

fn idle() -> Slot<u8> {
    let slot = Slot::new();
    let opener = slot.reserve().unwrap();
    let filler = slot.begin_fill(opener).unwrap();
    // SAFETY: filled by nobody else.
    unsafe { slot.put(7, 70, -1) };
    assert!(slot.publish(filler, Checking));
    slot
}

fn in_state(state: State) -> Slot<u8> {
    let slot = if matches!(state, Empty | Connecting) { Slot::new() } else { idle() };
    let seen = slot.word();
    let claimed = match state {
        Empty | Idle => None,
        Connecting => slot.reserve(),
        InUse => slot.try_acquire(seen),
        Granted => slot.grant(seen),
        Checking => slot.begin_check(seen),
        Closing => slot.close_seen(seen).map(|(owner, _)| owner),
    };
    assert_eq!(claimed.is_some(), !matches!(state, Empty | Idle));
    assert_eq!(slot.word().state(), state);
    slot
}

#[test]
fn each_edge_leads_from_one_state_to_one_other() {
    for (name, edge, from, to) in EDGES {
        for state in STATES {
            let slot = in_state(state);
            let before = slot.word();

            let done = edge(&slot, before.generation());

            assert_eq!(done, state == from, "{name} from {state:?}");
            let expected = if done { to } else { state };
            assert_eq!(slot.word().state(), expected, "{name} from {state:?}");
            assert!(done || slot.word() == before, "{name} changed what it refused");
        }
    }
}

#[test]
fn no_edge_is_for_an_owner_of_before() {
    for (name, edge, from, _) in &EDGES[1..] {
        let slot = in_state(*from);
        let before = slot.word();

        assert!(!edge(&slot, before.generation() - 1), "{name}");

        assert_eq!(slot.word(), before);
    }
}

#[test]
fn each_claim_of_an_idle_connection_has_a_generation_of_its_own() {
    let closer = |slot: &Slot<u8>, seen| slot.close_seen(seen).map(|(owner, _)| owner);
    let claims: [Claiming; 4] = [Slot::try_acquire, Slot::grant, Slot::begin_check, closer];
    for claim in claims {
        let slot = idle();
        let seen = slot.word();

        assert_eq!(claim(&slot, seen), Some(seen.generation() + 1));

        assert_eq!(claim(&slot, seen), None, "from a word that is there no more");
        assert_eq!(slot.word().generation(), seen.generation() + 1);
    }
}

#[test]
fn a_release_and_a_reset_keep_the_generation_and_happen_once() {
    let edges: [(GivingUp, State); 2] = [(Slot::release, Idle), (Slot::begin_reset, Checking)];
    for (edge, to) in edges {
        let slot = in_state(InUse);
        let held = slot.word();

        assert!(edge(&slot, held));

        assert_eq!(slot.word().generation(), held.generation());
        assert_eq!(slot.word().state(), to);
        assert!(!edge(&slot, held));
    }
}

#[test]
fn only_an_owned_slot_is_flagged_and_only_once() {
    for state in STATES {
        let slot = in_state(state);
        let owned = !matches!(state, Empty | Idle | Closing);

        assert_eq!(slot.flag(Flag::Retire, None), owned, "{state:?}");

        assert!(!slot.flag(Flag::Retire, None));
        assert_eq!(slot.word().has(Flag::Retire), owned);
    }
}

#[test]
fn a_flag_is_for_the_owner_that_is_meant() {
    let slot = in_state(InUse);
    let owner = slot.word().generation();

    assert!(!slot.flag(Flag::LeakReported, Some(owner - 1)));
    assert!(slot.flag(Flag::LeakReported, Some(owner)));
}

#[test]
fn a_connection_that_is_to_retire_becomes_idle_in_no_way() {
    let held = in_state(InUse);
    let seen = held.word();
    assert!(held.flag(Flag::Retire, None));
    assert!(!held.release(seen), "the flag came in between");

    for from in [Checking, Granted] {
        let slot = in_state(from);
        assert!(slot.flag(Flag::Retire, None));
        assert!(!slot.publish(slot.word().generation(), from));
    }

    let opening = in_state(Connecting);
    assert!(opening.flag(Flag::Retire, None));
    assert_eq!(opening.begin_fill(opening.word().generation()), None);
}

#[test]
fn the_connection_is_found_until_it_is_taken_out() {
    let slot = idle();
    assert_eq!(slot.identity(), 70);

    let (closer, connection) = slot.close_seen(slot.word()).unwrap();

    assert_eq!(connection, Some(7));
    assert_eq!(slot.identity(), 0);
    // SAFETY: the slot is ours.
    assert_eq!(unsafe { slot.value() }, None);
    assert!(slot.finish_close(closer));
}

#[test]
fn who_keeps_its_connection_leaves_an_empty_place() {
    let slot = in_state(InUse);

    assert_eq!(slot.detach(slot.word().generation()), Some(7));

    assert!(slot.reserve().is_some());
}

#[test]
fn a_slot_has_its_cache_lines_for_itself() {
    assert_eq!(align_of::<Slot<u8>>(), 128);
}
