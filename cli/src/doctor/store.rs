//! `lamina doctor --check-store`: what has become of the layers.

use std::path::Path;

use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_snapshotter::StoreCheck;
use lamina_types::CancelToken;

use super::Finding;
use crate::report;

const WHAT: &str = "layers";

/// Damaged layers that are named; of more only the number is told.
const MAX_NAMED: usize = 20;

/// Looks at all layers of the state folder `root` and drops those that are damaged.
pub(super) async fn check(root: &Path, run_dir: &Path) -> Finding {
    const FIX: &str = "see the reason; what is in the way may be removed, it is built again";
    if !root.join("layers").is_dir() {
        return Finding::ok(WHAT, "there are none yet");
    }
    let mut options = EngineOptions::new(root, run_dir);
    let waited = root.to_owned();
    options.on_wait = Some(Box::new(move || {
        report::text(&format!("{}\n", lamina_daemon::waiting_for(&waited)));
    }));
    let engine = match Engine::open(options).await {
        Ok(engine) => engine,
        Err(error) => return Finding::failed(WHAT, error.to_string(), FIX),
    };
    let checked = engine.check_layers(&CancelToken::new()).await;
    engine.settle().await;
    match checked {
        Ok(checked) => judge(&checked),
        Err(error) => Finding::failed(WHAT, error.to_string(), FIX),
    }
}

fn judge(checked: &StoreCheck) -> Finding {
    let mut text = format!("{} as they were made", checked.sound);
    if checked.unknown > 0 {
        text = format!(
            "{text}, {} of an older version not checked",
            checked.unknown
        );
    }
    if checked.damaged.is_empty() {
        return Finding::ok(WHAT, text);
    }
    let named = checked.damaged.iter().take(MAX_NAMED).map(|layer| {
        let kept = if layer.dropped { "" } else { ", in use" };
        format!("{} ({}{kept})", layer.id, layer.reason)
    });
    let named: Vec<String> = named.collect();
    let count = checked.damaged.len();
    let more = if count > MAX_NAMED { ", .." } else { "" };
    text = format!(
        "{text}; {count} damaged and dropped: {}{more}",
        named.join(", ")
    );
    let fix = "none is needed, what is wanted of them is built again; if files change by themselves, \
               test the disk";
    Finding::missing(WHAT, text, fix)
}

#[cfg(test)]
mod tests {
    use lamina_snapshotter::DamagedLayer;
    use lamina_types::LayerId;

    use super::*;

    #[test]
    fn damaged_layers_are_named() {
        let mut checked = StoreCheck {
            sound: 3,
            ..StoreCheck::default()
        };
        assert_eq!(judge(&checked).text, "3 as they were made");
        checked.unknown = 1;
        checked.damaged.push(DamagedLayer {
            id: LayerId(26),
            description: String::new(),
            reason: "a file has changed".to_owned(),
            dropped: true,
        });
        assert_eq!(
            judge(&checked).text,
            "3 as they were made, 1 of an older version not checked; 1 damaged and dropped: \
             1a (a file has changed)"
        );
    }
}
