//! `RUN` (rows DFI-07 to DFI-18).

use std::borrow::Cow;

use lamina_proto::pb;

use crate::convert::Converter;
use crate::convert::args::Arguments;
use crate::convert::names;
use crate::convert::stages::StageId;
use crate::env::Env;
use crate::error::FrontendError;
use crate::error::Result;
use crate::expand::Lexer;
use crate::graph::ExecBuilder;
use crate::graph::FileBuilder;
use crate::graph::Output;
use crate::graph::Place;
use crate::image;
use crate::instructions::Network;
use crate::instructions::Origin;
use crate::instructions::Run;
use crate::instructions::Security;
use crate::instructions::ShellFile;
use crate::options::OptionMap;
use crate::syntax::heredoc_word;
use crate::syntax::strip_leading_tabs;

/// Where a here-document that is a script appears.
const SCRIPT_DIR: &str = "/dev/pipes/";

/// What runs, and what is mounted for it.
struct Program {
    words: Vec<String>,
    /// What progress adds to the instruction's text.
    summary: String,
    /// A tree with a script, to be mounted on [`SCRIPT_DIR`].
    script: Option<Output>,
}

impl Converter<'_> {
    /// Adds the process.
    pub(super) fn dispatch_run(
        &mut self,
        id: StageId,
        origin: &Origin,
        run: Run,
        sources: &[StageId],
        triggered: bool,
    ) -> Result<()> {
        self.stages.paths(id).add("/");
        let program = self.program(id, &run)?;
        let mut exec = self.exec_builder(id, &program, &run);
        if let Some(script) = program.script {
            exec.bind(Place {
                from: Some(script),
                target: SCRIPT_DIR.to_owned(),
                selector: "/".to_owned(),
                read_only: true,
            });
        }
        self.add_mounts(id, &run, sources, &mut exec)?;
        self.stages[id].asks.mounts(&run.mounts, origin.lines);
        if run.has_devices {
            return Err(FrontendError::Device.into());
        }
        let name = self.run_name(id, origin, &run, &program.summary, triggered);
        let ignore_cache = self.stages[id].ignore_cache;
        let mut vertex = exec.finish().named(name).at(Some(origin.lines));
        vertex = vertex.ignoring_cache(ignore_cache);
        vertex.describe("com.docker.dockerfile.v1.command", &origin.code);
        vertex.platform.clone_from(&self.stages[id].platform);
        let output = Output::of(self.graph.add(vertex));
        let stage = &mut self.stages[id];
        stage.state.output = Some(output);
        let shown = command_string(&program.words, &stage.build_args, &stage.state.env);
        self.history(id, format!("RUN {shown} # buildkit"), true);
        Ok(())
    }

    fn program(&mut self, id: StageId, run: &Run) -> Result<Program> {
        let mut program = Program {
            words: run.command.words.clone(),
            summary: String::new(),
            script: None,
        };
        if let Some(first) = run.files.first() {
            let [text] = &run.command.words[..] else {
                let words = run.command.words.clone();
                return Err(FrontendError::HeredocCommand { words }.into());
            };
            if heredoc_word(text).is_ok_and(|word| word.is_some()) {
                program.summary = format!(" ({})", summary(&first.content));
                if let Some(script) = self.script(id, first) {
                    program.words = vec![format!("{SCRIPT_DIR}{}", first.name)];
                    program.script = Some(script);
                } else {
                    program.words = vec![content(first)];
                }
            } else {
                program.words = vec![with_documents(text, &run.files)];
            }
        }
        if run.command.shell {
            program.words = image::in_shell(&self.stages[id].image, &program.words);
        }
        Ok(program)
    }

    /// Makes a file of a here-document that starts with `#!`.
    fn script(&mut self, id: StageId, file: &ShellFile) -> Option<Output> {
        let content = content(file);
        if self.stages[id].image.os == "windows" || !content.starts_with("#!") {
            return None;
        }
        let mut builder = FileBuilder::new(None);
        builder.make_file(&file.name, 0o755, content.as_bytes());
        let vertex = builder
            .finish()
            .named("[internal] preparing inline document");
        Some(Output::of(self.graph.add(vertex)))
    }

    fn exec_builder(&self, id: StageId, program: &Program, run: &Run) -> ExecBuilder {
        let options = self.job.options;
        let stage = &self.stages[id];
        let dir = if stage.state.dir.is_empty() {
            "/"
        } else {
            &stage.state.dir
        };
        let meta = pb::Meta {
            args: program.words.clone(),
            env: stage.state.env.to_list(),
            cwd: dir.to_owned(),
            user: stage.state.user.clone(),
            proxy_env: proxies(&self.build_args),
            extra_hosts: options.extra_hosts.clone(),
            hostname: stage.state.hostname.clone(),
            ulimit: options.ulimits.clone(),
            cgroup_parent: options.cgroup_parent.clone(),
            remove_mount_stubs_recursive: true,
            valid_exit_codes: Vec::new(),
        };
        let mut exec = ExecBuilder::new(meta, stage.state.output);
        exec.network = match run.network {
            Network::Default => options.network,
            Network::None => pb::NetMode::None,
            Network::Host => pb::NetMode::Host,
        };
        exec.security = match run.security {
            Security::Sandbox => pb::SecurityMode::Sandbox,
            Security::Insecure => pb::SecurityMode::Insecure,
        };
        exec.vertex()
            .metadata
            .linux_resources
            .clone_from(&options.resources);
        exec.vertex().needs("exec.meta.setsdefaultpath");
        exec
    }

    /// The instruction, variables put in; those that hold secrets are shown as stars.
    fn run_name(
        &mut self,
        id: StageId,
        origin: &Origin,
        run: &Run,
        summary: &str,
        triggered: bool,
    ) -> String {
        let secrets = run.mounts.iter().filter_map(|mount| mount.env.as_ref());
        let mut env = Cow::Borrowed(&self.stages[id].state.env);
        for name in secrets {
            env.to_mut().set(name, "****");
        }
        let lexer: Lexer = self.lexer.raw_quotes().keep_unset();
        let text = names::shown(&lexer, &format!("{}{summary}", origin.code), &env);
        self.step_name(id, &text, triggered)
    }
}

fn content(file: &ShellFile) -> String {
    if file.strip_tabs {
        strip_leading_tabs(&file.content)
    } else {
        file.content.clone()
    }
}

/// Puts a command and its here-documents together again, for the shell to read.
fn with_documents(text: &str, files: &[ShellFile]) -> String {
    let mut command = text.to_owned();
    for file in files {
        command.push('\n');
        command.push_str(&file.content);
        command.push_str(&file.name);
    }
    command
}

/// Returns the first line, and says whether there are more.
fn summary(document: &str) -> String {
    let document = document.trim().replace("\r\n", "\n");
    match document.split_once('\n') {
        Some((first, _)) => format!("{first}..."),
        None => document,
    }
}

/// Returns the command for the history: `|2 A=1 B=2` in front if there are build arguments.
fn command_string(words: &[String], arguments: &Arguments, env: &Env) -> String {
    let mut parts = Vec::new();
    if !arguments.is_empty() {
        parts.push(format!("|{}", arguments.len()));
    }
    for (name, default) in arguments.in_order() {
        parts.push(format!("{name}={}", env.get(name).unwrap_or(default)));
    }
    parts.extend(words.iter().cloned());
    parts.join(" ")
}

/// Takes the proxies out of the build arguments, in either case of their names (row FDF-42).
fn proxies(arguments: &OptionMap) -> Option<pb::ProxyEnv> {
    let mut proxies = pb::ProxyEnv::default();
    let mut any = false;
    for (name, value) in arguments {
        let place = match name.to_lowercase().as_str() {
            "http_proxy" => &mut proxies.http_proxy,
            "https_proxy" => &mut proxies.https_proxy,
            "ftp_proxy" => &mut proxies.ftp_proxy,
            "no_proxy" => &mut proxies.no_proxy,
            "all_proxy" => &mut proxies.all_proxy,
            _ => continue,
        };
        place.clone_from(value);
        any = true;
    }
    any.then_some(proxies)
}
