//! Small files that stand for much: each is refused with a number, or takes no longer than another.

use std::fmt::Write as _;
use std::sync::Arc;

use lamina_frontend::DockerfileFrontend;
use lamina_llb::Frontend;

use crate::bridge::RecordingBridge;

const TOO_MUCH: &str = "the Dockerfile makes more than 268435456 bytes of steps and variables";

async fn message(file: &str) -> String {
    let bridge = Arc::new(RecordingBridge::of(file, &[("context:base", "local:base")]));
    let built = DockerfileFrontend.build(bridge as _).await;
    built.err().map(|error| error.message).unwrap_or_default()
}

/// Returns `line` `count` times, its `#` standing for the number.
fn repeated(count: usize, line: &str) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let line = line.replace('#', &number.to_string());
        writeln!(text, "{line}").expect("memory");
        text
    })
}

/// A variable that is put into itself, and one that is put in again and again.
#[tokio::test]
async fn variables_do_not_grow_without_end() {
    let doubled = format!(
        "FROM base\nENV A=0123456789\n{}",
        repeated(30, "ENV A=$A$A")
    );
    let refused = message(&doubled).await;
    assert!(
        refused.ends_with("the text becomes longer than 16777216 bytes"),
        "{refused}"
    );

    let mebibyte = format!(
        "FROM base\nENV A=0123456789abcdef\n{}",
        repeated(16, "ENV A=$A$A")
    );
    let many = format!("{mebibyte}{}", repeated(1_000, "RUN x"));
    assert_eq!(message(&many).await, TOO_MUCH);

    let global = format!(
        "ARG A=0123456789abcdef\n{}{}FROM base\n",
        repeated(16, "ARG A=$A$A"),
        repeated(1_000, "ARG B#=$A")
    );
    assert_eq!(message(&global).await, TOO_MUCH);
}

#[tokio::test]
async fn histories_do_not_grow_without_end() {
    let base = format!("FROM scratch AS s0\n{}", repeated(20_000, "LABEL a=b"));
    let stages = (1..200).fold(base, |file, number| {
        format!("{file}FROM s{} AS s{number}\n", number - 1)
    });
    assert_eq!(message(&stages).await, TOO_MUCH);
}

#[tokio::test]
async fn instructions_are_counted() {
    let file = format!("FROM base\n{}", repeated(100_000, "ENV A=b"));
    assert!(
        message(&file)
            .await
            .ends_with("more than 100000 instructions")
    );
}

/// A chain of stages of which each takes from the next is walked without recursion.
#[tokio::test]
async fn long_chains_of_stages_are_walked() {
    let mut file = String::new();
    for number in 0..20_000 {
        let next = number + 1;
        writeln!(file, "FROM scratch AS s{number}\nCOPY --from=s{next} a b").expect("memory");
    }
    let refused = message(&format!(
        "{file}FROM scratch AS s20000\nCOPY --from=s0 a b\n"
    ))
    .await;
    assert_eq!(refused, "circular dependency detected on stage: s0");
}

/// The time for a file of many variables, arguments, stages or dependencies goes with their number;
/// with its square these would take minutes.
#[tokio::test]
async fn long_files_take_no_longer_than_they_are() {
    let fan = repeated(10_000, "FROM scratch AS s#") + "FROM scratch\n";
    for file in [
        fan + &repeated(10_000, "COPY --from=s# a b"),
        "FROM base\n".to_owned() + &repeated(50_000, "ARG A#"),
        "FROM base\n".to_owned() + &repeated(20_000, "LABEL a=$b#"),
        repeated(40_000, "ARG A#=$A") + "FROM base\n",
        repeated(40_000, "ARG A=$A$B#") + &repeated(10_000, "FROM scratch AS s#"),
    ] {
        assert_eq!(message(&file).await, "", "{file:.40}");
    }
}
