//! Frontends that are programs (row FGW-07).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::FrontendProcess;
use lamina_llb::RunningProcess;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::graph::Ops;
use crate::harness::Outcome;
use crate::world;

/// Starts a program and checks what it says.
struct Starts(
    fn(RunningProcess) -> futures_util::future::BoxFuture<'static, ()>,
    &'static str,
);

#[async_trait]
impl Frontend for Starts {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        let root = bridge.solve(Ops::with_base().definition()).await?;
        let process = FrontendProcess {
            root: root.expect("not scratch"),
            args: ["/bin/sh", "-c", self.1].map(str::to_owned).into(),
            env: vec!["WHO=frontend".to_owned()],
            cwd: "/tmp".to_owned(),
            user: "app".to_owned(),
            no_network: true,
            files: [("/run/config/def.bin".to_owned(), b"given".to_vec())].into(),
        };
        (self.0)(bridge.spawn(process).await?).await;
        Ok(BuildResult::default())
    }
}

fn run(starts: Starts) -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        let result = build
            .run(Arc::new(starts), BTreeMap::new(), BTreeMap::new())
            .await;
        drop(result.expect("runs"));
    })
}

pub(crate) fn talk_and_fail() -> Outcome {
    let script = "busybox id -u; pwd; echo $WHO; busybox cat /run/config/def.bin; read line; echo \
                  \"got $line\"; echo 'a reason' >&2; exit 9";
    let check = |process: RunningProcess| -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(async move {
            let RunningProcess { mut pipe, exit } = process;
            pipe.writer
                .write_all(b"something\n")
                .await
                .expect("written");
            let mut said = String::new();
            pipe.reader.read_to_string(&mut said).await.expect("read");
            assert_eq!(said, "1234\n/tmp\nfrontend\ngivengot something\n");
            let error = exit.await.expect_err("fails");
            assert_eq!(error.exit_code, Some(9));
            assert!(
                error.message.ends_with(": exit code: 9: a reason"),
                "{error}"
            );
        })
    };
    run(Starts(check, script))
}

pub(crate) fn end_when_dropped() -> Outcome {
    let check = |process: RunningProcess| -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(async move {
            let RunningProcess { mut pipe, exit } = process;
            let mut line = [0; 3];
            pipe.reader.read_exact(&mut line).await.expect("it runs");
            drop(exit);
            // The end comes when no process has the pipe any more.
            let mut rest = Vec::new();
            pipe.reader.read_to_end(&mut rest).await.expect("ended");
        })
    };
    run(Starts(check, "echo up; busybox sleep 1000"))
}
