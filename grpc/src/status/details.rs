//! Typed details: what of a [`BuildError`] goes into which, and back.

use std::collections::BTreeMap;

use lamina_llb::BuildError;
use lamina_llb::FrontendName;
use lamina_llb::SolveFailure;
use lamina_llb::SolveSubject;
use lamina_llb::SourceExcerpt;
use lamina_proto::errdefs;
use lamina_proto::gateway;
use lamina_proto::pb;
use prost::Message;
use prost_types::Any;

use super::FailureIds;
use super::json;
use super::json::Dialect;

/// What type URLs begin and end with (row NET-10).
const PREFIX: &str = "github.com/moby/buildkit/";
const SUFFIX: &str = "+json";

/// Details of one error that are looked into; real errors have a handful. The others stay as they
/// are.
const MAX_READ: usize = 100;

/// The exit code that stands for one that cannot be told.
const UNKNOWN_EXIT: u32 = 255;

/// A kind of detail: its name in type URLs, and the message behind it.
struct Kind {
    name: &'static str,
    message: &'static str,
}

const VERTEX: Kind = Kind::named_alike("errdefs.Vertex");
const SOURCE: Kind = Kind::named_alike("errdefs.Source");
const FRONTEND: Kind = Kind::named_alike("errdefs.Frontend");
const FRONTEND_CAP: Kind = Kind::named_alike("errdefs.FrontendCap");
const SUBREQUEST: Kind = Kind::named_alike("errdefs.Subrequest");
const SOLVE: Kind = Kind::named_alike("errdefs.Solve");
const EXIT: Kind = Kind {
    name: "gatewayapi.ExitMessage",
    message: "moby.buildkit.v1.frontend.ExitMessage",
};

impl Kind {
    /// A kind whose message has the name of its type URL.
    const fn named_alike(name: &'static str) -> Self {
        Self {
            name,
            message: name,
        }
    }

    fn url(&self) -> String {
        format!("{PREFIX}{}{SUFFIX}", self.name)
    }

    fn write(&self, message: &impl Message, dialect: Dialect) -> Option<Any> {
        Some(Any {
            type_url: self.url(),
            value: json::write(self.message, message, dialect)?,
        })
    }

    fn read<M: Message + Default>(&self, value: &[u8]) -> Option<M> {
        json::read(self.message, value)
    }
}

/// Returns the details of an error, outermost first (row NET-12).
pub(super) fn encode(error: &BuildError, solve: Vec<Any>) -> Vec<Any> {
    let mut said = BuildError::default();
    for (url, value) in error.foreign.iter().take(MAX_READ) {
        read_detail(url, value, &mut said);
    }
    let mut details = solve;
    details.extend(frontend_details(error, &said));
    let new = |excerpt: &&SourceExcerpt| !said.sources.contains(excerpt);
    let sources = error.sources.iter().filter(new);
    details.extend(sources.filter_map(source));
    details.extend(process_details(error, &said));
    let foreign = error.foreign.iter().map(|(url, value)| Any {
        type_url: url.clone(),
        value: value.clone(),
    });
    details.extend(foreign);
    details
}

/// Rows ERR-07, ERR-08 and ERR-10.
fn frontend_details(error: &BuildError, said: &BuildError) -> impl Iterator<Item = Any> {
    let frontend = error.frontend.as_ref().filter(|_| said.frontend.is_none());
    let frontend = frontend.and_then(|frontend| {
        let message = errdefs::Frontend {
            name: frontend.name.clone(),
            source: frontend.source.clone(),
        };
        FRONTEND.write(&message, Dialect::Plain)
    });
    let cap = error.frontend_cap.clone();
    let cap = cap.filter(|_| said.frontend_cap.is_none());
    let cap =
        cap.and_then(|name| FRONTEND_CAP.write(&errdefs::FrontendCap { name }, Dialect::Plain));
    let request = error.subrequest.clone();
    let request = request.filter(|_| said.subrequest.is_none());
    let request =
        request.and_then(|name| SUBREQUEST.write(&errdefs::Subrequest { name }, Dialect::Plain));
    [frontend, cap, request].into_iter().flatten()
}

/// Rows ERR-01 and ERR-06.
fn process_details(error: &BuildError, said: &BuildError) -> impl Iterator<Item = Any> {
    let vertex = error.vertex.filter(|_| said.vertex.is_none());
    let vertex = vertex.and_then(|digest| {
        let digest = digest.to_string();
        VERTEX.write(&errdefs::Vertex { digest }, Dialect::Plain)
    });
    let exit = error.exit_code.filter(|_| said.exit_code.is_none());
    let exit = exit.and_then(|code| {
        let message = gateway::ExitMessage {
            code: u32::try_from(code).unwrap_or(UNKNOWN_EXIT),
            error: None,
        };
        EXIT.write(&message, Dialect::Plain)
    });
    [vertex, exit].into_iter().flatten()
}

fn source(excerpt: &SourceExcerpt) -> Option<Any> {
    let message = errdefs::Source {
        info: Some(excerpt.info.clone()),
        ranges: excerpt.ranges.clone(),
    };
    SOURCE.write(&message, Dialect::Plain)
}

/// Returns the details that let a client look at what is left of an op (rows ERR-03 to ERR-05).
///
/// Clients read this kind strictly, so those from before ops had descriptions drop a detail that
/// has one, and buildx then opens no shell. They find the same without it before; of both, clients
/// that read both take the last (row NET-12).
pub(super) fn solve(failure: &SolveFailure, ids: FailureIds) -> Vec<Any> {
    let full = errdefs::Solve {
        input_i_ds: ids.inputs,
        mount_i_ds: ids.mounts,
        op: pb::Op::decode(failure.op.as_slice()).ok(),
        subject: subject(failure.subject),
        description: failure.description.clone(),
    };
    let older = (!full.description.is_empty()).then(|| errdefs::Solve {
        description: BTreeMap::new(),
        ..full.clone()
    });
    let messages = older.iter().chain([&full]);
    messages
        .filter_map(|message| SOLVE.write(message, Dialect::Proto3))
        .collect()
}

fn subject(subject: SolveSubject) -> Option<errdefs::solve::Subject> {
    match subject {
        SolveSubject::Op => None,
        SolveSubject::FileAction(index) => {
            Some(errdefs::solve::Subject::File(errdefs::FileAction { index }))
        }
        SolveSubject::Content(index) => {
            let cache = errdefs::ContentCache { index };
            Some(errdefs::solve::Subject::Cache(cache))
        }
    }
}

/// Keeps `details` in `error`, and reads out of them what means something here.
///
/// A receiver wraps in the order of the list, so of several of a kind the last that can be read is
/// the outermost and counts (row NET-12); of sources all do.
pub(super) fn decode(details: Vec<Any>, error: &mut BuildError) {
    for (index, Any { type_url, value }) in details.into_iter().enumerate() {
        if index < MAX_READ {
            read_detail(&type_url, &value, error);
        }
        error.foreign.push((type_url, value));
    }
}

fn read_detail(url: &str, value: &[u8], error: &mut BuildError) {
    let name = url.strip_prefix(PREFIX);
    let Some(name) = name.and_then(|name| name.strip_suffix(SUFFIX)) else {
        return;
    };
    if name == VERTEX.name {
        let vertex = VERTEX.read::<errdefs::Vertex>(value);
        let digest = vertex.and_then(|vertex| vertex.digest.parse().ok());
        error.vertex = digest.or(error.vertex);
    } else if name == SOURCE.name {
        let source = SOURCE.read::<errdefs::Source>(value);
        error.sources.extend(source.and_then(excerpt));
    } else if name == FRONTEND.name {
        let frontend = FRONTEND.read::<errdefs::Frontend>(value);
        let frontend = frontend.map(|frontend| FrontendName {
            name: frontend.name,
            source: frontend.source,
        });
        error.frontend = frontend.or(error.frontend.take());
    } else if name == FRONTEND_CAP.name {
        let cap = FRONTEND_CAP.read::<errdefs::FrontendCap>(value);
        error.frontend_cap = cap.map(|cap| cap.name).or(error.frontend_cap.take());
    } else if name == SUBREQUEST.name {
        let request = SUBREQUEST.read::<errdefs::Subrequest>(value);
        let name = request.map(|request| request.name);
        error.subrequest = name.or(error.subrequest.take());
    } else if name == EXIT.name {
        let exit = EXIT.read::<gateway::ExitMessage>(value);
        let code = exit.and_then(|exit| i32::try_from(exit.code).ok());
        error.exit_code = code.or(error.exit_code);
    }
}

fn excerpt(source: errdefs::Source) -> Option<SourceExcerpt> {
    Some(SourceExcerpt {
        info: source.info?,
        ranges: source.ranges,
    })
}
