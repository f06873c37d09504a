//! Keeping the display still when somebody else gets the screen.

use lamina_llb::BuildError;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// Asks the display to be still.
#[derive(Clone, Debug)]
pub(crate) struct Holder(mpsc::UnboundedSender<Hold>);

/// Somebody else has the screen. Afterwards the display only takes note of what it is told.
#[must_use = "the screen is given back when this is dropped"]
pub(crate) struct Held {
    _ended: oneshot::Sender<()>,
}

/// What the display is asked.
pub(super) struct Hold {
    /// To be reported before.
    pub(super) error: Option<BuildError>,
    /// Told once the screen is free.
    pub(super) still: oneshot::Sender<()>,
    /// Ends when the display has the screen again.
    pub(super) ended: oneshot::Receiver<()>,
}

/// Returns both ends.
pub(super) fn channel() -> (Holder, mpsc::UnboundedReceiver<Hold>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Holder(sender), receiver)
}

impl Holder {
    /// Waits until the display is still; it reports `error` before.
    pub(crate) async fn hold(&self, error: Option<BuildError>) -> Held {
        let (still, is_still) = oneshot::channel();
        let (ended, waits) = oneshot::channel();
        let hold = Hold {
            error,
            still,
            ended: waits,
        };
        if self.0.send(hold).is_ok() {
            // An error means that there is no display any more.
            drop(is_still.await);
        }
        Held { _ended: ended }
    }
}
