//! Tables of instructions and of what is wrong with them.

use super::*;
use crate::lint::Linter;
use crate::syntax;

fn parts(text: &str) -> Result<FileParts, String> {
    let file = syntax::parse(text).map_err(|error| error.to_string())?;
    stages(&file, &Linter::silent()).map_err(|error| error.to_string())
}

fn first_action(line: &str) -> Action {
    let parts = parts(&format!("FROM scratch\n{line}\n")).expect(line);
    parts.stages[0].instructions[0].action.clone()
}

macro_rules! refused {
    ($($name:ident: $line:expr => $message:expr;)*) => { $(
        #[test]
        fn $name() {
            let error = parts(&format!("FROM scratch\n{}\n", $line)).expect_err($line);
            assert_eq!(error, format!("dockerfile parse error on line 2: {}", $message));
        }
    )* };
}

refused! {
    unknown_instruction: "CPOY a b" => "unknown instruction: CPOY (did you mean COPY?)";
    unknown_flag: "COPY --form=x a b" => "unknown flag: --form (did you mean from?)";
    repeated_flag: "COPY --chown=1 --chown=2 a b" => "duplicate flag specified: --chown";
    flag_without_value: "COPY --chown a b" => "missing a value on flag: --chown";
    bad_switch: "COPY --link=maybe a b" => "expecting boolean value for flag --link, not: maybe";
    copy_without_destination: "COPY a" => "COPY requires at least two arguments, but only one was provided. Destination could not be determined";
    heredoc_destination: "COPY a <<EOF\nx\nEOF" => "COPY cannot accept a heredoc as a destination";
    env_without_arguments: "ENV" => "ENV requires at least one argument";
    env_without_name: "ENV =x" => "ENV names can not be blank";
    shell_of_words: "SHELL sh -c" => "SHELL requires the arguments to be in JSON form";
    nested_trigger: "ONBUILD ONBUILD RUN x" => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
    forbidden_trigger: "ONBUILD FROM x" => "FROM isn't allowed as an ONBUILD trigger";
    bad_network: "RUN --network=x y" => "invalid network mode \"x\"";
    bad_security: "RUN --security=x y" => "security \"x\" is not valid";
    variable_in_from: "RUN --mount=from=$x,target=/y z" => "'from' doesn't support variable expansion, define alias stage instead";
    bad_interval: "HEALTHCHECK --interval=abc CMD x" => "time: invalid duration \"abc\"";
    short_interval: "HEALTHCHECK --interval=1us CMD x" => "Interval \"interval\" cannot be less than 1ms";
    bad_stage_name: "FROM x AS 0" => "invalid name for build stage: \"0\", name can't start with a number or contain symbols";
}

/// None of their options reaches mount(2) as text (CVE-2024-9407, GHSA-fhqq-8f65-5xfc).
#[test]
fn mounts_are_read_after_expansion() {
    let mut expand = |word: &str| Ok(word.replace("$T", "cache"));
    for (text, expected) in [
        ("type=$T,target=/c,ro", Ok((MountKind::Cache, true))),
        ("type=cache,target=/c", Ok((MountKind::Cache, false))),
        ("target=/c", Ok((MountKind::Bind, true))),
        ("target=/c,rw", Ok((MountKind::Bind, false))),
        ("type=foo", Err("unsupported mount type \"foo\"")),
        (
            "type=bin",
            Err("unsupported mount type \"bin\" (did you mean bind?)"),
        ),
        (
            "target",
            Err("invalid field 'target' must be a key=value pair"),
        ),
        (
            "type=bind,size=1",
            Err("unexpected key 'size' for mount type 'bind'"),
        ),
        (
            "type=secret",
            Err("invalid secret mount. one of source, target required"),
        ),
        (
            "type=bind,uid=1,target=/c",
            Err("uid not allowed for \"bind\" type mounts"),
        ),
        (
            "type=bind,target=/c,bind-propagation=shared",
            Err("unexpected key 'bind-propagation' in 'bind-propagation=shared'"),
        ),
        (
            "tagret=/c",
            Err("unexpected key 'tagret' in 'tagret=/c' (did you mean target?)"),
        ),
    ] {
        let mount = Mount::parse(text, &mut expand);
        let result = mount.map(|mount| (mount.kind, mount.read_only));
        assert_eq!(
            result.map_err(|error| error.to_string()),
            expected.map_err(str::to_owned)
        );
    }
}

#[test]
fn sizes() {
    let mut expand = |word: &str| Ok(word.to_owned());
    for (text, bytes) in [
        ("1", 1),
        ("1k", 1024),
        ("1.5MiB", 1_572_864),
        ("2 g", 2_147_483_648),
    ] {
        let mount = Mount::parse(&format!("type=tmpfs,target=/t,size={text}"), &mut expand);
        assert_eq!(mount.expect(text).size_limit, bytes, "{text}");
    }
}

#[test]
fn forms_of_commands() {
    let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (line, list, shell) in [
        ("CMD a b", words(&["a b"]), true),
        ("CMD [\"a\", \"b\"]", words(&["a", "b"]), false),
        ("CMD", words(&[]), true),
    ] {
        let action = first_action(line);
        assert_eq!(
            action,
            Action::Cmd(CommandLine { words: list, shell }),
            "{line}"
        );
    }
}

#[test]
fn triggers_keep_their_text() {
    assert_eq!(
        first_action("ONBUILD  RUN a && b"),
        Action::Onbuild("RUN a && b".to_owned())
    );
    let heredoc = first_action("ONBUILD COPY <<EOF /x\ny\nEOF");
    assert_eq!(heredoc, Action::Onbuild("COPY <<EOF /x\ny\nEOF".to_owned()));
}
