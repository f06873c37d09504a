//! Loading a definition: from bytes that anybody may have sent to a graph that can be run.
//!
//! The order is: decode every op and name it by the digest of its bytes as received (row LLB-02),
//! find what the terminal vertex needs, inputs first ([`order`]), then parse and check each of
//! those against its metadata ([`Graph::load`]). Nothing runs, and nothing but the definition is
//! read. Sizes are bounded, so a hostile definition costs no more than its bytes.

mod error;
mod limits;
mod names;
mod order;
mod raw;
mod vertices;

use lamina_executor::CdiDevices;
use lamina_proto::pb;
use lamina_solver::ProgressGroup;
use lamina_types::Digest;
use lamina_types::Platform;

use crate::caps::has_cap;
use crate::entitlements::Entitlements;
use crate::model::SpecError;
use crate::model::Step;
use crate::model::resources;

pub use error::LoadError;

pub(crate) use limits::check as check_size;
pub(crate) use limits::check_inputs;

use raw::RawGraph;
use raw::RawOp;

/// A validated graph: steps in an order in which inputs come before what needs them.
#[derive(Debug)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// Which output of which step is the result.
    pub(crate) result: Link,
}

/// One step and its place in the graph.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) digest: Digest,
    pub(crate) name: String,
    pub(crate) step: Step,
    pub(crate) inputs: Vec<Link>,
    pub(crate) ignore_cache: bool,
    pub(crate) progress_group: Option<ProgressGroup>,
}

/// An output of the step with index `node`, which comes earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) node: usize,
    pub(crate) output: usize,
}

impl Graph {
    /// Loads `definition`; ops without a platform are for `platform`.
    ///
    /// # Errors
    /// [`LoadError`], with the vertex that is wrong where there is one. Nothing has run.
    pub fn load(
        definition: &pb::Definition,
        platform: &Platform,
        entitlements: &Entitlements,
    ) -> Result<Self, LoadError> {
        let raw = RawGraph::decode(&definition.def)?;
        let order = order::needed(&raw)?;
        let mut loader = Loader {
            definition,
            platform,
            entitlements,
            index: Default::default(),
            nodes: Vec::with_capacity(order.len()),
        };
        for digest in order {
            loader.add(digest, raw.get(&digest)?)?;
        }
        let result = loader.link(raw.result())?;
        Ok(Self {
            nodes: loader.nodes,
            result,
        })
    }

    /// Gives the steps the devices that they ask for (row EXC-35).
    ///
    /// # Errors
    /// If one is not there, or was not granted. Nothing has run.
    pub(crate) fn give_devices(
        &mut self,
        devices: &CdiDevices,
        entitlements: &Entitlements,
    ) -> Result<(), LoadError> {
        for node in &mut self.nodes {
            let Step::Exec(exec) = &mut node.step else {
                continue;
            };
            if !exec.wanted_devices.is_empty() {
                let given = entitlements.devices(&exec.wanted_devices, &devices.read());
                exec.devices = given.map_err(|error| LoadError::Invalid {
                    digest: node.digest,
                    source: error.into(),
                })?;
            }
        }
        Ok(())
    }

    /// Returns the ids of cache mounts that are to be emptied before the graph runs, and whether
    /// each lies on top of an input (row LLB-07).
    pub(crate) fn emptied_cache_mounts(&self) -> Vec<(String, bool)> {
        let ignoring = self.nodes.iter().filter(|node| node.ignore_cache);
        let mounts = ignoring.filter_map(|node| match &node.step {
            Step::Exec(exec) => Some(exec.cache_mounts()),
            _ => None,
        });
        mounts
            .flatten()
            .map(|(id, on_input)| (id.to_owned(), on_input))
            .collect()
    }
}

/// Builds the nodes of a graph one after the other, inputs first.
struct Loader<'a> {
    definition: &'a pb::Definition,
    platform: &'a Platform,
    entitlements: &'a Entitlements,
    index: std::collections::HashMap<Digest, usize>,
    nodes: Vec<Node>,
}

impl Loader<'_> {
    fn add(&mut self, digest: Digest, raw: &RawOp) -> Result<(), LoadError> {
        let no_metadata = pb::OpMetadata::default();
        let metadata = self.definition.metadata.get(&digest.to_string());
        let metadata = metadata.unwrap_or(&no_metadata);
        refuse_unknown_caps(metadata, digest)?;
        let inputs = raw.inputs.iter().map(|&input| self.link(input));
        let inputs: Vec<Link> = inputs.collect::<Result<_, _>>()?;
        let invalid = |source| LoadError::Invalid { digest, source };
        let platform = self.platform_of(&raw.op);
        let mut step = Step::parse(raw.op.clone(), &platform).map_err(invalid)?;
        if let (Step::Exec(exec), Some(limits)) = (&mut step, &metadata.linux_resources) {
            exec.resources = resources(limits);
        }
        self.check_entitlements(&step).map_err(invalid)?;
        let name = names::name(&step, metadata, &inputs, &self.nodes);
        self.index.insert(digest, self.nodes.len());
        self.nodes.push(Node {
            digest,
            name,
            step,
            inputs,
            ignore_cache: metadata.ignore_cache,
            progress_group: metadata.progress_group.as_ref().map(progress_group),
        });
        Ok(())
    }

    /// Resolves an input; the step that it names must have that output (row LLB-03).
    fn link(&self, (digest, output): (Digest, usize)) -> Result<Link, LoadError> {
        let missing = LoadError::MissingInput {
            digest: digest.to_string(),
        };
        let node = *self.index.get(&digest).ok_or(missing)?;
        let outputs = self.nodes[node].step.outputs();
        if output >= outputs {
            return Err(LoadError::NoSuchOutput {
                digest,
                output,
                outputs,
            });
        }
        Ok(Link { node, output })
    }

    fn check_entitlements(&self, step: &Step) -> Result<(), SpecError> {
        if let Step::Exec(exec) = step {
            self.entitlements.check(exec.network, exec.security)?;
        }
        Ok(())
    }

    /// Row LLB-05.
    fn platform_of(&self, op: &pb::Op) -> Platform {
        let Some(given) = &op.platform else {
            return self.platform.clone();
        };
        let mut platform = Platform::new(&given.os, &given.architecture, &given.variant);
        platform.os_version.clone_from(&given.os_version);
        platform.os_features.clone_from(&given.os_features);
        platform
    }
}

/// Row LLB-10. What a client says it does not need (`false`) is no requirement.
fn refuse_unknown_caps(metadata: &pb::OpMetadata, digest: Digest) -> Result<(), LoadError> {
    match metadata
        .caps
        .iter()
        .find(|(cap, needed)| **needed && !has_cap(cap))
    {
        Some((cap, _)) => Err(LoadError::UnknownCap {
            digest,
            cap: cap.clone(),
        }),
        None => Ok(()),
    }
}

fn progress_group(group: &pb::ProgressGroup) -> ProgressGroup {
    ProgressGroup {
        id: group.id.clone(),
        name: group.name.clone(),
        weak: group.weak,
    }
}

#[cfg(test)]
mod tests;
