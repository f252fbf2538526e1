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
