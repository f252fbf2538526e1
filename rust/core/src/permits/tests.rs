use super::*;

struct Caller(char);

impl Waker for Caller {
    type Nudge = ();

    fn nudge(&self) -> Option<()> {
        None
    }
}

type Semaphore = Permits<Caller>;

fn permits(limit: u64, in_use: usize) -> Semaphore {
    let permits = Semaphore::new(Some(limit));
    for _ in 0..in_use {
        assert!(permits.try_acquire());
    }
    permits
}

fn join(permits: &Semaphore, callers: &str) -> Vec<Ticket> {
    let join = |caller| {
        let (ticket, served) = permits.join(Caller(caller));
        assert_eq!(names(served), "");
        ticket
    };
    callers.chars().map(join).collect()
}

fn names(served: Served<Caller>) -> String {
    served.waiters.into_iter().map(|caller| caller.0).collect()
}

#[test]
fn there_are_as_many_permits_as_the_limit_says() {
    let permits = permits(2, 2);

    assert!(!permits.try_acquire());

    assert_eq!(permits.in_use(), 2);
    assert!(permits.try_release());
    assert!(permits.try_acquire());
}

#[test]
fn without_a_limit_there_is_always_one_more() {
    let permits = Semaphore::new(None);

    assert!((0..1000).all(|_| permits.try_acquire()));
    assert_eq!(permits.in_use(), 1000);
}

#[test]
fn a_permit_goes_to_the_oldest_waiter_and_stays_in_use() {
    let permits = permits(1, 1);
    join(&permits, "ab");

    assert!(!permits.try_release());
    assert_eq!(names(permits.release()), "a");
    assert_eq!(names(permits.release()), "b");

    assert_eq!((permits.in_use(), permits.waiting()), (1, 0));
    assert!(permits.try_release());
}

#[test]
fn nobody_gets_ahead_of_those_who_wait() {
    let permits = permits(1, 1);
    join(&permits, "a");
    let served = permits.set_limit(Some(0));
    assert_eq!(names(served), "");
    assert_eq!(names(permits.release()), "");

    assert_eq!((permits.in_use(), permits.waiting()), (0, 1));
    assert!(!permits.try_acquire());
    assert_eq!(names(permits.set_limit(Some(2))), "a");
}

#[test]
fn who_joins_though_there_is_a_permit_is_served_at_once() {
    let permits = permits(2, 1);

    let (ticket, served) = permits.join(Caller('a'));

    assert_eq!(names(served), "a");
    assert!(permits.leave(ticket).is_none(), "it has a permit");
    assert_eq!(permits.in_use(), 2);
}

#[test]
fn whoever_leaves_is_passed_over() {
    let permits = permits(1, 1);
    let tickets = join(&permits, "abc");

    assert!(permits.leave(tickets[1]).is_some());
    assert!(permits.leave(tickets[1]).is_none());

    assert_eq!(permits.waiting(), 2);
    assert_eq!(names(permits.release()), "a");
    assert_eq!(names(permits.release()), "c");
}

#[test]
fn a_higher_limit_serves_as_many_as_it_lets_in() {
    let permits = permits(1, 1);
    join(&permits, "abcd");

    assert_eq!(names(permits.set_limit(Some(3))), "ab");
    assert_eq!(names(permits.set_limit(None)), "cd");
}

#[test]
fn after_a_lower_limit_permits_come_back_before_anybody_is_served() {
    let permits = permits(3, 3);
    join(&permits, "ab");

    assert_eq!(names(permits.set_limit(Some(1))), "");

    assert_eq!(names(permits.release()), "");
    assert_eq!(names(permits.release()), "");
    assert_eq!(permits.in_use(), 1);
    assert_eq!(names(permits.release()), "a");
}

#[test]
fn the_number_in_use_goes_where_it_is_set() {
    let permits = permits(2, 2);
    join(&permits, "abc");

    assert_eq!(names(permits.set_in_use(0)), "ab");
    assert_eq!(names(permits.set_in_use(5)), "");
    assert_eq!(permits.in_use(), 5);
    assert_eq!(names(permits.set_in_use(u64::MAX)), "");
    assert_eq!((permits.in_use(), permits.waiting()), (MAX_PERMITS, 1));
}

#[test]
fn what_nobody_holds_is_not_given_back() {
    let permits = permits(1, 0);

    assert!(permits.try_release());
    assert_eq!(names(permits.release()), "");

    assert_eq!(permits.in_use(), 0);
    permits.force();
    assert_eq!(permits.in_use(), 1);
}

#[test]
fn a_permit_that_is_forced_is_one_over_the_limit() {
    let permits = permits(1, 1);
    join(&permits, "a");

    permits.force();

    assert_eq!(permits.in_use(), 2);
    assert_eq!(names(permits.release()), "");
    assert_eq!(names(permits.release()), "a");
}

#[test]
fn each_release_is_reported_to_a_watcher() {
    let permits = permits(2, 2);
    permits.watch();
    permits.watch();

    assert!(!permits.try_release());
    assert!(permits.release().watched);
    permits.unwatch();
    assert!(permits.is_watched());
    permits.unwatch();

    assert!(!permits.is_watched());
    assert!(permits.try_release());
    assert_eq!(permits.in_use(), 0);
}

#[test]
fn what_happens_is_counted() {
    let permits = permits(1, 1);
    let tickets = join(&permits, "ab");
    assert!(permits.leave(tickets[0]).is_some());
    assert_eq!(names(permits.release()), "b");
    permits.refuse();

    let counters = [&permits.acquired, &permits.queued, &permits.gave_up, &permits.refused];

    assert_eq!(counters.map(Counter::get), [2, 2, 1, 1]);
}
