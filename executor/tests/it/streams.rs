//! Processes with pipes (row FGW-07).

use lamina_executor::ExitStatus;
use lamina_types::CancelToken;
use lamina_types::Progress;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::common::Log;
use crate::fixture;
use crate::status;

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_has_input_and_output() {
    let Some(world) = fixture() else { return };
    let log = Log::default();
    let progress = Progress::new(std::sync::Arc::new(log.clone()));
    let spec = world.shell("echo to-err >&2; tr a-z A-Z; exit 3");
    let spawned = world.executor.spawn(spec, &progress, &CancelToken::new());
    let (process, mut stdin, mut stdout) = spawned.expect("spawned");
    // More than a pipe holds, so both sides have to flow at once.
    let text = "some text\n".repeat(50_000);
    let said = text.clone().into_bytes();
    let write = tokio::spawn(async move { stdin.write_all(&said).await });
    let mut answer = String::new();
    stdout.read_to_string(&mut answer).await.expect("read");
    write.await.expect("no panic").expect("written");
    assert!(answer == text.to_uppercase(), "{} bytes", answer.len());
    assert_eq!(status(process.wait().await), ExitStatus::Code(3));
    assert_eq!(log.text(), (String::new(), "to-err\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_process_kills_it() {
    let Some(world) = fixture() else { return };
    let spec = world.shell("echo up; sleep 1000");
    let spawned = world
        .executor
        .spawn(spec, &Progress::default(), &CancelToken::new());
    let (process, stdin, mut stdout) = spawned.expect("spawned");
    let mut line = [0; 3];
    stdout.read_exact(&mut line).await.expect("it runs");
    drop(process);
    // The end comes only when all processes of the step are gone.
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).await.expect("ended");
    drop(stdin);
}
