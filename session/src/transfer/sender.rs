//! The half of a transfer that gives a directory.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use futures_util::StreamExt;
use lamina_proto::fsutil::Packet;
use lamina_proto::fsutil::packet::PacketType;
use tokio::sync::mpsc;

use super::DATA_BYTES;
use super::FileEntry;
use super::PacketStream;
use super::failure;
use super::packet;
use super::reason;
use super::wire;
use crate::SessionError;

/// The half that gives a directory.
///
/// Dropping it ends the transfer; the receiver then sees that the other side is gone.
pub struct FileSender {
    packets: PacketStream,
    sink: mpsc::Sender<Packet>,
    /// For each entry, whether it may be asked for: it has data and was not asked for before.
    offered: Vec<bool>,
    requests: VecDeque<u32>,
    /// The receiver has all that it wants.
    satisfied: bool,
}

impl FileSender {
    /// Sends over a stream and a sink.
    #[must_use]
    pub fn new(packets: PacketStream, sink: mpsc::Sender<Packet>) -> Self {
        Self {
            packets,
            sink,
            offered: Vec::new(),
            requests: VecDeque::new(),
            satisfied: false,
        }
    }

    /// Sends the next entry; they must come in the order that [`FileReceiver`] checks, and their
    /// names must be UTF-8. Requests for its data may come at once.
    ///
    /// # Errors
    /// If the receiver is gone or reports an error.
    ///
    /// [`FileReceiver`]: crate::FileReceiver
    pub async fn entry(&mut self, entry: &FileEntry) -> Result<(), SessionError> {
        let stat = wire::entry_to_wire(entry)?;
        self.offered.push(entry.has_data());
        self.send(Packet {
            stat: Some(stat),
            ..packet(PacketType::PacketStat)
        })
        .await
    }

    /// Says that there are no more entries.
    ///
    /// # Errors
    /// If the receiver is gone or reports an error.
    pub async fn entries_end(&mut self) -> Result<(), SessionError> {
        self.send(packet(PacketType::PacketStat)).await
    }

    /// Returns the number of the next entry that the receiver wants; `None` once it has all.
    ///
    /// # Errors
    /// If the receiver is gone, reports an error, or wants what it cannot have.
    pub async fn next_request(&mut self) -> Result<Option<u32>, SessionError> {
        loop {
            if let Some(id) = self.requests.pop_front() {
                return Ok(Some(id));
            }
            if self.satisfied {
                return Ok(None);
            }
            let packet = arrived(self.packets.next().await)?;
            self.understand(&packet)?;
        }
    }

    /// Returns the requests that came while something else was sent.
    pub(super) fn noted(&mut self) -> impl Iterator<Item = u32> {
        self.requests.drain(..)
    }

    /// Sends a piece of a file, in packets of at most [`DATA_BYTES`].
    ///
    /// # Errors
    /// If the receiver is gone or reports an error.
    pub async fn data(&mut self, id: u32, mut data: Bytes) -> Result<(), SessionError> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(DATA_BYTES));
            self.send_data(id, piece).await?;
        }
        Ok(())
    }

    /// Says that a file is complete.
    ///
    /// # Errors
    /// If the receiver is gone or reports an error.
    pub async fn file_end(&mut self, id: u32) -> Result<(), SessionError> {
        self.send_data(id, Bytes::new()).await
    }

    /// Agrees that everything was sent, and waits for the receiver to end its side.
    ///
    /// # Errors
    /// If the receiver is gone, or reports an error at last.
    pub async fn finish(mut self) -> Result<(), SessionError> {
        self.send(packet(PacketType::PacketFin)).await?;
        let Self {
            mut packets, sink, ..
        } = self;
        drop(sink);
        while let Some(packet) = packets.next().await {
            packet.map_err(SessionError::from_status)?;
        }
        Ok(())
    }

    /// Tells the receiver why there will be no more.
    pub async fn fail(mut self, reason: &str) {
        // A receiver that is gone needs not be told.
        drop(self.send(failure(reason)).await);
    }

    async fn send_data(&mut self, id: u32, data: Bytes) -> Result<(), SessionError> {
        let kind = packet(PacketType::PacketData);
        self.send(Packet { id, data, ..kind }).await
    }

    /// Waits for room, and takes requests meanwhile.
    async fn send(&mut self, packet: Packet) -> Result<(), SessionError> {
        loop {
            let arrived = tokio::select! {
                biased;
                packet = self.packets.next(), if !self.satisfied => arrived(packet)?,
                permit = self.sink.reserve() => match permit {
                    Ok(permit) => {
                        permit.send(packet);
                        return Ok(());
                    }
                    // What the receiver says last tells why there will be no more room.
                    Err(_) => arrived(self.packets.next().await)?,
                }
            };
            self.understand(&arrived)?;
        }
    }

    fn understand(&mut self, packet: &Packet) -> Result<(), SessionError> {
        match PacketType::try_from(packet.r#type) {
            Ok(PacketType::PacketReq) => self.note(packet.id),
            Ok(PacketType::PacketFin) => {
                self.satisfied = true;
                Ok(())
            }
            Ok(PacketType::PacketErr) => Err(SessionError::Remote {
                message: format!("error from receiver: {}", reason(packet)),
                gone: false,
            }),
            _ => Err(SessionError::Protocol(format!(
                "unexpected packet of type {}",
                packet.r#type
            ))),
        }
    }

    /// Each file can be asked for once, so the queue is no longer than the list of entries.
    fn note(&mut self, id: u32) -> Result<(), SessionError> {
        let place = usize::try_from(id).ok();
        match place.and_then(|place| self.offered.get_mut(place)) {
            Some(offered) if *offered => {
                *offered = false;
                self.requests.push_back(id);
                Ok(())
            }
            _ => Err(SessionError::Protocol(format!("invalid file id {id}"))),
        }
    }
}

fn gone() -> SessionError {
    SessionError::Remote {
        message: "the receiver of files is gone".to_owned(),
        gone: true,
    }
}

fn arrived(packet: Option<Result<Packet, tonic::Status>>) -> Result<Packet, SessionError> {
    packet.ok_or_else(gone)?.map_err(SessionError::from_status)
}

impl fmt::Debug for FileSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSender")
            .field("entries", &self.offered.len())
            .field("requests", &self.requests.len())
            .field("satisfied", &self.satisfied)
            .finish_non_exhaustive()
    }
}
