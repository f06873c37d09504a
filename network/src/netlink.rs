//! Requests to the kernel's networking, each answered before the next (netlink).

use std::fmt::Debug;
use std::io;

use netlink_packet_core::DecodeError;
use netlink_packet_core::NLM_F_ACK;
use netlink_packet_core::NLM_F_REQUEST;
use netlink_packet_core::NetlinkBuffer;
use netlink_packet_core::NetlinkDeserializable;
use netlink_packet_core::NetlinkHeader;
use netlink_packet_core::NetlinkMessage;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_core::NetlinkSerializable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::protocols::NETLINK_ROUTE;

/// Group of those that want to know of new IPv4 routes (`RTNLGRP_IPV4_ROUTE`).
const ROUTE_CHANGES: u32 = 7;

/// A socket to the networking of the namespace in which it was opened, wherever it is used.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens one for links, addresses and routes.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    /// Opens one for packet filters.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(NETLINK_NETFILTER)
    }

    /// Opens one that is told of changes of routes.
    pub(crate) fn route_changes() -> io::Result<Self> {
        let netlink = Self::open(NETLINK_ROUTE)?;
        netlink.socket.add_membership(ROUTE_CHANGES)?;
        Ok(netlink)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends one request and returns what comes before its acknowledgement.
    pub(crate) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let flags = flags | NLM_F_REQUEST | NLM_F_ACK;
        let mut bytes = Vec::new();
        let sequence = self.append(&mut bytes, message, flags);
        self.socket.send(&bytes, 0)?;
        self.answers(sequence)
    }

    /// Sends messages that the kernel takes all or none of. `batch` adds the flags of each.
    pub(crate) fn transact<M: NetlinkSerializable + Debug>(
        &mut self,
        batch: impl IntoIterator<Item = (M, u16)>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut acknowledged = None;
        for (message, flags) in batch {
            let sequence = self.append(&mut bytes, message, flags | NLM_F_REQUEST);
            if flags & NLM_F_ACK != 0 {
                acknowledged = Some(sequence);
            }
        }
        self.socket.send(&bytes, 0)?;
        match acknowledged {
            Some(sequence) => self.answers::<Unread>(sequence).map(drop),
            None => Ok(()),
        }
    }

    /// Waits for anything to be told, at most `patience`.
    pub(crate) fn wait(&self, patience: std::time::Duration) -> io::Result<()> {
        let timeout = rustix::event::Timespec::try_from(patience).map_err(io::Error::other)?;
        let flags = rustix::event::PollFlags::IN;
        let mut polled = [rustix::event::PollFd::new(&self.socket, flags)];
        if rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&timeout)))? > 0 {
            self.socket.recv_from_full()?;
        }
        Ok(())
    }

    fn append<M: NetlinkSerializable>(&mut self, to: &mut Vec<u8>, message: M, flags: u16) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let start = to.len();
        to.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut to[start..]);
        self.sequence
    }

    /// Reads up to the acknowledgement of the request `sequence`, or the first refusal.
    fn answers<M: NetlinkDeserializable>(&self, sequence: u32) -> io::Result<Vec<M>> {
        let mut answers = Vec::new();
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let length = length(rest)?;
                let one = NetlinkMessage::<M>::deserialize(&rest[..length]);
                let one = one.map_err(io::Error::other)?;
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
                match one.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(io::Error::from_raw_os_error(-error.raw_code()));
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_)
                        if one.header.sequence_number == sequence =>
                    {
                        return Ok(answers);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Returns the length that the first message in `bytes` says it has, which is there.
fn length(bytes: &[u8]) -> io::Result<usize> {
    let buffer = NetlinkBuffer::new_checked(bytes).map_err(io::Error::other)?;
    usize::try_from(buffer.length()).map_err(io::Error::other)
}

/// An answer that says nothing but that it is one.
#[derive(Debug)]
struct Unread;

impl NetlinkDeserializable for Unread {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, _: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}
