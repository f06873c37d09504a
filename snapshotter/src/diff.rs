//! The difference of two stacks, as a stack.
//!
//! If the upper extends the lower, the difference is the rest of the list and costs nothing. Otherwise
//! a layer is computed by walking both trees, without mounting or reading more than is in doubt: what
//! changed is linked into it, what disappeared becomes a whiteout, and the directories that lead there
//! are implied parents (rows OPS-06, OPS-07).

use std::cell::OnceCell;
use std::rc::Rc;

use lamina_types::CancelToken;

use crate::LayerStack;
use crate::MetadataChange;
use crate::SnapshotError;
use crate::SnapshotStore;
use crate::Upper;
use crate::WriteDir;
use crate::compare;
use crate::copy::Placer;
use crate::copy::Times;
use crate::seal::same_directory;
use crate::tree::Entry;

impl SnapshotStore {
    /// Returns what turns `lower` into `upper`: nothing if they are equal, all of `upper` if `lower` is
    /// empty, the rest of it if it starts with `lower`, else at most one computed layer.
    ///
    /// # Errors
    /// I/O errors, [`SnapshotError::Cancelled`].
    pub fn diff(
        &self,
        lower: &LayerStack,
        upper: &LayerStack,
        cancel: &CancelToken,
    ) -> Result<LayerStack, SnapshotError> {
        if let Some(rest) = suffix(lower, upper) {
            return Ok(rest);
        }
        let active = self.prepare(&LayerStack::empty())?;
        let (before, after) = (lower.tree().root()?, upper.tree().root()?);
        let changed = Differ::new(active.writer(), cancel).run(before, after)?;
        match changed {
            true => Ok(LayerStack::new([active.commit(cancel)?])),
            false => Ok(LayerStack::empty()),
        }
    }
}

/// Returns what `upper` has on top of `lower`, if it starts with it.
fn suffix(lower: &LayerStack, upper: &LayerStack) -> Option<LayerStack> {
    let (below, above) = (lower.ids(), upper.ids());
    let rest = above.strip_prefix(below.as_slice())?;
    let start = above.len() - rest.len();
    Some(LayerStack::new(upper.layers()[start..].iter().cloned()))
}

/// A directory of the upper tree, and of the new layer once something has to be put into it.
struct Place {
    parent: Option<Rc<Self>>,
    after: Entry,
    made: OnceCell<WriteDir>,
}

/// A directory that is still to be compared; looked up late, since there may be very many.
struct Job {
    parent: Rc<Place>,
    /// What the lower tree has in place of the parent; without it, all of the parent is new.
    parent_before: Option<Entry>,
    name: Vec<u8>,
}

struct Differ<'a> {
    cancel: &'a CancelToken,
    upper: Upper,
    placer: Placer,
    times: Times,
    todo: Vec<Job>,
    changed: bool,
}

impl<'a> Differ<'a> {
    fn new(upper: Upper, cancel: &'a CancelToken) -> Self {
        Self {
            cancel,
            upper,
            placer: Placer::default(),
            times: Times::default(),
            todo: Vec::new(),
            changed: false,
        }
    }

    /// Writes the whole difference; says whether there is any.
    fn run(mut self, before: Entry, after: Entry) -> Result<bool, SnapshotError> {
        let root = self.upper.root()?;
        root.imply(after.stat())?;
        self.times.note(&root, after.stat());
        let top = Place {
            parent: None,
            after,
            made: OnceCell::from(root),
        };
        self.compare_directories(Some(before), Rc::new(top))?;
        while let Some(job) = self.todo.pop() {
            self.cancel.check()?;
            self.compare_child(job)?;
        }
        self.times.restore(&self.upper)?;
        Ok(self.changed)
    }

    fn compare_child(&mut self, job: Job) -> Result<(), SnapshotError> {
        let after = job.parent.after.child(&job.name)?;
        let before = match &job.parent_before {
            Some(before) => before.find_child(&job.name)?,
            None => None,
        };
        let place = Place {
            parent: Some(job.parent),
            after,
            made: OnceCell::new(),
        };
        let before = before.filter(|before| before.stat().is_dir());
        self.compare_directories(before, Rc::new(place))
    }

    fn compare_directories(
        &mut self,
        before: Option<Entry>,
        place: Rc<Place>,
    ) -> Result<(), SnapshotError> {
        let Some(before) = before else {
            self.make_explicit(&place)?;
            return self.compare_content(None, &place);
        };
        if before.merges_same_layers(&place.after)? {
            return Ok(());
        }
        if !same_directory(before.stat(), place.after.stat()) {
            self.make_explicit(&place)?;
        }
        self.write_deletions(&before, &place)?;
        self.compare_content(Some(before), &place)
    }

    fn write_deletions(&mut self, before: &Entry, place: &Place) -> Result<(), SnapshotError> {
        let kept = place.after.read_dir()?;
        for name in before.read_dir()? {
            if kept.binary_search(&name).is_err() {
                self.changed = true;
                self.open(place)?.whiteout(&name)?;
            }
        }
        Ok(())
    }

    /// Compares the files of a directory, and leaves the directories in it for later.
    fn compare_content(
        &mut self,
        before: Option<Entry>,
        place: &Rc<Place>,
    ) -> Result<(), SnapshotError> {
        for name in place.after.read_dir()? {
            let after = place.after.child(&name)?;
            if after.stat().is_dir() {
                self.todo.push(Job {
                    parent: Rc::clone(place),
                    parent_before: before.clone(),
                    name,
                });
                continue;
            }
            let old = match &before {
                Some(before) => before.find_child(&name)?,
                None => None,
            };
            self.compare_file(place, &name, old, &after)?;
        }
        Ok(())
    }

    fn compare_file(
        &mut self,
        place: &Place,
        name: &[u8],
        before: Option<Entry>,
        after: &Entry,
    ) -> Result<(), SnapshotError> {
        let before = before.filter(|before| !before.stat().is_dir());
        if let Some(before) = before
            && compare::same_file(&before, after, self.cancel)?
        {
            return Ok(());
        }
        self.changed = true;
        let dir = self.open(place)?;
        self.placer.place(&dir, name, after)
    }

    fn make_explicit(&mut self, place: &Place) -> Result<(), SnapshotError> {
        self.changed = true;
        let dir = self.open(place)?;
        dir.set_own_metadata(&MetadataChange::all_of(place.after.stat()))
    }

    /// Returns the directory of the new layer, making it, and those that lead to it, as implied.
    fn open(&mut self, place: &Place) -> Result<WriteDir, SnapshotError> {
        if let Some(made) = place.made.get() {
            return Ok(made.clone());
        }
        let parent = place.parent.as_ref().expect("the root is made at first");
        let parent = self.open(parent)?;
        let stat = place.after.stat();
        let name = place.after.path().file_name().unwrap_or_default();
        let dir = parent.make_implied_dir(name, stat.mode)?;
        dir.imply(stat)?;
        self.times.note(&dir, stat);
        Ok(place.made.get_or_init(|| dir).clone())
    }
}
