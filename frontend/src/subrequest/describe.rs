//! `frontend.subrequests.describe`: which questions there are (row FDF-27).

use serde::Serialize;

use super::Answer;
use super::VERSION;
use super::table::Table;

/// What is left out of the names for people.
const PREFIX: &str = "frontend.";

/// All questions.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Requests([Request; 3]);

/// A question, with what goes in and comes out. `null` stands for "nothing is said of it".
#[derive(Serialize)]
struct Request {
    name: &'static str,
    version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    description: &'static str,
    opts: Option<Vec<Named>>,
    inputs: Option<Vec<Named>>,
    metadata: Option<Vec<Named>>,
    refs: Option<Vec<Named>>,
}

#[derive(Serialize)]
struct Named {
    name: &'static str,
    description: &'static str,
}

impl Requests {
    pub(super) fn all() -> Self {
        let target = Named {
            name: "target",
            description: "Target build stage",
        };
        Self([
            Request::new(
                "frontend.outline",
                "List all parameters current build target supports",
                Some(vec![target]),
            ),
            Request::new(
                "frontend.targets",
                "List all targets current build supports",
                Some(Vec::new()),
            ),
            Request::new(
                "frontend.subrequests.describe",
                "List available subrequest types",
                None,
            ),
        ])
    }
}

impl Request {
    fn new(name: &'static str, description: &'static str, opts: Option<Vec<Named>>) -> Self {
        let key = |name| Named {
            name,
            description: "",
        };
        Self {
            name,
            version: VERSION,
            kind: "rpc",
            description,
            opts,
            inputs: None,
            metadata: Some(vec![key("result.json"), key("result.txt")]),
            refs: None,
        }
    }
}

impl Answer for Requests {
    fn text(&self) -> String {
        let mut table = Table::new(1);
        table.row(["NAME", "VERSION", "DESCRIPTION"]);
        for request in &self.0 {
            let name = request.name.strip_prefix(PREFIX).unwrap_or(request.name);
            table.row([name, request.version, request.description]);
        }
        table.to_string()
    }
}
