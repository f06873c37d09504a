//! File operations: copies, new files and directories.

use lamina_proto::pb;
use lamina_proto::pb::file_action::Action;

use crate::graph::NONE;
use crate::graph::Output;
use crate::graph::Vertex;
use crate::paths;

/// Times that are not set are those of the build.
const NO_TIME: i64 = -1;

/// A chain of actions on one tree.
#[derive(Debug)]
pub(crate) struct FileBuilder {
    vertex: Vertex,
    base: Option<Output>,
    actions: Vec<(i64, Action)>,
}

/// How files are copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct CopyOptions {
    pub(crate) owner: Option<pb::ChownOpt>,
    /// Octal mode; `None` keeps the files' own.
    pub(crate) mode: Option<u32>,
    /// Symbolic mode; wins over `mode` if not empty.
    pub(crate) symbolic_mode: String,
    pub(crate) excludes: Vec<String>,
    pub(crate) includes: Vec<String>,
    pub(crate) required: Vec<String>,
    pub(crate) unpack: bool,
    /// The source is a path of the user: links are followed, directories give their contents, and
    /// wildcards may match nothing.
    pub(crate) user_path: bool,
}

impl FileBuilder {
    /// Starts from `base`.
    pub(crate) fn new(base: Option<Output>) -> Self {
        let mut vertex = Vertex::new(pb::op::Op::File(pb::FileOp::default()));
        vertex.needs("file.base");
        vertex.input(base);
        Self {
            vertex,
            base,
            actions: Vec::new(),
        }
    }

    /// Says why `source` of another tree is missing, should it be so.
    pub(crate) fn explain_missing(&mut self, source: &str, reason: String) {
        let path = paths::clean(&paths::join("/", source));
        self.vertex
            .describe(&lamina_llb::missing_key(&path), reason);
    }

    /// Copies `source` of another tree to `destination`, which is absolute.
    pub(crate) fn copy(
        &mut self,
        from: Option<Output>,
        source: &str,
        destination: &str,
        options: CopyOptions,
    ) {
        self.note_caps(&options);
        let secondary = self.vertex.input(from);
        let mode = options
            .mode
            .map_or(-1, |mode| i32::try_from(mode).unwrap_or(-1));
        let copy = pb::FileActionCopy {
            src: paths::join("/", source),
            dest: paths::clean_destination(destination),
            owner: options.owner,
            mode: if options.symbolic_mode.is_empty() {
                mode
            } else {
                0
            },
            mode_str: options.symbolic_mode,
            follow_symlink: options.user_path,
            dir_copy_contents: options.user_path,
            allow_wildcard: options.user_path,
            allow_empty_wildcard: options.user_path,
            attempt_unpack_docker_compatibility: options.unpack,
            create_dest_path: true,
            timestamp: NO_TIME,
            include_patterns: options.includes,
            exclude_patterns: options.excludes,
            required_paths: options.required,
            always_replace_existing_dest_paths: false,
        };
        self.actions.push((secondary, Action::Copy(copy)));
    }

    fn note_caps(&mut self, options: &CopyOptions) {
        let patterns = !options.includes.is_empty() || !options.excludes.is_empty();
        for (used, cap) in [
            (patterns, "file.copy.includeexcludepatterns"),
            (!options.required.is_empty(), "file.copy.requiredpaths"),
            (!options.symbolic_mode.is_empty(), "file.copy.modestring"),
        ] {
            if used {
                self.vertex.needs(cap);
            }
        }
    }

    /// Makes a file.
    pub(crate) fn make_file(&mut self, path: &str, mode: i32, data: &[u8]) {
        let file = pb::FileActionMkFile {
            path: paths::join("/", path),
            mode,
            data: data.to_vec(),
            owner: None,
            timestamp: NO_TIME,
        };
        self.actions.push((NONE, Action::Mkfile(file)));
    }

    /// Makes a directory; `time` is in nanoseconds since 1970.
    pub(crate) fn make_dir(
        &mut self,
        path: &str,
        mode: i32,
        owner: Option<pb::ChownOpt>,
        parents: bool,
        time: Option<i64>,
    ) {
        let dir = pb::FileActionMkDir {
            path: paths::join("/", path),
            mode,
            make_parents: parents,
            owner,
            timestamp: time.unwrap_or(NO_TIME),
        };
        self.actions.push((NONE, Action::Mkdir(dir)));
    }

    /// Returns the vertex; each action works on the result of the one before.
    pub(crate) fn finish(mut self) -> Vertex {
        let inputs = i64::try_from(self.vertex.inputs.len()).unwrap_or(i64::MAX);
        let base = if self.base.is_some() { 0 } else { NONE };
        let last = self.actions.len().saturating_sub(1);
        let mut actions = Vec::new();
        for (index, (secondary_input, action)) in self.actions.into_iter().enumerate() {
            let before = i64::try_from(index).unwrap_or(i64::MAX) - 1;
            actions.push(pb::FileAction {
                input: if index == 0 { base } else { inputs + before },
                secondary_input,
                output: if index == last { 0 } else { NONE },
                action: Some(with_name_input(action, base)),
            });
        }
        self.vertex.op = pb::op::Op::File(pb::FileOp { actions });
        self.vertex
    }
}

/// Owners by name are looked up in the tree that is worked on.
fn with_name_input(mut action: Action, base: i64) -> Action {
    let owner = match &mut action {
        Action::Copy(copy) => &mut copy.owner,
        Action::Mkdir(dir) => &mut dir.owner,
        _ => return action,
    };
    let sides = owner
        .iter_mut()
        .flat_map(|owner| [&mut owner.user, &mut owner.group]);
    for side in sides.flatten() {
        if let Some(pb::user_opt::User::ByName(name)) = &mut side.user {
            name.input = base;
        }
    }
    action
}

/// Reads `user[:group]`; numbers and `root` need no look-up.
pub(crate) fn owner(text: &str) -> pb::ChownOpt {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    pb::ChownOpt {
        user: Some(user_or_group(user)),
        group: group.map(user_or_group),
    }
}

fn user_or_group(text: &str) -> pb::UserOpt {
    use pb::user_opt::User;
    let id = match text {
        "" | "root" => Some(0),
        text => text.parse::<i32>().ok().map(i32::cast_unsigned),
    };
    let user = id.map_or_else(
        || {
            User::ByName(pb::NamedUserOpt {
                name: text.to_owned(),
                input: NONE,
            })
        },
        User::ById,
    );
    pb::UserOpt { user: Some(user) }
}
