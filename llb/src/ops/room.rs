//! A full disk: making room and trying once more.
//!
//! Every op is wrapped. If it fails because the disk has no space left, or a process fails while that
//! is so, what nothing uses is removed and the op runs once more. If that does not help either, the error
//! says what is full, what is left and what is kept.

use std::sync::Arc;

use async_trait::async_trait;
use lamina_solver::CacheMap;
use lamina_solver::Op;
use lamina_solver::OpContext;
use lamina_solver::OpError;
use lamina_types::Digest;
use lamina_types::LogStream;
use lamina_types::Progress;
use lamina_types::is_disk_full;

use super::BuildContext;
use super::OpFailure;
use crate::Services;
use crate::Snapshot;

/// A process that fails while less than this is free probably failed for that.
const NOTHING_BYTES: u64 = 4 << 20;

/// Makes room where layers are kept.
#[async_trait]
pub trait MakeRoom: Send + Sync {
    /// Removes what nothing uses, at least as much as a step may need, if there is as much.
    async fn make_room(&self) -> Room;

    /// Makes room for what is tried once more after it, and says so in its log.
    async fn make_room_to_try_again(&self, progress: &Progress) -> Room {
        let room = self.make_room().await;
        let told = format!("{room}; trying once more\n");
        progress.log(LogStream::Stderr, told.as_bytes());
        room
    }
}

/// What the disk is like after making room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The folder on it.
    pub path: String,
    /// What was removed.
    pub removed_bytes: u64,
    /// What is free now.
    pub free_bytes: u64,
    /// What layers and cache directories take that are in use, or may not be removed.
    pub kept_bytes: u64,
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        write!(
            f,
            "the disk with {} is full: {} MiB free after removing {} MiB, {} MiB kept for what is in \
             use",
            self.path,
            mib(self.free_bytes),
            mib(self.removed_bytes),
            mib(self.kept_bytes)
        )
    }
}

/// An op that gets a second chance if the disk is full.
pub(super) struct WithRoom {
    pub(super) op: Arc<dyn Op<Snapshot, BuildContext>>,
    pub(super) services: Arc<Services>,
}

impl WithRoom {
    /// Makes room after `error`; gives it back if there is another reason for it.
    async fn make_room(
        &self,
        error: OpError,
        context: &OpContext<BuildContext>,
    ) -> Result<Room, OpError> {
        if context.cancel.is_cancelled() || !is_full(&error) {
            return Err(error);
        }
        // With it goes what is left of the op, which may be what takes the space.
        drop(error);
        let room = &self.services.room;
        Ok(room.make_room_to_try_again(&context.progress).await)
    }
}

fn is_full(error: &OpError) -> bool {
    let failure = error.downcast_ref::<OpFailure>();
    is_disk_full(&**error) || failure.is_some_and(OpFailure::is_on_full_disk)
}

/// Adds what is known of the disk, if the second attempt failed for it as well.
fn explain(error: OpError, room: Room) -> OpError {
    match is_full(&error) {
        true => OpFailure::NoRoom {
            source: error,
            room,
        }
        .shared(),
        false => error,
    }
}

/// Says whether what is left on the disk with the layers is not worth mentioning.
pub(super) fn is_nothing_left(services: &Services) -> bool {
    let disk = rustix::fs::statvfs(services.snapshots.path());
    disk.is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < NOTHING_BYTES)
}

#[async_trait]
impl Op<Snapshot, BuildContext> for WithRoom {
    async fn cache_map(&self, context: &OpContext<BuildContext>) -> Result<CacheMap, OpError> {
        let error = match self.op.cache_map(context).await {
            Err(error) => error,
            done => return done,
        };
        let room = self.make_room(error, context).await?;
        let again = self.op.cache_map(context).await;
        again.map_err(|error| explain(error, room))
    }

    async fn content_digest(
        &self,
        input: usize,
        value: &Snapshot,
        context: &OpContext<BuildContext>,
    ) -> Result<Digest, OpError> {
        self.op.content_digest(input, value, context).await
    }

    async fn exec(
        &self,
        inputs: Vec<Snapshot>,
        context: &OpContext<BuildContext>,
    ) -> Result<Vec<Snapshot>, OpError> {
        let error = match self.op.exec(inputs.clone(), context).await {
            Err(error) => error,
            done => return done,
        };
        let room = self.make_room(error, context).await?;
        let again = self.op.exec(inputs, context).await;
        again.map_err(|error| explain(error, room))
    }

    fn takes_slot(&self) -> bool {
        self.op.takes_slot()
    }

    fn is_recorded(&self) -> bool {
        self.op.is_recorded()
    }
}
