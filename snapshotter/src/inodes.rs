//! Sets of inode numbers in little memory.

use std::collections::HashMap;

/// Numbers in one page.
const PAGE: u64 = 256;

/// A set of inode numbers.
///
/// File systems hand numbers out in order, so those of a tree lie close together: a page of a bit for
/// each costs some bits for a file, where a table of numbers and names would cost hundreds of bytes.
#[derive(Default)]
pub(crate) struct InodeSet {
    pages: HashMap<u64, [u64; 4]>,
}

impl InodeSet {
    /// Adds a number; says whether it is new.
    pub(crate) fn insert(&mut self, inode: u64) -> bool {
        let (word, bit) = place(inode);
        let word = &mut self.pages.entry(inode / PAGE).or_default()[word];
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Removes a number; says whether it was there.
    pub(crate) fn remove(&mut self, inode: u64) -> bool {
        let (word, bit) = place(inode);
        let Some(page) = self.pages.get_mut(&(inode / PAGE)) else {
            return false;
        };
        let was_there = page[word] & bit != 0;
        page[word] &= !bit;
        if page.iter().all(|&word| word == 0) {
            self.pages.remove(&(inode / PAGE));
        }
        was_there
    }

    pub(crate) fn contains(&self, inode: u64) -> bool {
        let (word, bit) = place(inode);
        let page = self.pages.get(&(inode / PAGE));
        page.is_some_and(|page| page[word] & bit != 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

/// Returns the word of a number in its page, and its bit there.
fn place(inode: u64) -> (usize, u64) {
    let within = inode % PAGE;
    (
        usize::try_from(within / 64).unwrap_or(0),
        1 << (within % 64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_and_go() {
        let numbers = [0, 1, 63, 64, 255, 256, 1 << 40, u64::MAX];
        let mut set = InodeSet::default();
        for number in numbers {
            assert!(!set.contains(number));
            assert!(set.insert(number));
            assert!(!set.insert(number));
        }
        assert!(!set.contains(2) && !set.remove(2));
        for number in numbers {
            assert!(set.contains(number) && set.remove(number));
            assert!(!set.contains(number) && !set.remove(number));
        }
        assert!(set.is_empty());
    }

    #[test]
    fn a_file_costs_less_than_a_byte() {
        let mut set = InodeSet::default();
        (0..1_000_000).for_each(|number| assert!(set.insert(5_000_000 + number)));
        let bytes = set.pages.capacity() * size_of::<(u64, [u64; 4])>();
        assert!(bytes < 1_000_000, "{bytes}");
    }
}
