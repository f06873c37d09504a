//! `COPY` and `ADD` (rows DFI-19 to DFI-31).

use lamina_proto::pb;
use lamina_types::Digest;

use crate::convert::Converter;
use crate::convert::names;
use crate::convert::stages::StageId;
use crate::error::FrontendError;
use crate::error::Result;
use crate::graph::CopyOptions;
use crate::graph::FileBuilder;
use crate::graph::Output;
use crate::graph::Vertex;
use crate::graph::is_url;
use crate::graph::owner;
use crate::ignore::IgnoreFile;
use crate::instructions::Copy;
use crate::instructions::Origin;
use crate::lint::Linter;

/// An instruction that copies.
pub(super) struct CopyJob<'a> {
    pub(super) origin: &'a Origin,
    pub(super) copy: Copy,
    /// The stage that it copies from; `None` for the build context.
    pub(super) from: Option<StageId>,
    pub(super) triggered: bool,
}

impl<'a> CopyJob<'a> {
    pub(super) fn new(
        origin: &'a Origin,
        copy: Copy,
        sources: &[StageId],
        triggered: bool,
    ) -> Self {
        Self {
            origin,
            copy,
            from: sources.first().copied(),
            triggered,
        }
    }
}

/// What every source of the instruction has in common.
pub(super) struct CopyPlan<'a> {
    pub(super) job: &'a CopyJob<'a>,
    /// Absolute, with the ending that the user gave it.
    pub(super) destination: String,
    /// The tree of the build context or the stage.
    pub(super) source: Option<Output>,
    pub(super) options: CopyOptions,
    /// The name that progress shows.
    pub(super) name: String,
    /// The ignore file that applies to the source.
    pub(super) ignore: Option<&'a IgnoreFile>,
    pub(super) linter: &'a Linter,
}

impl Converter<'_> {
    /// Adds the copy.
    pub(super) fn dispatch_copy(
        &mut self,
        id: StageId,
        job: CopyJob<'_>,
        ignore: &IgnoreFile,
        linter: &Linter,
    ) -> Result<()> {
        let text = names::shown(&self.lexer, &job.origin.code, &self.stages[id].state.env);
        let plan = self.copy_plan(id, &job, &text, ignore, linter)?;
        let link = job.copy.link && job.copy.chmod.is_empty();
        let link = link && self.job.client.has_cap("mergeop");
        let base = self.stages[id].state.output.filter(|_| !link);
        let mut file = FileBuilder::new(base);
        for path in &job.copy.sources {
            self.add_source(id, path, &plan, &mut file)?;
        }
        for inline in &job.copy.inline {
            self.add_inline(id, inline, &plan, &mut file)?;
        }
        let vertex = self.step_vertex(id, file.finish(), &plan.name, job.origin);
        let output = if link {
            self.link(id, vertex, &text, &job)
        } else {
            Output::of(self.graph.add(vertex))
        };
        self.stages[id].state.output = Some(output);
        self.note_used_paths(id, &job);
        self.history(id, history_text(&job), true);
        Ok(())
    }

    /// Checks what does not depend on the sources, and counts the step.
    fn copy_plan<'a>(
        &mut self,
        id: StageId,
        job: &'a CopyJob<'a>,
        text: &str,
        ignore: &'a IgnoreFile,
        linter: &'a Linter,
    ) -> Result<CopyPlan<'a>> {
        let source = self.copy_source(id, job)?;
        let dir = self.stages[id].state.dir.clone();
        let written = match job.copy.destination.as_str() {
            "" | "." => "./",
            path => path,
        };
        let destination = self.system(id).absolute_keeping_slash(&dir, written)?;
        let options = copy_options(&job.copy)?;
        check_checksum(&job.copy)?;
        Ok(CopyPlan {
            destination,
            source,
            options,
            name: self.step_name(id, text, job.triggered),
            ignore: job.from.is_none().then_some(ignore),
            linter,
            job,
        })
    }

    fn copy_source(&mut self, id: StageId, job: &CopyJob<'_>) -> Result<Option<Output>> {
        let Some(from) = job.from else {
            return Ok(self.context_output());
        };
        if !self.stages[from].dispatched {
            return Err(FrontendError::LaterStage {
                from: job.copy.from.clone(),
                stage: self.stages[id].shown_name.clone(),
            }
            .into());
        }
        Ok(self.stages[from].state.output)
    }

    fn step_vertex(&self, id: StageId, vertex: Vertex, name: &str, origin: &Origin) -> Vertex {
        let ignore_cache = self.stages[id].ignore_cache;
        vertex
            .named(name)
            .at(Some(origin.lines))
            .ignoring_cache(ignore_cache)
    }

    /// Makes the copy a layer of its own and merges it on top (row DFI-23).
    fn link(&mut self, id: StageId, mut copy: Vertex, text: &str, job: &CopyJob<'_>) -> Output {
        let group = Digest::of(copy.metadata.description["llb.customname"].as_bytes()).hex();
        let name = copy.metadata.description["llb.customname"].clone();
        let progress = |weak| {
            Some(pb::ProgressGroup {
                id: group.clone(),
                name: name.clone(),
                weak,
            })
        };
        copy.metadata.progress_group = progress(true);
        let copied = Output::of(self.graph.add(copy));
        let Some(base) = self.stages[id].state.output else {
            return copied;
        };
        let inputs = vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 1 }];
        let mut merge = Vertex::new(pb::op::Op::Merge(pb::MergeOp { inputs }));
        merge.inputs = vec![base, copied];
        let link_name = self.same_step_name(id, &format!("LINK {text}"), job.triggered);
        let mut merge = self.step_vertex(id, merge, &link_name, job.origin);
        merge.metadata.progress_group = progress(false);
        Output::of(self.graph.add(merge))
    }

    fn note_used_paths(&mut self, id: StageId, job: &CopyJob<'_>) {
        let paths = match job.from {
            Some(from) => self.stages.paths(from),
            None => &mut self.stages[id].context_paths,
        };
        for path in job.copy.sources.iter().filter(|path| !is_url(path)) {
            paths.add(path);
        }
    }

    /// Returns the build context.
    pub(super) fn context_output(&mut self) -> Option<Output> {
        match self.job.client.main_context() {
            None => Some(Output::of(self.context)),
            Some(_) => self.remote_context,
        }
    }
}

fn copy_options(copy: &Copy) -> Result<CopyOptions> {
    let mut options = CopyOptions {
        owner: (!copy.chown.is_empty()).then(|| owner(&copy.chown)),
        excludes: copy.excludes.clone(),
        ..CopyOptions::default()
    };
    if !copy.chmod.is_empty() {
        match octal(&copy.chmod)? {
            Some(mode) => options.mode = Some(mode),
            None => options.symbolic_mode.clone_from(&copy.chmod),
        }
    }
    Ok(options)
}

/// Reads an octal mode; `None` if the text is a symbolic one.
fn octal(text: &str) -> std::result::Result<Option<u32>, FrontendError> {
    let bad = || FrontendError::Chmod {
        mode: text.to_owned(),
    };
    if !text.starts_with('+')
        && let Ok(mode) = u32::from_str_radix(text, 8)
    {
        return if mode > 0o7777 {
            Err(bad())
        } else {
            Ok(Some(mode))
        };
    }
    if text.starts_with(|ch: char| ch.is_ascii_digit()) {
        return Err(bad());
    }
    if text.split(',').all(is_symbolic) {
        return Ok(None);
    }
    Err(FrontendError::SymbolicChmod)
}

/// Checks `[ugoa..][+-=][rwxXst..]` with any number of operators.
fn is_symbolic(clause: &str) -> bool {
    let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    rest.starts_with(['+', '-', '=']) && rest.chars().all(|ch| "+-=rwxXstugo".contains(ch))
}

fn check_checksum(copy: &Copy) -> std::result::Result<(), FrontendError> {
    if copy.checksum.is_empty() {
        return Ok(());
    }
    let [source] = &copy.sources[..] else {
        return Err(FrontendError::ChecksumSources);
    };
    let is_git = matches!(crate::git::GitRef::parse(source), Ok(Some(_)));
    if is_git || is_url(source) {
        return Ok(());
    }
    Err(FrontendError::ChecksumLocal)
}

fn history_text(job: &CopyJob<'_>) -> String {
    let copy = &job.copy;
    let mut text = if copy.is_add {
        "ADD".to_owned()
    } else {
        "COPY".to_owned()
    };
    if copy.parents {
        text.push_str(" --parents");
    }
    for (flag, value) in [("chown", &copy.chown), ("chmod", &copy.chmod)] {
        if !value.is_empty() {
            text.push_str(&format!(" --{flag}={value}"));
        }
    }
    for source in &copy.sources {
        text.push_str(&format!(" {source}"));
    }
    for file in &copy.inline {
        text.push_str(&format!(" <<{}", file.name));
    }
    format!("{text} {} # buildkit", copy.destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, expected) in [
            ("644", Ok(Some(0o644))),
            ("04755", Ok(Some(0o4755))),
            ("u=rwX,g-w,o=", Ok(None)),
            ("a+x", Ok(None)),
            (
                "77777",
                Err(
                    "invalid chmod parameter: '77777'. it should be octal string and between 0 and 07777",
                ),
            ),
            (
                "0x1ff",
                Err(
                    "invalid chmod parameter: '0x1ff'. it should be octal string and between 0 and 07777",
                ),
            ),
            ("abc", Err("invalid syntax")),
        ] {
            let result = octal(text).map_err(|error| error.to_string());
            assert_eq!(result, expected.map_err(str::to_owned), "{text}");
        }
    }
}
