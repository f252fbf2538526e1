//! The callers that wait, in the order in which they asked.
//!
//! Two lines, for two priorities: the urgent one goes first, but of those in the other line one is
//! served after every `URGENT_IN_A_ROW` of it, so that nobody starves. Each is a doubly linked list
//! threaded through a slab, so that giving up takes as long as joining, wherever in the line. Everything here happens under the queue's mutex and is a few loads and stores; who is
//! taken off the list is woken after the mutex is released, by whoever took it.

use crate::slab::{Key, Slab};

/// How a waiting caller is reached.
///
/// Taking a waiter off the queue is the decision; waking it is only the message. So the engine hands
/// the waker out, and the binding wakes it with no lock held.
pub trait Waker {
    /// What wakes the caller for another try while it keeps its place.
    type Nudge: std::fmt::Debug;

    /// A nudge, or `None` for a caller that can only be served directly.
    fn nudge(&self) -> Option<Self::Nudge>;
}

/// How many urgent callers are served in a row while others wait.
const URGENT_IN_A_ROW: u32 = 4;

/// How much of the pace is made by the last interval: an eighth, as TCP smooths its round trips.
const PACE_SHIFT: u32 = 3;

/// How a caller queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Before those who are not urgent.
    High,
    /// In turn.
    #[default]
    Normal,
}

/// A waiter's place in the queue, good until it is served or gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(Key);

#[derive(Debug)]
struct Node<W> {
    waker: W,
    joined_at: u64,
    priority: Priority,
    nudged: bool,
    next: Option<Key>,
    previous: Option<Key>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    head: Option<Key>,
    tail: Option<Key>,
}

#[derive(Debug)]
pub(crate) struct WaitQueue<W> {
    nodes: Slab<Node<W>>,
    urgent: Line,
    others: Line,
    /// Urgent callers served since one of the others was.
    in_a_row: u32,
    /// Tick at which the present head became the head.
    head_since: u64,
    /// When somebody was last served while another waited, to measure the pace.
    served_at: Option<u64>,
    /// Ticks between one served and the next, smoothed, times `1 << PACE_SHIFT`. 0 is: not known.
    pace: u64,
}

impl<W: Waker> WaitQueue<W> {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Slab::new(),
            urgent: Line::default(),
            others: Line::default(),
            in_a_row: 0,
            head_since: 0,
            served_at: None,
            pace: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.len() == 0
    }

    pub(crate) fn is_head(&self, ticket: Ticket) -> bool {
        self.head() == Some(ticket.0)
    }

    /// How long the head has been the head.
    pub(crate) fn head_age(&self, now: u64) -> u64 {
        now.saturating_sub(self.head_since)
    }

    /// Ticks that a caller who joins now will wait, by the pace of those before it; 0 when nothing is
    /// known about that.
    pub(crate) fn expected_wait(&self, priority: Priority) -> u64 {
        let before = match priority {
            Priority::Normal => self.nodes.len(),
            Priority::High => self.urgent(),
        };
        (self.pace * (before as u64 + 1)) >> PACE_SHIFT
    }

    pub(crate) fn push(&mut self, waker: W, priority: Priority, now: u64) -> Ticket {
        if self.is_empty() {
            // What came before was no queue, and says nothing about the pace.
            self.served_at = Some(now);
        }
        let head = self.head();
        let previous = self.line(priority).tail;
        let node = Node { waker, joined_at: now, priority, nudged: false, next: None, previous };
        let key = self.nodes.insert(node);
        match previous {
            Some(tail) => self.link(tail).next = Some(key),
            None => self.line(priority).head = Some(key),
        }
        self.line(priority).tail = Some(key);
        self.note_head(head, now);
        Ticket(key)
    }

    /// Puts a caller before all others, whatever line that is in.
    pub(crate) fn push_front(&mut self, waker: W, now: u64) -> Ticket {
        let head = self.head();
        let priority = head.map_or(Priority::Normal, |head| self.link(head).priority);
        let next = self.line(priority).head;
        let node = Node { waker, joined_at: now, priority, nudged: false, next, previous: None };
        let key = self.nodes.insert(node);
        match next {
            Some(next) => self.link(next).previous = Some(key),
            None => self.line(priority).tail = Some(key),
        }
        self.line(priority).head = Some(key);
        self.note_head(head, now);
        Ticket(key)
    }

    /// Takes the waiter off the queue whose turn it is.
    pub(crate) fn pop(&mut self, now: u64) -> Option<(W, Priority)> {
        let head = self.head()?;
        let others_wait = self.others.head.is_some();
        let priority = self.link(head).priority;
        match priority {
            Priority::High if others_wait => self.in_a_row += 1,
            _ => self.in_a_row = 0,
        }
        self.note_served(now);
        self.remove(Ticket(head), now).map(|waker| (waker, priority))
    }

    /// Takes a waiter off the queue; `None` when somebody else already did.
    pub(crate) fn remove(&mut self, ticket: Ticket, now: u64) -> Option<W> {
        let head = self.head();
        let node = self.nodes.remove(ticket.0)?;
        match node.previous {
            Some(previous) => self.link(previous).next = node.next,
            None => self.line(node.priority).head = node.next,
        }
        match node.next {
            Some(next) => self.link(next).previous = node.previous,
            None => self.line(node.priority).tail = node.previous,
        }
        self.note_head(head, now);
        Some(node.waker)
    }

    /// A nudge for the head, unless one is still on its way.
    pub(crate) fn nudge_head(&mut self) -> Option<Nudged<W>> {
        let head = self.head()?;
        let node = self.link(head);
        if node.nudged {
            return Some(Nudged::Already);
        }
        let nudge = node.waker.nudge()?;
        node.nudged = true;
        Some(Nudged::Now(nudge))
    }

    /// Notes that a nudged waiter runs, so that it can be nudged again.
    pub(crate) fn arrived(&mut self, ticket: Ticket) {
        if let Some(node) = self.nodes.get_mut(ticket.0) {
            node.nudged = false;
        }
    }

    /// How many of the waiters are urgent.
    pub(crate) fn urgent(&self) -> usize {
        self.keys(self.urgent).count()
    }

    /// The ticks at which the waiters joined, oldest first.
    pub(crate) fn joined(&self) -> Vec<u64> {
        let waiting = self.keys(self.urgent).chain(self.keys(self.others));
        let mut joined: Vec<_> =
            waiting.filter_map(|key| self.nodes.get(key).map(|node| node.joined_at)).collect();
        joined.sort_unstable();
        joined
    }

    /// Whose turn it is.
    fn head(&self) -> Option<Key> {
        match (self.urgent.head, self.others.head) {
            (Some(_), Some(other)) if self.in_a_row >= URGENT_IN_A_ROW => Some(other),
            (urgent, other) => urgent.or(other),
        }
    }

    fn note_head(&mut self, before: Option<Key>, now: u64) {
        if self.head() != before {
            self.head_since = now;
        }
    }

    fn note_served(&mut self, now: u64) {
        let last = self.served_at.replace(now).unwrap_or(now);
        let interval = now.saturating_sub(last);
        self.pace = match self.pace {
            0 => interval << PACE_SHIFT,
            pace => pace - (pace >> PACE_SHIFT) + interval,
        };
    }

    fn keys(&self, line: Line) -> impl Iterator<Item = Key> + '_ {
        let next = |key: &Key| self.nodes.get(*key).and_then(|node| node.next);
        std::iter::successors(line.head, next)
    }

    fn line(&mut self, priority: Priority) -> &mut Line {
        match priority {
            Priority::High => &mut self.urgent,
            Priority::Normal => &mut self.others,
        }
    }

    fn link(&mut self, key: Key) -> &mut Node<W> {
        match self.nodes.get_mut(key) {
            Some(node) => node,
            None => unreachable!("a link leads to a waiter that is in the queue"),
        }
    }
}

/// What `nudge_head` did; `None` beside it stands for a head that can't be nudged.
pub(crate) enum Nudged<W: Waker> {
    Already,
    Now(W::Nudge),
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Caller(char);

    impl Waker for Caller {
        type Nudge = char;

        fn nudge(&self) -> Option<char> {
            self.0.is_lowercase().then_some(self.0)
        }
    }

    fn queue(callers: &str) -> (WaitQueue<Caller>, Vec<Ticket>) {
        let mut queue = WaitQueue::new();
        let tickets = (10..)
            .zip(callers.chars())
            .map(|(now, name)| queue.push(Caller(name), Priority::Normal, now));
        let tickets = tickets.collect();
        (queue, tickets)
    }

    fn rest(mut queue: WaitQueue<Caller>) -> String {
        std::iter::from_fn(|| queue.pop(0)).map(|(caller, _)| caller.0).collect()
    }

    #[test]
    fn callers_leave_the_queue_in_the_order_in_which_they_came() {
        let (queue, _) = queue("abcd");

        assert_eq!(queue.joined(), [10, 11, 12, 13]);
        assert_eq!(rest(queue), "abcd");
    }

    #[test]
    fn whoever_gives_up_leaves_the_others_in_their_order() {
        for (leaving, staying) in [(0, "bcd"), (1, "acd"), (2, "abd"), (3, "abc")] {
            let (mut queue, tickets) = queue("abcd");

            assert!(queue.remove(tickets[leaving], 20).is_some());

            assert!(queue.remove(tickets[leaving], 20).is_none());
            assert_eq!(queue.len(), 3);
            assert_eq!(rest(queue), staying);
        }
    }

    #[test]
    fn who_comes_after_everybody_left_is_served() {
        let (mut queue, tickets) = queue("ab");
        for ticket in tickets {
            queue.remove(ticket, 20);
        }
        assert!(queue.is_empty());

        queue.push(Caller('c'), Priority::Normal, 30);

        assert_eq!(rest(queue), "c");
    }

    #[test]
    fn the_head_is_as_old_as_its_time_at_the_head() {
        let (mut queue, tickets) = queue("ab");
        assert_eq!(queue.head_age(15), 5);

        queue.pop(17);

        assert!(queue.is_head(tickets[1]));
        assert_eq!(queue.head_age(18), 1);
    }

    #[test]
    fn a_nudge_is_on_its_way_once_until_it_arrives() {
        let (mut queue, tickets) = queue("ab");

        assert!(matches!(queue.nudge_head(), Some(Nudged::Now('a'))));
        assert!(matches!(queue.nudge_head(), Some(Nudged::Already)));

        queue.arrived(tickets[0]);
        assert!(matches!(queue.nudge_head(), Some(Nudged::Now('a'))));
    }

    #[test]
    fn a_caller_that_cannot_try_again_is_not_nudged() {
        let (mut queue, _) = queue("A");

        assert!(queue.nudge_head().is_none());
        assert!(queue.nudge_head().is_none());
    }

    #[test]
    fn urgent_callers_go_first_in_their_own_order() {
        let (mut queue, _) = queue("ab");
        for urgent in ['x', 'y'] {
            queue.push(Caller(urgent), Priority::High, 20);
        }

        assert_eq!(queue.joined(), [10, 11, 20, 20]);
        assert_eq!(queue.urgent(), 2);
        assert_eq!(rest(queue), "xyab");
    }

    #[test]
    fn one_of_the_others_is_served_after_four_urgent_callers() {
        let (mut queue, _) = queue("ab");
        for urgent in "rstuvwxyz".chars() {
            queue.push(Caller(urgent), Priority::High, 20);
        }

        assert_eq!(rest(queue), "rstuavwxybz");
    }

    #[test]
    fn an_urgent_caller_is_the_head_from_when_it_joins() {
        let (mut queue, tickets) = queue("a");

        let urgent = queue.push(Caller('x'), Priority::High, 15);

        assert!(queue.is_head(urgent));
        assert_eq!(queue.head_age(18), 3);
        queue.remove(urgent, 20);
        assert!(queue.is_head(tickets[0]));
        assert_eq!(queue.head_age(21), 1);
    }

    #[test]
    fn who_has_to_ask_again_goes_first_whatever_line_that_is() {
        let (mut queue, tickets) = queue("ab");
        let again = queue.push_front(Caller('z'), 20);
        assert!(queue.is_head(again));
        queue.push(Caller('x'), Priority::High, 20);
        queue.push_front(Caller('y'), 20);
        queue.remove(tickets[0], 20);

        assert_eq!(rest(queue), "yxzb");
    }

    #[test]
    fn the_wait_of_the_next_caller_follows_from_the_pace() {
        let (mut queue, _) = queue("abcdef");
        assert_eq!(queue.expected_wait(Priority::Normal), 0);
        for now in [20, 30, 40] {
            queue.pop(now);
        }

        assert_eq!(queue.expected_wait(Priority::Normal), 40);
        assert_eq!(queue.expected_wait(Priority::High), 10);
    }

    #[test]
    fn the_time_without_a_queue_does_not_slow_the_pace() {
        let (mut queue, _) = queue("ab");
        queue.pop(20);
        queue.pop(30);

        queue.push(Caller('c'), Priority::Normal, 1000);
        queue.pop(1010);

        assert_eq!(queue.expected_wait(Priority::Normal), 10);
    }
}
