//! A small world to build in: trees are maps from paths to data, steps are closures over trees.
//!
//! Steps mirror LLB's: sources have a key of their own, copies read one input by content and another
//! by definition, merges and diffs have definition keys only. Every run is recorded, and "random"
//! steps write the number of their run into their output, so a value tells whose it is.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use lamina_solver::CacheMap;
use lamina_solver::CacheStore;
use lamina_solver::Edge;
use lamina_solver::Event;
use lamina_solver::InputKey;
use lamina_solver::Job;
use lamina_solver::MemoryCache;
use lamina_solver::Op;
use lamina_solver::OpContext;
use lamina_solver::OpError;
use lamina_solver::ResultStore;
use lamina_solver::SolveError;
use lamina_solver::Solver;
use lamina_solver::SolverOptions;
use lamina_solver::Vertex;
use lamina_types::Digest;
use lamina_types::LogStream;
use lamina_types::Sha256Hasher;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;

/// Files of a state.
pub(crate) type Tree = BTreeMap<String, String>;

/// What a step does with its inputs; `run` counts all runs of the world.
pub(crate) type Make = Arc<dyn Fn(&[Tree], usize) -> Result<Vec<Tree>, String> + Send + Sync>;

/// A step of a graph under construction.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Tells definitions apart, with the inputs.
    pub(crate) definition: String,
    /// The op's part of the cache key.
    pub(crate) key: String,
    pub(crate) reads: Vec<Read>,
    pub(crate) ignore_cache: bool,
    /// Waits for the world's gate of its name before it ends.
    pub(crate) gated: bool,
    pub(crate) takes_slot: bool,
    pub(crate) make: Make,
}

/// How a step uses another.
#[derive(Clone)]
pub(crate) struct Read {
    node: Arc<Node>,
    output: usize,
    /// Reads below this path, and names it by content.
    content: Option<String>,
}

/// Refers to the root output by definition.
pub(crate) fn whole(node: &Arc<Node>) -> Read {
    output(node, 0)
}

pub(crate) fn output(node: &Arc<Node>, output: usize) -> Read {
    Read {
        node: Arc::clone(node),
        output,
        content: None,
    }
}

/// Refers to what is below `path`, by content.
pub(crate) fn content(node: &Arc<Node>, path: &str) -> Read {
    Read {
        content: Some(path.to_owned()),
        ..whole(node)
    }
}

impl Node {
    pub(crate) fn new(
        name: &str,
        key: &str,
        reads: Vec<Read>,
        make: impl Fn(&[Tree], usize) -> Result<Vec<Tree>, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            definition: key.to_owned(),
            key: key.to_owned(),
            reads,
            ignore_cache: false,
            gated: false,
            takes_slot: true,
            make: Arc::new(make),
        }
    }

    pub(crate) fn ignored(self: Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            ignore_cache: true,
            ..(*self).clone()
        })
    }

    pub(crate) fn gated(self: Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            gated: true,
            ..(*self).clone()
        })
    }

    /// The same meaning under another definition.
    pub(crate) fn defined(self: Arc<Self>, definition: &str) -> Arc<Self> {
        Arc::new(Self {
            definition: definition.to_owned(),
            ..(*self).clone()
        })
    }
}

pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
    files
        .iter()
        .map(|(path, data)| ((*path).to_owned(), (*data).to_owned()))
        .collect()
}

/// A local folder: its key is `unique`, whatever is inside.
pub(crate) fn local(name: &str, unique: &str, files: &[(&str, &str)]) -> Arc<Node> {
    let files = tree(files);
    let make = move |_: &[Tree], _| Ok(vec![files.clone()]);
    let key = format!("local {name} {unique}");
    Arc::new(Node {
        takes_slot: false,
        ..Node::new(name, &key, Vec::new(), make)
    })
}

/// A file on top of a state, or of nothing.
pub(crate) fn mkfile(name: &str, base: Option<&Arc<Node>>, path: &str, data: &str) -> Arc<Node> {
    let file = (path.to_owned(), data.to_owned());
    let make = move |inputs: &[Tree], _| {
        let mut tree = inputs.first().cloned().unwrap_or_default();
        tree.extend([file.clone()]);
        Ok(vec![tree])
    };
    let key = format!("mkfile {path} {data}");
    Arc::new(Node::new(
        name,
        &key,
        base.map(whole).into_iter().collect(),
        make,
    ))
}

/// Copies what is below `path` of `source`, by content, onto `base`, by definition.
pub(crate) fn copy(
    name: &str,
    base: Option<&Arc<Node>>,
    source: &Arc<Node>,
    path: &str,
) -> Arc<Node> {
    let prefix = path.to_owned();
    let has_base = base.is_some();
    let make = move |inputs: &[Tree], _| {
        let (source, base) = inputs.split_last().ok_or("no input")?;
        let mut tree = base.first().cloned().unwrap_or_default();
        let found = below(source, &prefix);
        if found.is_empty() {
            return Err(format!("{prefix}: not found"));
        }
        tree.extend(found);
        Ok(vec![tree])
    };
    let mut reads: Vec<_> = base.map(whole).into_iter().collect();
    reads.push(content(source, path));
    let key = format!("copy {path} {has_base}");
    Arc::new(Node::new(name, &key, reads, make))
}

fn below(tree: &Tree, prefix: &str) -> Tree {
    let files = tree.iter().filter(|(path, _)| path.starts_with(prefix));
    files
        .map(|(path, data)| (path.clone(), data.clone()))
        .collect()
}

/// Runs on a writable root, keyed by definition, with `mounts`; writes `/name` with what `output`
/// says: "random" = the number of the run.
pub(crate) fn exec(name: &str, root: &Arc<Node>, mounts: &[Read], output: &str) -> Arc<Node> {
    let file = format!("/{name}");
    let text = output.to_owned();
    let make = move |inputs: &[Tree], run: usize| {
        let data = match &*text {
            "random" => run.to_string(),
            "fail" => return Err("exit code: 1".to_owned()),
            text => text.to_owned(),
        };
        let mut tree = inputs[0].clone();
        tree.insert(file.clone(), data);
        Ok(vec![tree])
    };
    let mut reads = vec![whole(root)];
    reads.extend(mounts.iter().cloned());
    let key = format!("exec {name} {output}");
    Arc::new(Node::new(name, &key, reads, make))
}

/// Has a root output and a mount output, both with the number of the run.
pub(crate) fn two_outputs(name: &str, root: &Arc<Node>) -> Arc<Node> {
    let make = |inputs: &[Tree], run: usize| {
        let out = |name: &str| {
            let mut tree = inputs[0].clone();
            tree.insert(name.to_owned(), run.to_string());
            tree
        };
        Ok(vec![out("/first"), out("/second")])
    };
    let key = format!("two outputs {name}");
    Arc::new(Node::new(name, &key, vec![whole(root)], make))
}

pub(crate) fn merge(name: &str, states: &[&Arc<Node>]) -> Arc<Node> {
    let make = |inputs: &[Tree], _| Ok(vec![inputs.iter().flatten().map(pair).collect()]);
    let reads = states.iter().map(|state| whole(state)).collect();
    Arc::new(Node {
        takes_slot: false,
        ..Node::new(name, "merge", reads, make)
    })
}

pub(crate) fn diff(name: &str, lower: &Arc<Node>, upper: &Arc<Node>) -> Arc<Node> {
    let make = |inputs: &[Tree], _| {
        let new = |(path, data): &(&String, &String)| inputs[0].get(*path) != Some(*data);
        Ok(vec![inputs[1].iter().filter(new).map(pair).collect()])
    };
    Arc::new(Node::new(
        name,
        "diff",
        vec![whole(lower), whole(upper)],
        make,
    ))
}

fn pair((path, data): (&String, &String)) -> (String, String) {
    (path.clone(), data.clone())
}

/// The stores and counters of a daemon; solvers come and go.
pub(crate) struct World {
    pub(crate) solver: Solver<Tree, Session>,
    pub(crate) state: Arc<State>,
    pub(crate) cache: Arc<dyn CacheStore>,
}

/// What a build brings along.
pub(crate) struct Session;

#[derive(Default)]
pub(crate) struct State {
    runs: Mutex<Vec<String>>,
    results: Mutex<HashMap<Vec<u8>, Tree>>,
    gates: Mutex<HashMap<String, watch::Sender<Gate>>>,
}

/// Where a gated step is.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Gate {
    #[default]
    Closed,
    /// The step has begun.
    Reached,
    /// The step may end.
    Open,
}

impl State {
    pub(crate) fn runs(&self) -> Vec<String> {
        self.runs.lock().unwrap().clone()
    }

    pub(crate) fn gate(&self, name: &str) -> watch::Sender<Gate> {
        let mut gates = self.gates.lock().unwrap();
        gates.entry(name.to_owned()).or_default().clone()
    }

    /// Loses the values of all records.
    pub(crate) fn lose_values(&self) {
        self.results.lock().unwrap().clear();
    }

    /// Loses the values for which `lost` says so.
    pub(crate) fn lose(&self, lost: impl Fn(&Tree) -> bool) {
        self.results.lock().unwrap().retain(|_, tree| !lost(tree));
    }
}

#[async_trait]
impl ResultStore<Tree> for State {
    async fn save(&self, value: &Tree) -> Result<Vec<u8>, OpError> {
        let record = Digest::of(format!("{value:?}").as_bytes())
            .as_bytes()
            .to_vec();
        let mut results = self.results.lock().unwrap();
        results.insert(record.clone(), value.clone());
        Ok(record)
    }

    async fn load(&self, record: &[u8]) -> Option<Tree> {
        self.results.lock().unwrap().get(record).cloned()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(MemoryCache::new()), Arc::default(), 4)
    }

    pub(crate) fn with(cache: Arc<dyn CacheStore>, state: Arc<State>, slots: usize) -> Self {
        let results = Arc::clone(&state) as Arc<dyn ResultStore<Tree>>;
        let options = SolverOptions { slots };
        Self {
            solver: Solver::new(Arc::clone(&cache), results, options),
            state,
            cache,
        }
    }

    /// The same stores under a new solver.
    pub(crate) fn restarted(&self) -> Self {
        Self::with(Arc::clone(&self.cache), Arc::clone(&self.state), 4)
    }

    pub(crate) fn job(&self) -> (Job<Tree, Session>, UnboundedReceiver<Event>) {
        let (sender, receiver) = unbounded_channel();
        (self.solver.job(Arc::new(Session), sender), receiver)
    }

    /// Builds the root output in a build of its own.
    pub(crate) async fn build(&self, node: &Arc<Node>) -> Built {
        self.build_output(node, 0).await
    }

    pub(crate) async fn build_output(&self, node: &Arc<Node>, output: usize) -> Built {
        let before = self.state.runs().len();
        let (job, mut receiver) = self.job();
        let value = job.solve(&self.edge(node, output)).await;
        drop(job);
        let mut ran = self.state.runs().split_off(before);
        ran.sort();
        let mut events = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            events.push(event);
        }
        Built { value, ran, events }
    }

    pub(crate) fn edge(&self, node: &Arc<Node>, output: usize) -> Edge<Tree, Session> {
        Edge {
            vertex: self.vertex(node, &mut HashMap::new()),
            output,
        }
    }

    fn vertex(
        &self,
        node: &Arc<Node>,
        known: &mut HashMap<*const Node, Arc<Vertex<Tree, Session>>>,
    ) -> Arc<Vertex<Tree, Session>> {
        if let Some(vertex) = known.get(&Arc::as_ptr(node)) {
            return Arc::clone(vertex);
        }
        let mut inputs = Vec::new();
        let mut hasher = Sha256Hasher::new();
        hasher.update_field(node.definition.as_bytes());
        for read in &node.reads {
            let vertex = self.vertex(&read.node, known);
            hasher.update(vertex.digest.as_bytes());
            hasher.update_field(format!("{} {:?}", read.output, read.content).as_bytes());
            let output = read.output;
            inputs.push(Edge { vertex, output });
        }
        let op = Step {
            node: Arc::clone(node),
            state: Arc::clone(&self.state),
        };
        let vertex = Arc::new(Vertex {
            digest: hasher.finish(),
            name: node.name.clone(),
            op: Arc::new(op),
            inputs,
            ignore_cache: node.ignore_cache,
            progress_group: None,
        });
        known.insert(Arc::as_ptr(node), Arc::clone(&vertex));
        vertex
    }
}

/// What came of a build.
pub(crate) struct Built {
    pub(crate) value: Result<Tree, SolveError>,
    /// Names of steps that ran, sorted; sources too.
    pub(crate) ran: Vec<String>,
    pub(crate) events: Vec<Event>,
}

impl Built {
    /// The data of a file of the result.
    pub(crate) fn file(&self, path: &str) -> &str {
        &self.value.as_ref().expect("the build succeeded")[path]
    }

    /// Names of steps that ran and are not listed as uninteresting.
    pub(crate) fn ran_besides(&self, uninteresting: &[&str]) -> Vec<&str> {
        let names = self.ran.iter().map(String::as_str);
        names.filter(|name| !uninteresting.contains(name)).collect()
    }
}

struct Step {
    node: Arc<Node>,
    state: Arc<State>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StepFailed(pub(crate) String);

#[async_trait]
impl Op<Tree, Session> for Step {
    async fn cache_map(&self, _: &OpContext<Session>) -> Result<CacheMap, OpError> {
        let key = |read: &Read| InputKey {
            selector: read
                .content
                .as_ref()
                .map(|path| Digest::of(path.as_bytes())),
            content: read.content.is_some(),
        };
        Ok(CacheMap {
            digest: Digest::of(self.node.key.as_bytes()),
            inputs: self.node.reads.iter().map(key).collect(),
        })
    }

    async fn content_digest(
        &self,
        input: usize,
        value: &Tree,
        _: &OpContext<Session>,
    ) -> Result<Digest, OpError> {
        let path = self.node.reads[input].content.as_deref().unwrap_or("/");
        Ok(Digest::of(format!("{:?}", below(value, path)).as_bytes()))
    }

    async fn exec(
        &self,
        inputs: Vec<Tree>,
        context: &OpContext<Session>,
    ) -> Result<Vec<Tree>, OpError> {
        assert!(
            !context.builds().is_empty(),
            "{}: nobody waits",
            self.node.name
        );
        let run = {
            let mut runs = self.state.runs.lock().unwrap();
            runs.push(self.node.name.clone());
            runs.len() - 1
        };
        context
            .progress
            .log(LogStream::Stdout, format!("RAN {run}").as_bytes());
        if self.node.gated {
            let gate = self.state.gate(&self.node.name);
            gate.send_if_modified(|gate| {
                *gate < Gate::Reached && {
                    *gate = Gate::Reached;
                    true
                }
            });
            let mut open = gate.subscribe();
            tokio::select! {
                () = context.cancel.cancelled() => return Err(Arc::new(lamina_types::Cancelled)),
                gate = open.wait_for(|gate| *gate == Gate::Open) => drop(gate),
            }
        }
        if self.node.name == "panics" {
            panic!("as its name says");
        }
        let made = (self.node.make)(&inputs, run);
        made.map_err(|text| Arc::new(StepFailed(text)) as OpError)
    }

    fn takes_slot(&self) -> bool {
        self.node.takes_slot
    }
}
