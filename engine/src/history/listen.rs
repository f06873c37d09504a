//! Listening to the history (rows CTL-15 to CTL-20).

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream;
use lamina_proto::control::BuildHistoryEvent;
use lamina_proto::control::BuildHistoryEventType;
use lamina_proto::control::BuildHistoryRequest;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::History;
use super::HistoryError;
use super::event;
use super::filter::HistoryFilter;

/// Keeps the record of one build as long as somebody listens to it.
struct Hold {
    history: Arc<History>,
    id: String,
}

impl History {
    /// Returns what is and, unless the request wants no more than that, what comes. Blocks.
    pub(crate) fn listen(
        self: &Arc<Self>,
        request: &BuildHistoryRequest,
    ) -> Result<impl Stream<Item = BuildHistoryEvent> + Send + use<>, HistoryError> {
        let filter = HistoryFilter::parse(&request.filter, SystemTime::now())?;
        // Before looking at what is, so that nothing falls between.
        let receiver = self.events.subscribe();
        let hold = self.hold(&request.r#ref)?;
        let mut events = self.active(&request.r#ref);
        if !request.active_only {
            events.extend(self.finished(request, &filter)?);
        }
        let live = Live {
            receiver,
            id: request.r#ref.clone(),
            ended: request.early_exit,
            _hold: hold,
        };
        let live = stream::unfold(live, |mut live| async { Some((live.next().await?, live)) });
        Ok(stream::iter(events).chain(live))
    }

    fn active(&self, id: &str) -> Vec<BuildHistoryEvent> {
        let state = self.state();
        let wanted = state.active.values().filter(|record| is(&record.r#ref, id));
        wanted
            .map(|record| event(BuildHistoryEventType::Started, record.clone()))
            .collect()
    }

    fn finished(
        &self,
        request: &BuildHistoryRequest,
        filter: &HistoryFilter,
    ) -> Result<Vec<BuildHistoryEvent>, HistoryError> {
        let mut records = self.records.all()?;
        let state = self.state();
        records.retain(|record| {
            is(&record.r#ref, &request.r#ref) && !state.doomed.contains(&record.r#ref)
        });
        drop(state);
        let records = filter.select(records, request.limit)?;
        let complete = |record| event(BuildHistoryEventType::Complete, record);
        Ok(records.into_iter().map(complete).collect())
    }

    /// Holds the record of one build; an empty id means all, which holds none.
    fn hold(self: &Arc<Self>, id: &str) -> Result<Option<Hold>, HistoryError> {
        if id.is_empty() {
            return Ok(None);
        }
        let mut state = self.state();
        if state.doomed.contains(id) {
            return Err(HistoryError::Deleted(id.to_owned()));
        }
        *state.holds.entry(id.to_owned()).or_default() += 1;
        Ok(Some(Hold {
            history: Arc::clone(self),
            id: id.to_owned(),
        }))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.history.state();
        if let Some(count) = state.holds.get_mut(&self.id) {
            *count -= 1;
            if *count > 0 {
                return;
            }
            state.holds.remove(&self.id);
        }
        if state.doomed.contains(&self.id)
            && let Err(error) = self
                .history
                .remove(&mut state, std::slice::from_ref(&self.id))
        {
            tracing::warn!(%error, id = %self.id, "a build could not be removed from the history");
        }
    }
}

struct Live {
    receiver: Receiver<BuildHistoryEvent>,
    /// Which build; empty = all.
    id: String,
    ended: bool,
    _hold: Option<Hold>,
}

impl Live {
    async fn next(&mut self) -> Option<BuildHistoryEvent> {
        while !self.ended {
            match self.receiver.recv().await {
                Ok(event) => {
                    let record = event.record.as_ref();
                    if record.is_some_and(|record| is(&record.r#ref, &self.id)) {
                        return Some(event);
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a listener to the build history is too slow");
                    self.ended = true;
                }
                Err(RecvError::Closed) => self.ended = true,
            }
        }
        None
    }
}

fn is(id: &str, wanted: &str) -> bool {
    wanted.is_empty() || id == wanted
}
