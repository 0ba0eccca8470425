//! What parent and child tell each other over `ipc-channel`, and how a child is found.
//!
//! ```text
//! parent                                             child
//! one-shot server at a name in a temporary directory
//! exec, with the name in the environment      ->     init() takes it out of the environment
//!                                             <-     Greeting::Hello: its build, and two channels
//! looks at the build; removes the name
//! Start: what to run, and its arguments       ->     runs it
//!                                             <-     Report: the value, or why there is none
//! the channel's end                           ->     its parent is gone
//! ```
//!
//! What `ipc-channel` does not do is done around it. The accepted connection itself carries the greeting alone: `ipc-channel` accepts it without
//! close-on-exec, so another child could inherit it. What comes after goes over two channels that
//! the child made, and that arrive close-on-exec. On those all messages go in pieces that fit into one packet:
//! a sender that cuts up a large message by itself holds both ends of a channel for it, and so waits for
//! ever when the receiver dies; and a signal in the middle loses the message.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::time::Duration;

use ipc_channel::ipc::{IpcReceiver, IpcSender};
use ipc_channel::{IpcError, TryRecvError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::message;

use super::OrphanPolicy;

/// The variable that tells a child what it is: see [`Marker`].
pub(super) const MARKER: &str = "STEADFAST_CHILD";

/// Changes whenever a message here does.
pub(super) const PROTOCOL: u32 = 1;

/// How long the reader of a channel sleeps before it asks for itself whether the other process lives.
///
/// The end of a channel says so at once, but for one case: a copy of the other process that a bare
/// `fork` made keeps the channel open.
pub(super) const BACKSTOP: Duration = Duration::from_secs(1);

/// How many bytes go in one packet: well below what a socket's buffer takes, 212 992 unless set otherwise.
const PIECE: usize = 64 << 10;

/// What the variable holds: `protocol:parent's pid:token:name of the server`.
pub(super) struct Marker<'a> {
    pub(super) parent: u32,
    /// What the child shows, so that nobody else is taken for it who finds the server.
    pub(super) token: u64,
    pub(super) server: &'a str,
}

impl Marker<'_> {
    pub(super) fn to_text(&self) -> String {
        format!("{PROTOCOL}:{}:{}:{}", self.parent, self.token, self.server)
    }

    /// `None` for one of another protocol, which must be answered as well as can be: with an end.
    pub(super) fn parse(text: &OsStr) -> Option<Marker<'_>> {
        let mut fields = text.to_str()?.splitn(4, ':');
        let protocol: u32 = fields.next()?.parse().ok()?;
        let parent = fields.next()?.parse().ok()?;
        let token = fields.next()?.parse().ok()?;
        let server = fields.next()?;
        (protocol == PROTOCOL).then_some(Marker { parent, token, server })
    }
}

/// A child's first message.
#[derive(Serialize, Deserialize)]
pub(super) enum Greeting {
    /// From a child.
    Hello {
        token: u64,
        build: Build,
        /// Where the child waits for what it is to do.
        start: IpcSender<Piece>,
        /// What became of it.
        report: IpcReceiver<Piece>,
    },
    /// From the parent to itself, so that it does not wait for a child that has died.
    Abort,
}

/// What both ends must agree about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Build {
    /// The version of this library.
    pub(super) version: String,
    /// A hash of all registered functions with their types.
    pub(super) table: u64,
    /// How many there are, for people.
    pub(super) functions: u32,
}

impl std::fmt::Display for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} functions, table {:016x}, steadfast {}",
            self.functions, self.table, self.version
        )
    }
}

/// A part of a [`Start`] or a [`Report`].
#[derive(Serialize, Deserialize)]
pub(super) struct Piece {
    /// It goes on with the next piece.
    more: bool,
    bytes: Bytes,
}

/// Sends a message; waits for the receiver to make room, and no longer than it lives.
pub(super) fn send<T: Serialize>(channel: &IpcSender<Piece>, message: &T) -> Result<(), String> {
    let mut bytes = Vec::new();
    message::encode(message, &mut bytes)?;
    let mut rest = &bytes[..];
    loop {
        let (piece, after) = rest.split_at(rest.len().min(PIECE));
        let more = !after.is_empty();
        match channel.send(Piece { more, bytes: Bytes(piece.to_vec()) }) {
            Ok(()) if more => rest = after,
            Ok(()) => return Ok(()),
            // Of one packet all is sent or nothing.
            Err(IpcError::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Where messages of one kind come in.
pub(super) struct Inbox<T> {
    channel: IpcReceiver<Piece>,
    /// The message that comes in.
    bytes: Vec<u8>,
    kind: PhantomData<T>,
}

pub(super) enum Received<T> {
    Message(T),
    /// A part of one.
    Part,
    /// Nothing within the time.
    Nothing,
    /// Nothing more will come.
    End,
}

impl<T: DeserializeOwned> Inbox<T> {
    pub(super) fn new(channel: IpcReceiver<Piece>) -> Inbox<T> {
        Inbox { channel, bytes: Vec::new(), kind: PhantomData }
    }

    /// Waits for the next piece, for so long.
    pub(super) fn receive(&mut self, wait: Duration) -> Received<T> {
        match self.channel.try_recv_timeout(wait) {
            Ok(piece) => {
                self.bytes.extend_from_slice(&piece.bytes.0);
                if piece.more {
                    return Received::Part;
                }
                let bytes = std::mem::take(&mut self.bytes);
                message::decode(&bytes).map_or(Received::End, Received::Message)
            }
            Err(TryRecvError::Empty) => Received::Nothing,
            Err(TryRecvError::IpcError(IpcError::Io(error)))
                if error.kind() == ErrorKind::Interrupted =>
            {
                Received::Part
            }
            Err(_) => Received::End,
        }
    }
}

/// What a child is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    /// The registered name of the function.
    pub(super) function: String,
    pub(super) name: String,
    /// The numbers in "Process-1:2": of the child, and of its ancestors before it.
    pub(super) identity: String,
    pub(super) daemon: bool,
    pub(super) orphan_policy: OrphanPolicy,
    pub(super) parent_name: String,
    pub(super) arguments: Bytes,
}

/// What became of a function.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// It returned this.
    Value(Bytes),
    /// It panicked.
    Panicked { message: String, location: Option<String> },
    /// Its arguments could not be read.
    Arguments(String),
    /// It returned something that cannot be written.
    Unwritable(String),
}

/// Bytes that are written in one piece, which a `Vec<u8>` is not.
#[derive(Debug)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_comes_back_and_a_foreign_one_is_refused() {
        let text = Marker { parent: 7, token: 9, server: "/tmp/a:b/socket" }.to_text();
        let marker = Marker::parse(OsStr::new(&text)).expect("our own");
        assert_eq!((marker.parent, marker.token, marker.server), (7, 9, "/tmp/a:b/socket"));
        for text in ["", "1", "1:7", "1:7:9", "0:7:9:/x", "2:7:9:/x", "x:7:9:/x", "1:-7:9:/x"] {
            assert!(Marker::parse(OsStr::new(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn bytes_come_back() {
        let mut written = Vec::new();
        let bytes: Vec<u8> = (0..=255).collect();
        crate::message::encode(&Bytes(bytes.clone()), &mut written).expect("written");
        assert_eq!(written.len(), 258, "one length, and the bytes as they are");
        assert_eq!(crate::message::decode::<Bytes>(&written).expect("read").0, bytes);
    }
}
