//! What garbage collection keeps (rows CFG-07, CFG-08).

use lamina_engine::GcOptions;
use lamina_engine::GcPolicy;

use super::SettingsError;
use crate::config::Caps;
use crate::config::Policy;
use crate::config::Size;
use crate::config::Worker;
use crate::flags::WorkerFlags;

/// Decides on a disk of `disk` bytes. Without policies and sizes the engine has its own set.
pub(super) fn options(
    flags: &WorkerFlags,
    config: &Worker,
    disk: u64,
) -> Result<GcOptions, SettingsError> {
    let caps = match &flags.oci_worker_gc_keepstorage {
        Some(text) => keep_storage(text)?,
        None => config.caps,
    };
    let policies = if !config.policies.is_empty() {
        config
            .policies
            .iter()
            .map(|policy| convert(policy, disk))
            .collect()
    } else if caps == Caps::default() {
        Vec::new()
    } else {
        GcPolicy::usual_set(&capped(caps, disk))
    };
    Ok(GcOptions {
        enabled: flags.oci_worker_gc.or(config.gc).unwrap_or(true),
        policies,
    })
}

/// Reads `RESERVED[,FREE[,MAXIMUM]]` in megabytes.
fn keep_storage(text: &str) -> Result<Caps, SettingsError> {
    let bad = || SettingsError::Storage(text.to_owned());
    let sizes = text.split(',').map(|part| {
        let megabytes: u64 = part.parse().ok()?;
        megabytes.checked_mul(1_000_000).map(Size::Bytes)
    });
    let sizes: Vec<Size> = sizes.collect::<Option<_>>().ok_or_else(bad)?;
    let size = |index: usize| sizes.get(index).copied().unwrap_or_default();
    if sizes.len() > 3 {
        return Err(bad());
    }
    Ok(Caps {
        reserved_space: size(0),
        min_free_space: size(1),
        max_used_space: size(2),
    })
}

fn convert(policy: &Policy, disk: u64) -> GcPolicy {
    GcPolicy {
        all: policy.all,
        filters: policy.filters.clone(),
        keep_duration: policy.keep_duration,
        ..capped(policy.caps, disk)
    }
}

fn capped(caps: Caps, disk: u64) -> GcPolicy {
    GcPolicy {
        reserved_space: caps.reserved_space.bytes(disk),
        max_used_space: caps.max_used_space.bytes(disk),
        min_free_space: caps.min_free_space.bytes(disk),
        ..GcPolicy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_storage(text: &str) -> WorkerFlags {
        WorkerFlags {
            oci_worker_gc_keepstorage: Some(text.to_owned()),
            ..WorkerFlags::default()
        }
    }

    #[test]
    fn without_wishes_the_engine_chooses() {
        let options = options(&WorkerFlags::default(), &Worker::default(), 0).expect("valid");
        assert!(options.enabled);
        assert_eq!(options.policies, []);
    }

    #[test]
    fn storage_is_given_in_megabytes() {
        let options = options(&with_storage("10,20,30"), &Worker::default(), 0).expect("valid");
        let last = options.policies.last().expect("four policies");
        assert_eq!(options.policies.len(), 4);
        assert!(last.all);
        assert_eq!(last.reserved_space, 10_000_000);
        assert_eq!(last.min_free_space, 20_000_000);
        assert_eq!(last.max_used_space, 30_000_000);
        for text in ["", "x", "1,", "1,2,3,4", "-1", "99999999999999999"] {
            assert!(
                super::options(&with_storage(text), &Worker::default(), 0).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn policies_count_before_sizes() {
        let worker = Worker {
            gc: Some(false),
            policies: vec![Policy {
                caps: Caps {
                    max_used_space: Size::Percent(50),
                    ..Caps::default()
                },
                ..Policy::default()
            }],
            ..Worker::default()
        };
        let options = options(&with_storage("10"), &worker, 10 << 30).expect("valid");
        assert!(!options.enabled);
        assert_eq!(options.policies.len(), 1);
        assert_eq!(options.policies[0].max_used_space, 6_000_000_000);
    }
}
