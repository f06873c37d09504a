//! Sequenced-packet sockets that carry short messages and descriptors.

use std::io;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::net::AddressFamily;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

/// Descriptors in one message; the kernel takes 253 at most.
pub(crate) const DESCRIPTORS_PER_MESSAGE: usize = 128;

/// Bytes of the longest message.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// Makes a connected pair. Closed on exec, blocking.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message. Text longer than a message is cut.
pub(crate) fn send(
    socket: impl AsFd,
    message: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let message = &message[..message.len().min(MAX_MESSAGE_BYTES)];
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parts = [IoSlice::new(message)];
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&socket, &parts, &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Sends any number of descriptors, in as many messages of one byte as it takes.
pub(crate) fn send_descriptors(socket: impl AsFd, all: &[BorrowedFd<'_>]) -> io::Result<()> {
    all.chunks(DESCRIPTORS_PER_MESSAGE)
        .try_for_each(|some| send(&socket, b"d", some))
}

/// Receives one message, or `None` at the end. The descriptors are closed on exec.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut message = vec![0; MAX_MESSAGE_BYTES];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut message)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut descriptors = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = item {
            descriptors.extend(some);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    message.truncate(received.bytes);
    Ok(Some((message, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_descriptors_arrive_in_order() {
        let (ours, theirs) = pair().expect("a pair");
        let files: Vec<OwnedFd> = (0..300)
            .map(|_| rustix::fs::memfd_create(c"x", rustix::fs::MemfdFlags::CLOEXEC).expect("file"))
            .collect();
        for (index, file) in files.iter().enumerate() {
            rustix::fs::ftruncate(file, index as u64).expect("resized");
        }
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        send_descriptors(&ours, &borrowed).expect("sent");
        drop(ours);
        let mut sizes = Vec::new();
        while let Some((_, some)) = receive(&theirs).expect("received") {
            sizes.extend(
                some.iter()
                    .map(|fd| rustix::fs::fstat(fd).expect("stat").st_size),
            );
        }
        assert_eq!(sizes, (0..300).collect::<Vec<i64>>());
    }
}
