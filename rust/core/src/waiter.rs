//! The callers that wait, in the order in which they asked.
//!
//! A doubly linked list threaded through a slab, so that giving up takes as long as joining, wherever
//! in the line. Everything here happens under the queue's mutex and is a few loads and stores; who is
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

/// A waiter's place in the queue, good until it is served or gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(Key);

#[derive(Debug)]
struct Node<W> {
    waker: W,
    joined_at: u64,
    nudged: bool,
    next: Option<Key>,
    previous: Option<Key>,
}

#[derive(Debug)]
pub(crate) struct WaitQueue<W> {
    nodes: Slab<Node<W>>,
    head: Option<Key>,
    tail: Option<Key>,
    /// Tick at which the present head became the head.
    head_since: u64,
}

impl<W: Waker> WaitQueue<W> {
    pub(crate) fn new() -> Self {
        Self { nodes: Slab::new(), head: None, tail: None, head_since: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    pub(crate) fn is_head(&self, ticket: Ticket) -> bool {
        self.head == Some(ticket.0)
    }

    /// How long the head has been the head.
    pub(crate) fn head_age(&self, now: u64) -> u64 {
        now.saturating_sub(self.head_since)
    }

    pub(crate) fn push(&mut self, waker: W, now: u64) -> Ticket {
        let previous = self.tail;
        let node = Node { waker, joined_at: now, nudged: false, next: None, previous };
        let key = self.nodes.insert(node);
        match previous {
            Some(tail) => self.link(tail).next = Some(key),
            None => {
                self.head = Some(key);
                self.head_since = now;
            }
        }
        self.tail = Some(key);
        Ticket(key)
    }

    /// Takes the oldest waiter off the queue.
    pub(crate) fn pop(&mut self, now: u64) -> Option<W> {
        let head = self.head?;
        self.remove(Ticket(head), now)
    }

    /// Takes a waiter off the queue; `None` when somebody else already did.
    pub(crate) fn remove(&mut self, ticket: Ticket, now: u64) -> Option<W> {
        let node = self.nodes.remove(ticket.0)?;
        match node.previous {
            Some(previous) => self.link(previous).next = node.next,
            None => {
                self.head = node.next;
                self.head_since = now;
            }
        }
        match node.next {
            Some(next) => self.link(next).previous = node.previous,
            None => self.tail = node.previous,
        }
        Some(node.waker)
    }

    /// A nudge for the head, unless one is still on its way.
    pub(crate) fn nudge_head(&mut self) -> Option<Nudged<W>> {
        let head = self.head?;
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

    /// The ticks at which the waiters joined, oldest first.
    pub(crate) fn joined(&self) -> Vec<u64> {
        let next = |key: &Key| self.nodes.get(*key).and_then(|node| node.next);
        std::iter::successors(self.head, next)
            .filter_map(|key| self.nodes.get(key).map(|node| node.joined_at))
            .collect()
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
        let tickets = (10..).zip(callers.chars()).map(|(now, name)| queue.push(Caller(name), now));
        let tickets = tickets.collect();
        (queue, tickets)
    }

    fn rest(mut queue: WaitQueue<Caller>) -> String {
        std::iter::from_fn(|| queue.pop(0)).map(|caller| caller.0).collect()
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

        queue.push(Caller('c'), 30);

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
}
