//! The model of a copy: one thread, whole paths, every decision from the rules alone.

use lamina_fileops::CopyAction;
use lamina_fileops::CopyMode;
use lamina_fileops::Owner;
use lamina_fileops::UserRef;
use lamina_patterns::ParentMatch;
use lamina_patterns::PatternList;
use lamina_patterns::Wildcard;
use lamina_patterns::is_wildcard;
use lamina_types::RootedPath;

use super::tree::Content;
use super::tree::Files;
use super::tree::Node;
use super::tree::Refused;
use super::tree::join;
use super::tree::name;
use super::tree::parent;

/// Makes of `target` what the copy makes of it.
pub(super) fn run(action: &CopyAction, source: &Files, target: &mut Files) -> Result<(), Refused> {
    let mut copy = Copy {
        action,
        source,
        target,
        made: Vec::new(),
        include: PatternList::new(&action.include).expect("well formed"),
        exclude: PatternList::new(&action.exclude).expect("well formed"),
    };
    if !action.create_parents {
        let place = copy.target.resolve(&copy.destination(), true)?;
        copy.target.find(parent(&place)).ok_or(Refused)?;
    }
    for source in copy.sources()? {
        copy.copy(&source)?;
    }
    let Copy { target, made, .. } = copy;
    for path in made.iter().filter(|_| action.timestamp.is_some()) {
        let dir = target.0.get_mut(path).expect("made");
        dir.time = seconds(action);
    }
    Ok(())
}

struct Copy<'a> {
    action: &'a CopyAction,
    source: &'a Files,
    target: &'a mut Files,
    /// Directories on the way.
    made: Vec<String>,
    include: PatternList,
    exclude: PatternList,
}

/// Cleans a path and takes its first `/` away.
fn clean(text: &[u8]) -> String {
    RootedPath::new(text).to_string()[1..].to_owned()
}

fn seconds(action: &CopyAction) -> Option<i64> {
    action.timestamp.map(|time| time / 1_000_000_000)
}

fn owner(action: &CopyAction) -> Option<(u32, u32)> {
    let Owner { user, group } = action.owner.as_ref()?;
    let id = |user: &Option<UserRef>| match user {
        Some(UserRef::Id(id)) => Some(*id),
        _ => None,
    };
    let user = id(user);
    Some((user.unwrap_or(0), id(group).or(user).unwrap_or(0)))
}

/// What the symbolic modes of the strategy do.
fn symbolic(text: &str, mode: u32, is_dir: bool) -> u32 {
    match text {
        "go-w" => mode & !0o022,
        "a+x" => mode | 0o111,
        "u=rwX,go=rX" if is_dir || mode & 0o111 != 0 => mode & 0o1000 | 0o755,
        "u=rwX,go=rX" => mode & 0o1000 | 0o644,
        other => panic!("not modelled: {other}"),
    }
}

/// Asks for every directory on the way first: what those say decides with.
fn matches(list: &PatternList, relative: &str) -> bool {
    let ends = relative.match_indices('/').map(|(at, _)| at);
    let mut found = (false, ParentMatch::default());
    for end in ends.chain([relative.len()]) {
        found = list.matches(&relative.as_bytes()[..end], &found.1);
    }
    found.0
}

impl Copy<'_> {
    fn destination(&self) -> String {
        String::from_utf8_lossy(&self.action.destination).into_owned()
    }

    /// Tries the pattern on every path.
    fn sources(&self) -> Result<Vec<String>, Refused> {
        let text = clean(&self.action.source);
        if !self.action.allow_wildcard || !is_wildcard(text.as_bytes()) {
            return Ok(vec![text]);
        }
        let words: Vec<&str> = text.split('/').collect();
        let first = words.iter().position(|word| is_wildcard(word.as_bytes()));
        let (base, pattern) = words.split_at(first.expect("a pattern"));
        let base = self
            .source
            .resolve(&base.join("/"), self.action.follow_symlink)?;
        let pattern = Wildcard::new(pattern.join("/").as_bytes()).expect("well formed");
        if !self.source.find(&base).ok_or(Refused)?.is_dir() {
            return self.nothing(Vec::new());
        }
        let mut found: Vec<String> = Vec::new();
        let mut paths: Vec<&String> = self.source.0.keys().collect();
        paths.sort_by_key(|path| path.split('/').collect::<Vec<_>>());
        for path in paths {
            let inside = join(&base, "x").len() - 1;
            let below = base.is_empty() || path.starts_with(&format!("{base}/"));
            if below && pattern.matches(&path.as_bytes()[inside..]) {
                found.push(path.clone());
            }
        }
        self.nothing(found)
    }

    fn nothing(&self, found: Vec<String>) -> Result<Vec<String>, Refused> {
        match found.is_empty() && !self.action.allow_empty_wildcard {
            true => Err(Refused),
            false => Ok(found),
        }
    }

    fn make_all(&mut self, path: &str) -> Result<(), Refused> {
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([path.len()]).filter(|end| *end > 0) {
            let dir = &path[..end];
            match self.target.get(dir) {
                Some(node) if node.is_dir() => {}
                Some(_) => return Err(Refused),
                None => {
                    let mode = match self.action.mode {
                        CopyMode::Bits(bits) => bits & 0o777,
                        _ => 0o755,
                    };
                    // A set-group-id directory passes its group and the bit on.
                    let above = self.target.get(parent(dir)).expect("made before");
                    let group = if above.mode & 0o2000 != 0 {
                        above.owner.1
                    } else {
                        0
                    };
                    let made = Node {
                        content: Content::Dir,
                        mode: mode | above.mode & 0o2000,
                        owner: owner(self.action).unwrap_or((0, group)),
                        time: None,
                    };
                    self.target.put(dir, made);
                    self.made.push(dir.to_owned());
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, source: &str) -> Result<(), Refused> {
        let from = self.source.resolve(source, self.action.follow_symlink)?;
        let node = self.source.find(&from).ok_or(Refused)?;
        let text = self.destination();
        let cleaned = clean(text.as_bytes());
        let needed = match text.ends_with('/') {
            true => &cleaned,
            false => parent(&cleaned),
        };
        let needed = self.target.resolve(needed, true)?;
        self.make_all(&needed)?;
        let mut place = self.target.resolve(&cleaned, true)?;
        let there = self.target.find(&place);
        let into = match node.is_dir() {
            true => there.is_some() && !self.action.directory_contents,
            false => there.as_ref().is_some_and(Node::is_dir),
        };
        if into {
            place = join(&place, name(&clean(source.as_bytes())));
        }
        let spread = node.is_dir() && self.action.directory_contents && there.is_none();
        self.make_all(if spread { &place } else { parent(&place) })?;
        if place.is_empty() && !node.is_dir() {
            return Err(Refused);
        }
        self.put(&from, &node, &place, "", true)
    }

    /// Copies `node`, which is at `from`, to `place`; `relative` is its path below what is copied.
    fn put(
        &mut self,
        from: &str,
        node: &Node,
        place: &str,
        relative: &str,
        included: bool,
    ) -> Result<(), Refused> {
        let there = self.target.get(place);
        if !node.is_dir() {
            if let Some(there) = there {
                if there.is_dir() && !self.action.replace_existing {
                    return Err(Refused);
                }
                self.target.remove(place);
            }
            self.target.put(place, self.changed(node));
            return Ok(());
        }
        let mut existed = there.is_some();
        if there.is_some_and(|there| !there.is_dir()) {
            if !self.action.replace_existing || !included {
                return Err(Refused);
            }
            self.target.remove(place);
            existed = false;
        }
        if !existed {
            self.target.put(place, self.changed(node));
        }
        self.inside(from, place, relative)?;
        self.finish(node, place, relative, existed, included);
        Ok(())
    }

    fn inside(&mut self, from: &str, place: &str, relative: &str) -> Result<(), Refused> {
        let source = self.source;
        let children = source.0.iter().filter(|(path, _)| parent(path) == from);
        for (path, child) in children.filter(|(path, _)| !path.is_empty()) {
            let below = join(relative, name(path));
            let included = self.is_included(&below);
            let needed = || {
                source
                    .0
                    .keys()
                    .any(|deep| self.is_included_below(deep, path, &below))
            };
            if included || child.is_dir() && needed() {
                self.put(path, child, &join(place, name(path)), &below, included)?;
            }
        }
        Ok(())
    }

    fn is_included(&self, relative: &str) -> bool {
        let included = self.include.is_empty() || matches(&self.include, relative);
        included && !matches(&self.exclude, relative)
    }

    /// Says whether `deep` is copied and below `path`, which is `relative` in the copy.
    fn is_included_below(&self, deep: &str, path: &str, relative: &str) -> bool {
        let rest = deep
            .strip_prefix(path)
            .and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| self.is_included(&join(relative, rest)))
    }

    /// The metadata of the copy of `node`.
    fn changed(&self, node: &Node) -> Node {
        let is_link = matches!(node.content, Content::Link(_));
        let mode = match &self.action.mode {
            _ if is_link => node.mode,
            CopyMode::Keep => node.mode,
            CopyMode::Bits(bits) => *bits,
            CopyMode::Symbolic(text) => symbolic(text, node.mode, node.is_dir()),
        };
        Node {
            content: node.content.clone(),
            mode,
            owner: owner(self.action).unwrap_or(node.owner),
            time: seconds(self.action).or(node.time),
        }
    }

    /// What a directory takes over once all inside is copied.
    fn finish(&mut self, node: &Node, place: &str, relative: &str, existed: bool, included: bool) {
        let changed = self.changed(node);
        let Some(dir) = self.target.0.get_mut(place) else {
            return;
        };
        match (existed, relative.is_empty(), included) {
            (false, _, _) | (true, false, true) => *dir = changed,
            (true, true, _) => dir.time = changed.time,
            (true, false, false) => dir.mode = node.mode,
        }
    }
}
