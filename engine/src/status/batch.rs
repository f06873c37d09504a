//! What happened within a moment, as messages.

use std::collections::HashMap;

use lamina_proto::control;
use prost::Message;
use prost_types::Timestamp;

/// Bytes that one message holds at most, unless a single item is larger (rows CSTA-12, NET-04).
const MESSAGE_BYTES: usize = 1 << 20;

/// Changes since the last message. Of a vertex or an action that changed several times only the
/// last state is kept, but a vertex that ran twice has both runs (row CSTA-05).
#[derive(Default)]
pub(super) struct Batch {
    vertexes: Vec<control::Vertex>,
    statuses: Vec<control::VertexStatus>,
    logs: Vec<control::VertexLog>,
    warnings: Vec<control::VertexWarning>,
    known_vertexes: HashMap<(String, Option<Moment>), usize>,
    known_statuses: HashMap<(String, String), usize>,
    log_bytes: usize,
}

/// Seconds and nanoseconds.
type Moment = (i64, i32);

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.vertexes.is_empty()
            && self.statuses.is_empty()
            && self.logs.is_empty()
            && self.warnings.is_empty()
    }

    /// Says whether the logs alone fill a message.
    pub(super) fn is_full(&self) -> bool {
        self.log_bytes >= MESSAGE_BYTES
    }

    pub(super) fn vertex(&mut self, vertex: control::Vertex) {
        let started = vertex.started.as_ref().map(moment);
        let key = (vertex.digest.clone(), started);
        put(&mut self.vertexes, &mut self.known_vertexes, key, vertex);
    }

    pub(super) fn status(&mut self, status: control::VertexStatus) {
        let key = (status.vertex.clone(), status.id.clone());
        put(&mut self.statuses, &mut self.known_statuses, key, status);
    }

    /// Takes a piece of output, cut so that each part fits into a message.
    pub(super) fn log(&mut self, log: control::VertexLog) {
        self.log_bytes += log.msg.len();
        if log.msg.len() <= MESSAGE_BYTES {
            self.logs.push(log);
            return;
        }
        let part = |data: &[u8]| control::VertexLog {
            msg: data.to_vec(),
            ..log.clone()
        };
        self.logs.extend(log.msg.chunks(MESSAGE_BYTES).map(part));
    }

    pub(super) fn warning(&mut self, warning: control::VertexWarning) {
        self.warnings.push(warning);
    }

    /// Empties the batch into messages, each in the order of row CSTA-08.
    pub(super) fn take(&mut self) -> Vec<control::StatusResponse> {
        let mut all = std::mem::take(self);
        all.vertexes
            .sort_by_key(|vertex| vertex.started.as_ref().map(moment));
        all.statuses
            .sort_by_key(|status| status.timestamp.as_ref().map(moment));
        all.logs
            .sort_by_key(|log| log.timestamp.as_ref().map(moment));
        let mut messages = Messages::default();
        for vertex in all.vertexes {
            messages.room_for(&vertex).vertexes.push(vertex);
        }
        for status in all.statuses {
            messages.room_for(&status).statuses.push(status);
        }
        for warning in all.warnings {
            messages.room_for(&warning).warnings.push(warning);
        }
        for log in all.logs {
            messages.room_for(&log).logs.push(log);
        }
        messages.done
    }
}

fn put<K: std::hash::Hash + Eq, T>(
    list: &mut Vec<T>,
    known: &mut HashMap<K, usize>,
    key: K,
    item: T,
) {
    match known.get(&key) {
        Some(&at) => list[at] = item,
        None => {
            known.insert(key, list.len());
            list.push(item);
        }
    }
}

fn moment(time: &Timestamp) -> Moment {
    (time.seconds, time.nanos)
}

/// Messages that are filled one after the other.
#[derive(Default)]
struct Messages {
    done: Vec<control::StatusResponse>,
    bytes: usize,
}

impl Messages {
    /// Returns a message that `item` still fits into.
    fn room_for(&mut self, item: &impl Message) -> &mut control::StatusResponse {
        let bytes = item.encoded_len();
        if self.done.is_empty() || self.bytes + bytes > MESSAGE_BYTES {
            self.done.push(control::StatusResponse::default());
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.done
            .last_mut()
            .expect("one was added if there was none")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn vertex(digest: &str, started: Option<i64>, completed: Option<i64>) -> control::Vertex {
        control::Vertex {
            digest: digest.to_owned(),
            started: started.and_then(time),
            completed: completed.and_then(time),
            ..control::Vertex::default()
        }
    }

    fn log(bytes: usize, seconds: i64) -> control::VertexLog {
        control::VertexLog {
            msg: vec![b'x'; bytes],
            timestamp: time(seconds),
            ..control::VertexLog::default()
        }
    }

    #[test]
    fn unstarted_come_first_and_each_run_is_kept() {
        let mut batch = Batch::default();
        batch.vertex(vertex("b", Some(2), None));
        batch.vertex(vertex("a", None, None));
        batch.vertex(vertex("b", Some(2), Some(3)));
        batch.vertex(vertex("b", Some(1), Some(1)));
        let [message] = &batch.take()[..] else {
            panic!("one message");
        };
        assert_eq!(
            message.vertexes,
            [
                vertex("a", None, None),
                vertex("b", Some(1), Some(1)),
                vertex("b", Some(2), Some(3)),
            ]
        );
        assert!(batch.is_empty());
    }

    #[test]
    fn the_last_state_of_an_action_counts() {
        let mut batch = Batch::default();
        for (id, current) in [("x", 1), ("y", 1), ("x", 2)] {
            batch.status(control::VertexStatus {
                id: id.to_owned(),
                current,
                ..control::VertexStatus::default()
            });
        }
        let messages = batch.take();
        let states = messages[0]
            .statuses
            .iter()
            .map(|s| (s.id.as_str(), s.current));
        assert_eq!(states.collect::<Vec<_>>(), [("x", 2), ("y", 1)]);
    }

    #[test]
    fn logs_are_cut_and_spread_over_messages() {
        let mut batch = Batch::default();
        batch.log(log(MESSAGE_BYTES * 2 + 1, 2));
        assert!(batch.is_full());
        batch.log(log(MESSAGE_BYTES / 2, 1));
        let messages = batch.take();
        let sizes: Vec<usize> = messages.iter().map(Message::encoded_len).collect();
        assert!(
            sizes.iter().all(|size| *size < 2 * MESSAGE_BYTES),
            "{sizes:?}"
        );
        let bytes: usize = messages
            .iter()
            .flat_map(|m| &m.logs)
            .map(|l| l.msg.len())
            .sum();
        assert_eq!(bytes, MESSAGE_BYTES * 5 / 2 + 1);
        assert_eq!(messages[0].logs[0].timestamp, time(1), "sorted by time");
    }
}
