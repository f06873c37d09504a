//! `lamina build --debug-shell`: a shell where a step failed (rows ERR-03, BX-11).
//!
//! The error of a step names what its mounts are like now. A container with these mounts, and the
//! step's variables, directory, user, network and security, is the step as it was when its process
//! ended.

use lamina_client::ClientError;
use lamina_client::Failure;
use lamina_client::Gateway;
use lamina_proto::errdefs;
use lamina_proto::gateway;
use lamina_proto::pb;
use lamina_proto::pb::op::Op;

use crate::interactive;
use crate::progress::Holder;
use crate::report;
use crate::visible::visible;

/// Opens shells at steps that fail.
#[derive(Clone, Debug)]
pub(super) struct DebugShell {
    /// The program.
    pub(super) program: String,
}

/// A container in which a step can be looked at, and the process for that.
struct Place {
    container: gateway::NewContainerRequest,
    meta: pb::Meta,
    security: i32,
    secret_env: Vec<pb::SecretEnv>,
}

impl DebugShell {
    /// Opens a shell where a step failed, and returns when it has ended. What goes wrong with that is
    /// told, and the build's error remains the one of the step.
    pub(super) async fn open(&self, gateway: &Gateway, failure: &Failure, holder: &Holder) {
        let Some(place) = failure.solve().and_then(|left| Place::of(&left)) else {
            return;
        };
        let _held = holder
            .hold(Some(super::remote::build_error(failure.clone())))
            .await;
        report::text(&format!(
            "\nA shell where the step failed, on the files as it left them; nothing is kept.\n\
             The step ran: {}\n\n",
            visible(&place.meta.args.join(" "))
        ));
        if let Err(error) = self.run(gateway, place).await {
            report::text(&format!(
                "WARNING: no shell: {}; another program is opened by --debug-shell=PROGRAM\n",
                visible(&error.to_string())
            ));
        }
    }

    async fn run(&self, gateway: &Gateway, place: Place) -> Result<(), ClientError> {
        let container = gateway.new_container(place.container).await?;
        let init = gateway::InitMessage {
            meta: Some(pb::Meta {
                args: vec![self.program.clone()],
                ..place.meta
            }),
            tty: true,
            security: place.security,
            secretenv: place.secret_env,
            ..gateway::InitMessage::default()
        };
        let ran = interactive::run(&container, init).await;
        container.release().await?;
        ran.map(drop)
    }
}

impl Place {
    /// Finds out what a failed op saw; `None` if it has nothing to look at.
    fn of(left: &errdefs::Solve) -> Option<Self> {
        let op = left.op.as_ref()?;
        match op.op.as_ref()? {
            Op::Exec(exec) => Some(Self::of_exec(op, exec, left)),
            Op::File(_) => Self::of_file(left),
            _ => None,
        }
    }

    fn of_exec(op: &pb::Op, exec: &pb::ExecOp, left: &errdefs::Solve) -> Self {
        let meta = exec.meta.clone().unwrap_or_default();
        let mounts = exec.mounts.iter().enumerate().map(|(at, mount)| {
            let id = |ids: &[String]| ids.get(at).filter(|id| !id.is_empty()).cloned();
            let id = id(&left.mount_i_ds).or_else(|| id(&left.input_i_ds));
            pb::Mount {
                result_id: id.unwrap_or_default(),
                ..mount.clone()
            }
        });
        let container = gateway::NewContainerRequest {
            mounts: mounts.collect(),
            network: exec.network,
            platform: op.platform.clone(),
            extra_hosts: meta.extra_hosts.clone(),
            hostname: meta.hostname.clone(),
            ..gateway::NewContainerRequest::default()
        };
        Self {
            container,
            meta,
            security: exec.security,
            secret_env: exec.secretenv.clone(),
        }
    }

    /// Of a file operation there is the tree before the action that failed.
    fn of_file(left: &errdefs::Solve) -> Option<Self> {
        let failed = match left.subject.as_ref()? {
            errdefs::solve::Subject::File(action) => usize::try_from(action.index).ok()?,
            errdefs::solve::Subject::Cache(_) => return None,
        };
        let trees = left.mount_i_ds.get(failed).into_iter();
        let mut trees = trees.chain(&left.input_i_ds).filter(|id| !id.is_empty());
        let root = pb::Mount {
            dest: "/".to_owned(),
            result_id: trees.next()?.clone(),
            ..pb::Mount::default()
        };
        let description = left.description.get("llb.customname").cloned();
        Some(Self {
            container: gateway::NewContainerRequest {
                mounts: vec![root],
                ..gateway::NewContainerRequest::default()
            },
            meta: pb::Meta {
                args: description.into_iter().collect(),
                ..pb::Meta::default()
            },
            security: 0,
            secret_env: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mounts_are_those_that_the_step_left() {
        let mount = |dest: &str, kind: pb::MountType| pb::Mount {
            dest: dest.to_owned(),
            mount_type: kind.into(),
            ..pb::Mount::default()
        };
        let exec = pb::ExecOp {
            meta: Some(pb::Meta {
                user: "app".to_owned(),
                hostname: "h".to_owned(),
                ..pb::Meta::default()
            }),
            mounts: vec![
                mount("/", pb::MountType::Bind),
                mount("/in", pb::MountType::Bind),
                mount("/c", pb::MountType::Cache),
            ],
            network: 2,
            security: 1,
            ..pb::ExecOp::default()
        };
        let left = errdefs::Solve {
            input_i_ds: ["a", "b", ""].map(str::to_owned).into(),
            mount_i_ds: ["dirty", "", ""].map(str::to_owned).into(),
            op: Some(pb::Op {
                op: Some(Op::Exec(exec)),
                ..pb::Op::default()
            }),
            ..errdefs::Solve::default()
        };
        let place = Place::of(&left).expect("a step");
        let mounts = place.container.mounts.iter();
        let ids: Vec<_> = mounts.map(|mount| mount.result_id.as_str()).collect();
        assert_eq!(ids, ["dirty", "b", ""]);
        assert_eq!((place.container.network, place.security), (2, 1));
        assert_eq!(place.container.hostname, "h");
        assert_eq!(place.meta.user, "app");
    }

    #[test]
    fn other_failures_have_no_place() {
        assert!(Place::of(&errdefs::Solve::default()).is_none());
        let missing = errdefs::Solve {
            op: Some(pb::Op {
                op: Some(Op::File(pb::FileOp::default())),
                ..pb::Op::default()
            }),
            subject: Some(errdefs::solve::Subject::File(errdefs::FileAction {
                index: i64::MAX,
            })),
            ..errdefs::Solve::default()
        };
        assert!(Place::of(&missing).is_none());
    }
}
