//! Feeling the pulse of a socket: did the other side hang up, or say something that nobody asked for?

use std::ffi::c_short;

use millpond_core::Pulse;

/// What speaks of a connection that is over.
#[cfg(any(target_os = "linux", target_os = "android"))]
const HUNG_UP: c_short = libc::POLLHUP | libc::POLLERR | libc::POLLNVAL | libc::POLLRDHUP;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const HUNG_UP: c_short = libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;

/// Looks at a socket, which takes a fifth of a microsecond and never blocks, so the thread stays attached.
#[cfg(unix)]
pub(crate) fn pulse(socket: i32) -> Pulse {
    let mut look = libc::pollfd { fd: socket, events: libc::POLLIN | HUNG_UP, revents: 0 };
    // SAFETY: `look` is one valid entry. Any number is a valid descriptor to ask about: one that is not
    // open is answered with POLLNVAL.
    match unsafe { libc::poll(&raw mut look, 1, 0) } {
        0 => Pulse::Alive,
        // It was interrupted, or the kernel is short of memory.
        error if error < 0 => Pulse::Doubtful,
        _ if look.revents & HUNG_UP != 0 => Pulse::Dead,
        _ => readable(socket),
    }
}

/// What it means that there is something to read.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn readable(_: i32) -> Pulse {
    // The end of the stream was told apart by POLLRDHUP.
    Pulse::Doubtful
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn readable(socket: i32) -> Pulse {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: one byte of room, which is what it is told.
    match unsafe { libc::recv(socket, (&raw mut byte).cast(), 1, flags) } {
        0 => Pulse::Dead,
        _ => Pulse::Doubtful,
    }
}

/// Without `poll` nothing is known, and nothing speaks against the connection.
#[cfg(not(unix))]
pub(crate) fn pulse(_: i32) -> Pulse {
    Pulse::Alive
}
