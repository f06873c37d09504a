//! The requests behind the recorded errors: what each name adds to a request with a session.

use lamina_client::llb::State;
use lamina_proto::control::CacheOptionsEntry;
use lamina_proto::control::Exporter;
use lamina_proto::control::SolveRequest;
use lamina_proto::pb;
use lamina_proto::pb::file_action::Action;
use prost::Message as _;

use super::base_tree;

/// What a name means.
pub(super) type Change = fn(&mut SolveRequest);

/// An address at which nobody listens.
const NOBODY: &str = "127.0.0.1:1";

/// Requests that need no Dockerfile.
pub(super) const REQUESTS: &[(&str, Change)] = &[
    ("bad exporter attr", |request| {
        define(request, &file());
        export(request, "image", &[("compression", "lzw")]);
    }),
    ("copy of a missing file", |request| {
        define(request, &copy_of_missing());
    }),
    ("empty definition", |request| {
        request.definition = Some(pb::Definition::default());
    }),
    ("exec exits 7", |request| define(request, &shell("exit 7"))),
    ("exec host network without entitlement", |request| {
        let run = base_tree().run(SHELL).network(pb::NetMode::Host);
        define(request, &run.root());
    }),
    ("exec insecure without entitlement", |request| {
        let run = base_tree().run(SHELL).security(pb::SecurityMode::Insecure);
        define(request, &run.root());
    }),
    ("exec killed by signal 9", |request| {
        define(request, &shell("kill -9 $$"));
    }),
    ("exec missing binary", |request| {
        define(request, &base_tree().run(["/no/such"]).root());
    }),
    ("exec missing cwd is created", |request| {
        define(request, &base_tree().run(SHELL).cwd("/not/there").root());
    }),
    ("exec unknown user", |request| {
        define(request, &base_tree().run(SHELL).user("nobodyhere").root());
    }),
    ("garbage op", |request| {
        define(request, &file());
        // The key of a field with a type that there is not.
        definition(request).def[0] = vec![0x0f];
    }),
    ("gateway source unreachable", |request| {
        request.frontend = "gateway.v0".to_owned();
        option(request, "source", &format!("{NOBODY}/x"));
    }),
    ("gateway without source", |request| {
        request.frontend = "gateway.v0".to_owned();
    }),
    ("image exporter without name", |request| {
        define(request, &file());
        export(request, "image", &[]);
    }),
    ("input digest unknown", |request| {
        define(request, &file());
        let missing = "sha256:785956b713c5b1bdbd9fda1c04b0d41a5035cb229500afaad8712aedba020b62";
        let inputs = vec![pb::Input {
            digest: missing.to_owned(),
            index: 0,
        }];
        let terminal = pb::Op {
            inputs,
            ..pb::Op::default()
        };
        definition(request).def[1] = terminal.encode_to_vec();
    }),
    ("local exporter without session", |request| {
        define(request, &file());
        export(request, "local", &[]);
        request.session.clear();
    }),
    ("local without session", |request| {
        define(request, &base_tree());
        request.session.clear();
    }),
    ("mkdir under a file", |request| {
        define(request, &base_tree().mkdir("/etc/passwd/x", 0o755));
    }),
    ("one op only", |request| {
        define(request, &file());
        definition(request).def.pop();
    }),
    ("second action fails", |request| {
        define(request, &two_actions())
    }),
    ("secret without session", |request| {
        let run = State::scratch().run(SHELL).secret("/s", "id");
        define(request, &run.root());
        request.session.clear();
    }),
    ("ssh without session", |request| {
        let run = State::scratch().run(SHELL).ssh("/s", "default");
        define(request, &run.root());
        request.session.clear();
    }),
    ("unknown cache exporter", |request| {
        define(request, &file());
        request.cache.get_or_insert_default().exports = vec![cache("nope")];
    }),
    ("unknown cache importer", |request| {
        define(request, &file());
        request.cache.get_or_insert_default().imports = vec![cache("nope")];
    }),
    ("unknown entitlement", |request| {
        define(request, &file());
        request.entitlements = vec!["nope".to_owned()];
    }),
    ("unknown exporter", |request| {
        define(request, &file());
        export(request, "nope", &[]);
    }),
    ("unknown frontend", |request| {
        request.frontend = "nope.v9".to_owned()
    }),
    ("unknown http", |request| {
        define(
            request,
            &State::source(&format!("http://{NOBODY}/x"), &[], None),
        );
    }),
    ("unknown image", |request| {
        define(request, &State::image(&format!("{NOBODY}/none:latest")));
    }),
    ("unknown scheme", |request| {
        define(request, &State::source("weird://x", &[], None));
    }),
];

/// A name, the Dockerfile where the recording does not carry its own, and options.
type Dockerfile = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// Requests for Dockerfiles.
pub(super) const DOCKERFILES: &[Dockerfile] = &[
    ("dockerfile: bad flag", "", &[]),
    ("dockerfile: empty", "", &[]),
    (
        "dockerfile: failing run",
        "",
        &[("context:base", "local:base")],
    ),
    ("dockerfile: fine", "FROM scratch\nCOPY Dockerfile /\n", &[]),
    ("dockerfile: missing copy source", "", &[]),
    ("dockerfile: unknown instruction", "", &[]),
    ("dockerfile: unknown stage in copy", "", &[]),
    (
        "dockerfile: unknown subrequest",
        "FROM scratch\n",
        &[("requestid", "frontend.nope")],
    ),
    (
        "dockerfile: unknown target",
        "FROM scratch AS a\nCOPY Dockerfile /\n",
        &[("target", "b")],
    ),
];

const SHELL: [&str; 3] = ["/bin/sh", "-c", "true"];

fn define(request: &mut SolveRequest, state: &State) {
    request.definition = Some(state.definition());
}

fn definition(request: &mut SolveRequest) -> &mut pb::Definition {
    request.definition.as_mut().expect("defined before")
}

/// Sets an option of the frontend.
pub(super) fn option(request: &mut SolveRequest, key: &str, value: &str) {
    let attrs = &mut request.frontend_attrs;
    attrs.insert(key.to_owned(), value.to_owned());
}

/// Adds an exporter.
pub(super) fn export(request: &mut SolveRequest, kind: &str, attrs: &[(&str, &str)]) {
    let attrs = attrs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    request.exporters.push(Exporter {
        r#type: kind.to_owned(),
        attrs: attrs.collect(),
    });
}

fn cache(kind: &str) -> CacheOptionsEntry {
    CacheOptionsEntry {
        r#type: kind.to_owned(),
        ..CacheOptionsEntry::default()
    }
}

/// A tree that needs nothing.
pub(super) fn file() -> State {
    State::scratch().mkfile("/f", 0o644, "content")
}

fn shell(script: &str) -> State {
    base_tree().run(["/bin/sh", "-c", script]).root()
}

/// A tree that is written to as well is not looked at before the copy runs.
fn copy_of_missing() -> State {
    base_tree().copy(&base_tree(), "/nothere", "/there")
}

/// One op that makes a directory and then a file in a directory that is not there.
pub(super) fn two_actions() -> State {
    let actions = [
        Action::Mkdir(pb::FileActionMkDir {
            path: "/d".to_owned(),
            mode: 0o755,
            timestamp: -1,
            ..pb::FileActionMkDir::default()
        }),
        Action::Mkfile(pb::FileActionMkFile {
            path: "/no/parent".to_owned(),
            mode: 0o644,
            timestamp: -1,
            ..pb::FileActionMkFile::default()
        }),
    ];
    State::scratch().files(actions)
}
