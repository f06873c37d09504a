//! Trees that frontends are reading, with the answers that they have been given.
//!
//! The tree of a reference never changes, so an answer is good for ever. Frontends ask for the same
//! few files again and again; what is remembered is answered without a look at the disk. Both the
//! number of trees, which hold their layers' directories open, and the size of what is remembered
//! are bounded.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use lamina_snapshotter::Tree;
use lamina_types::Stat;

use crate::Reference;
use crate::Snapshot;

/// Trees of one build that are kept open.
const MAX_TREES: usize = 8;
/// Bytes of all questions and answers of one kind that are remembered of one tree.
const MAX_BYTES: usize = 1 << 20;
/// Bytes of a question and its answer that are too many to be remembered.
const MAX_ANSWER_BYTES: usize = MAX_BYTES / 4;
/// What an answer takes beside its content.
const OVERHEAD_BYTES: usize = 128;

/// The trees of one build that were read last.
#[derive(Default)]
pub(super) struct Views(Mutex<VecDeque<(Reference, Arc<View>)>>);

impl Views {
    /// Returns the view of `reference`, whose tree is `snapshot`.
    pub(super) fn of(&self, reference: &Reference, snapshot: &Snapshot) -> Arc<View> {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = views.iter().position(|(known, _)| known.is(reference));
        let view = match known.and_then(|at| views.remove(at)) {
            Some((_, view)) => view,
            None => Arc::new(View::new(snapshot.stack().tree())),
        };
        views.push_front((reference.clone(), Arc::clone(&view)));
        views.truncate(MAX_TREES);
        view
    }
}

/// A path, and which bytes of the file there.
pub(super) type FileQuestion = (String, Option<(u64, u64)>);
/// A path, and the pattern of the names in it.
pub(super) type DirQuestion = (String, Option<String>);
/// A name, and what has it.
pub(super) type Named = (Vec<u8>, Stat);

/// A tree that is read.
pub(super) struct View {
    pub(super) tree: Tree,
    pub(super) files: Memo<FileQuestion, Vec<u8>>,
    pub(super) dirs: Memo<DirQuestion, Vec<Named>>,
    /// By path.
    pub(super) stats: Memo<String, Named>,
}

impl View {
    fn new(tree: Tree) -> Self {
        Self {
            tree,
            files: Memo::default(),
            dirs: Memo::default(),
            stats: Memo::default(),
        }
    }
}

/// Says about how many bytes of memory a question or an answer takes.
pub(super) trait Weigh {
    fn bytes(&self) -> usize;
}

impl Weigh for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Weigh for FileQuestion {
    fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl Weigh for DirQuestion {
    fn bytes(&self) -> usize {
        self.0.len() + self.1.as_ref().map_or(0, String::len)
    }
}

impl Weigh for Vec<u8> {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Weigh for Named {
    fn bytes(&self) -> usize {
        let (name, stat) = self;
        let xattrs = stat
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len());
        OVERHEAD_BYTES + name.len() + stat.link_target.len() + xattrs.sum::<usize>()
    }
}

impl Weigh for Vec<Named> {
    fn bytes(&self) -> usize {
        self.iter().map(Weigh::bytes).sum()
    }
}

/// Answers to questions, up to [`MAX_BYTES`]; all are forgotten when there are more.
pub(super) struct Memo<K, T>(Mutex<Answers<K, T>>);

struct Answers<K, T> {
    known: HashMap<K, T>,
    bytes: usize,
}

impl<K, T> Default for Memo<K, T> {
    fn default() -> Self {
        Self(Mutex::new(Answers {
            known: HashMap::new(),
            bytes: 0,
        }))
    }
}

impl<K: Eq + Hash + Weigh, T: Clone + Weigh> Memo<K, T> {
    pub(super) fn get(&self, question: &K) -> Option<T> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.known.get(question).cloned()
    }

    /// Remembers an answer. Questions count too: they may be long where answers are short.
    pub(super) fn put(&self, question: K, answer: &T) {
        let bytes = question.bytes() + answer.bytes() + OVERHEAD_BYTES;
        if bytes > MAX_ANSWER_BYTES {
            return;
        }
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.bytes + bytes > MAX_BYTES {
            answers.known.clear();
            answers.bytes = 0;
        }
        if answers.known.insert(question, answer.clone()).is_none() {
            answers.bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(number: usize) -> String {
        number.to_string()
    }

    #[test]
    fn answers_are_remembered_within_bounds() {
        let memo: Memo<String, Vec<u8>> = Memo::default();
        memo.put(question(0), &vec![7; 10]);
        assert_eq!(memo.get(&question(0)), Some(vec![7; 10]));
        memo.put(question(1), &vec![7; MAX_ANSWER_BYTES]);
        assert_eq!(memo.get(&question(1)), None, "too large");
        for number in 2..20 {
            memo.put(question(number), &vec![7; MAX_ANSWER_BYTES / 2]);
            assert!(held(&memo) <= MAX_BYTES);
        }
        assert_eq!(memo.get(&question(0)), None, "forgotten");
        assert!(memo.get(&question(19)).is_some());
    }

    fn held<K: Weigh, T: Weigh>(memo: &Memo<K, T>) -> usize {
        let answers = memo.0.lock().expect("not poisoned");
        let pairs = answers.known.iter();
        pairs.map(|(k, t)| k.bytes() + t.bytes()).sum()
    }

    #[test]
    fn long_questions_with_short_answers_are_bounded_too() {
        let memo: Memo<DirQuestion, Vec<Named>> = Memo::default();
        let half = MAX_ANSWER_BYTES / 2 - OVERHEAD_BYTES;
        for number in 0..20 {
            let path = format!("{number}{}", "x".repeat(half - 2));
            memo.put((path.clone(), Some(path)), &Vec::new());
            assert!(held(&memo) <= MAX_BYTES);
        }
        assert!(held(&memo) > 0);
        let long = "x".repeat(MAX_ANSWER_BYTES);
        memo.put((long.clone(), None), &Vec::new());
        assert_eq!(memo.get(&(long, None)).map(|names| names.len()), None);
    }

    #[test]
    fn few_trees_are_kept_open() {
        let views = Views::default();
        let scratch = Snapshot::default();
        let references: Vec<Reference> =
            (0..20).map(|_| Reference::fixed(scratch.clone())).collect();
        for reference in &references {
            let first = views.of(reference, &scratch);
            let again = views.of(reference, &scratch);
            assert!(Arc::ptr_eq(&first, &again));
        }
        assert_eq!(views.0.lock().expect("not poisoned").len(), MAX_TREES);
    }
}
