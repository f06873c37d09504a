use clap::CommandFactory as _;
use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    args: DaemonArgs,
}

fn parse(line: &str) -> Result<DaemonArgs, clap::Error> {
    let words = std::iter::once("buildkitd").chain(line.split_whitespace());
    Program::try_parse_from(words).map(|program| program.args)
}

#[test]
fn the_flags_are_consistent() {
    Program::command().debug_assert();
}

/// The command line that test harnesses of clients use, with both ways of giving a value.
#[test]
fn a_harness_starts_it() {
    for line in [
        "--oci-worker=true --containerd-worker=false --oci-worker-gc=false --oci-worker-labels=K=V \
         --oci-worker-snapshotter=S --config=F --root DIR --addr unix://SOCK --debug",
        "--oci-worker true --containerd-worker false --oci-worker-gc=false --oci-worker-labels K=V \
         --oci-worker-snapshotter S --config F --root=DIR --addr=unix://SOCK --debug=true",
    ] {
        let args = parse(line).expect(line);
        assert_eq!(args.main.config, Some("F".into()));
        assert_eq!(args.main.root, Some("DIR".into()));
        assert_eq!(args.main.addr, ["unix://SOCK"]);
        assert_eq!(args.main.debug, Some(true));
        assert_eq!(args.worker.oci_worker_gc, Some(false));
        assert_eq!(args.worker.oci_worker_labels, ["K=V"]);
        assert_eq!(args.worker.oci_worker_snapshotter.as_deref(), Some("S"));
        assert_eq!(args.ignored, Ignored::default());
    }
}

#[test]
fn lists_are_repeated_and_not_cut_at_commas() {
    let args = parse("--addr a --addr=b,c --oci-worker-labels k=1,2 --oci-worker-labels l=3");
    let args = args.expect("valid");
    assert_eq!(args.main.addr, ["a", "b,c"]);
    assert_eq!(args.worker.oci_worker_labels, ["k=1,2", "l=3"]);
}

#[test]
fn switches_take_the_words_that_go_knows() {
    for (line, value) in [
        ("--debug", true),
        ("--debug=1", true),
        ("--debug=T", true),
        ("--debug=FALSE", false),
        ("--debug=f", false),
    ] {
        assert_eq!(parse(line).expect(line).main.debug, Some(value), "{line}");
    }
    assert!(parse("--debug=yes").is_err());
}

#[test]
fn flags_without_effect_are_named_once() {
    let args = parse(
        "--containerd-worker=true --otel-socket-path /x --debugaddr=a --debugaddr=b \
         --oci-worker-no-process-sandbox --rootless --oci-worker=auto",
    );
    assert_eq!(
        args.expect("valid").ignored.0,
        [
            "--debugaddr=a",
            "--debugaddr=b",
            "--otel-socket-path=/x",
            "--oci-worker-no-process-sandbox=true",
            "--containerd-worker=true",
        ]
    );
}

#[test]
fn unknown_flags_are_errors() {
    for line in [
        "--no-such-flag",
        "--oci-worker-gcc=true",
        "--rootless=perhaps",
        "word",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
