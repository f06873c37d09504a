//! The half of a transfer that gets a directory.

use std::collections::BTreeSet;
use std::fmt;

use futures_util::StreamExt;
use lamina_proto::fsutil::Packet;
use lamina_proto::fsutil::Stat;
use lamina_proto::fsutil::packet::PacketType;
use tokio::sync::mpsc;

use super::PacketStream;
use super::Received;
use super::failure;
use super::order::PathOrder;
use super::packet;
use super::reason;
use super::wire;
use crate::SessionError;

/// How many files are asked for at a time: enough to keep the sender busy, and few enough for its
/// buffers. Each request is a message that a peer on the h2 crate counts against its budget of small
/// frames until it is read.
const OPEN_FILES: usize = 512;

/// The half that gets a directory. Refuses entries that escape, are out of order or repeat
/// (row SVC-05), and data that nobody asked for.
///
/// Dropping it ends the transfer; the sender then sees that the other side is gone.
pub struct FileReceiver {
    packets: PacketStream,
    sink: mpsc::Sender<Packet>,
    order: PathOrder,
    /// Number of the next entry; `None` = there are no more.
    next_id: Option<u32>,
    /// To be asked for as soon as there is room.
    unsent: BTreeSet<u32>,
    /// Asked for and not complete.
    open: BTreeSet<u32>,
    finished: bool,
}

impl FileReceiver {
    /// Receives over a stream and a sink.
    #[must_use]
    pub fn new(packets: PacketStream, sink: mpsc::Sender<Packet>) -> Self {
        Self {
            packets,
            sink,
            order: PathOrder::new(),
            next_id: Some(0),
            unsent: BTreeSet::new(),
            open: BTreeSet::new(),
            finished: false,
        }
    }

    /// Returns what the sender says next; `None` once it has finished. Sends what was requested
    /// meanwhile. May be dropped while it waits, and called again.
    ///
    /// # Errors
    /// If the sender reports one, goes away, or says what makes no sense.
    pub async fn next(&mut self) -> Result<Option<Received>, SessionError> {
        if self.finished {
            return Ok(None);
        }
        let packet = self.exchange().await?;
        self.understand(packet)
    }

    /// Asks for the data of an entry that came already. The request leaves with the next call of
    /// [`next`](Self::next), as soon as not too many files are under way; so this never waits.
    ///
    /// # Errors
    /// [`SessionError::Protocol`] if the entry did not come yet, or is under way already.
    pub async fn request(&mut self, id: u32) -> Result<(), SessionError> {
        let known = self.next_id.is_none_or(|next| id < next);
        if known && !self.open.contains(&id) && self.unsent.insert(id) {
            return Ok(());
        }
        Err(SessionError::Protocol(format!("invalid file request {id}")))
    }

    /// Says that everything is here, and waits for the sender to agree. Data that still comes is
    /// dropped.
    ///
    /// # Errors
    /// If the sender reports one or goes away before it agrees.
    pub async fn finish(mut self) -> Result<(), SessionError> {
        self.unsent.clear();
        self.open.clear();
        let mut told = false;
        while !self.finished {
            let packet = tokio::select! {
                permit = self.sink.reserve(), if !told => {
                    told = true;
                    // Where there is no room any more, what the sender says last tells why.
                    permit.into_iter().for_each(|room| room.send(packet(PacketType::PacketFin)));
                    continue;
                }
                packet = self.packets.next() => arrived(packet)?,
            };
            self.understand_late(packet)?;
        }
        // The sender has nothing more to say; its end of the stream follows at once.
        let Self {
            mut packets, sink, ..
        } = self;
        drop(sink);
        while let Some(Ok(_)) = packets.next().await {}
        Ok(())
    }

    /// Tells the sender why this side gives up.
    pub async fn fail(self, reason: &str) {
        // A sender that is gone needs not be told.
        drop(self.sink.send(failure(reason)).await);
    }

    /// Waits for a packet, and sends requests while there is room.
    async fn exchange(&mut self) -> Result<Packet, SessionError> {
        while let Some(id) = self.sendable() {
            tokio::select! {
                biased;
                permit = self.sink.reserve() => {
                    // Where there is no room any more, what the sender says last tells why.
                    let Ok(permit) = permit else { break };
                    permit.send(Packet {
                        id,
                        ..packet(PacketType::PacketReq)
                    });
                    self.unsent.remove(&id);
                    self.open.insert(id);
                }
                packet = self.packets.next() => return arrived(packet),
            }
        }
        arrived(self.packets.next().await)
    }

    /// The next request, if there are not too many under way.
    fn sendable(&self) -> Option<u32> {
        let next = self.unsent.first().copied();
        next.filter(|_| self.open.len() < OPEN_FILES)
    }

    fn understand(&mut self, packet: Packet) -> Result<Option<Received>, SessionError> {
        match PacketType::try_from(packet.r#type) {
            Ok(PacketType::PacketStat) => self.entry(packet.stat).map(Some),
            Ok(PacketType::PacketData) => self.data(packet).map(Some),
            Ok(PacketType::PacketFin) if self.open.is_empty() && self.unsent.is_empty() => {
                self.finished = true;
                Ok(None)
            }
            Ok(PacketType::PacketErr) => Err(SessionError::Remote {
                message: format!("error from sender: {}", reason(&packet)),
                gone: false,
            }),
            _ => Err(SessionError::Protocol(format!(
                "unexpected packet of type {}",
                packet.r#type
            ))),
        }
    }

    /// Of what comes after this side has finished, data is out of date.
    fn understand_late(&mut self, packet: Packet) -> Result<(), SessionError> {
        if packet.r#type != i32::from(PacketType::PacketData) {
            self.understand(packet)?;
        }
        Ok(())
    }

    fn entry(&mut self, stat: Option<Stat>) -> Result<Received, SessionError> {
        let too_many = || SessionError::Protocol("an entry after the last one".to_owned());
        let id = self.next_id.ok_or_else(too_many)?;
        let Some(stat) = stat else {
            self.next_id = None;
            return Ok(Received::EntriesEnd);
        };
        let entry = wire::entry_from_wire(stat)?;
        self.order.check(&entry)?;
        self.next_id = Some(id.checked_add(1).ok_or_else(too_many)?);
        Ok(Received::Entry(entry))
    }

    fn data(&mut self, packet: Packet) -> Result<Received, SessionError> {
        let Packet { id, data, .. } = packet;
        let asked = if data.is_empty() {
            self.open.remove(&id)
        } else {
            self.open.contains(&id)
        };
        if !asked {
            return Err(SessionError::Protocol(format!(
                "data of file {id}, which was not requested"
            )));
        }
        Ok(if data.is_empty() {
            Received::FileEnd { id }
        } else {
            Received::Data { id, data }
        })
    }
}

fn gone() -> SessionError {
    SessionError::Remote {
        message: "the sender of files is gone".to_owned(),
        gone: true,
    }
}

fn arrived(packet: Option<Result<Packet, tonic::Status>>) -> Result<Packet, SessionError> {
    packet.ok_or_else(gone)?.map_err(SessionError::from_status)
}

impl fmt::Debug for FileReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReceiver")
            .field("next_id", &self.next_id)
            .field("open", &self.open.len())
            .field("unsent", &self.unsent.len())
            .finish_non_exhaustive()
    }
}
