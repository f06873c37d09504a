//! Who uses which cache directory: no I/O here.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::CacheKey;
use super::CacheMountUsage;
use super::usage::Uses;
use crate::model::CacheSharing;

/// All directories by number.
pub(super) struct Pool {
    slots: BTreeMap<u64, Slot>,
    next: u64,
}

struct Slot {
    key: CacheKey,
    users: Users,
    /// Not given to anybody any more; removed when the last user is done.
    doomed: bool,
    /// On disk; until then only the one who makes it uses it.
    complete: bool,
    uses: Uses,
    /// Bytes on disk; forgotten with every use.
    size: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Users {
    None,
    One,
    Sharing(usize),
}

/// What [`Pool::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// This directory, which exists.
    Existing(u64),
    /// A number for a directory that the caller has to make.
    New(u64),
    /// The caller has to wait for a change.
    Busy,
}

impl Pool {
    pub(super) fn new(found: BTreeMap<u64, (CacheKey, Uses)>) -> Self {
        let next = found.keys().next_back().map_or(0, |last| last + 1);
        let slot = |(key, uses)| Slot {
            key,
            users: Users::None,
            doomed: false,
            complete: true,
            uses,
            size: None,
        };
        Self {
            slots: found
                .into_iter()
                .map(|(n, found)| (n, slot(found)))
                .collect(),
            next,
        }
    }

    /// Takes a directory of `key` that `sharing` allows to use: one that is shared already, else
    /// the first idle one, else a new one.
    pub(super) fn take(&mut self, key: &CacheKey, sharing: CacheSharing) -> Taken {
        if let Some(number) = self.find(key, |slot| slot.can_join(sharing)) {
            return self.enter(number, sharing);
        }
        if let Some(number) = self.find(key, |slot| slot.users == Users::None) {
            return self.enter(number, sharing);
        }
        if self.find(key, |slot| slot.must_wait(sharing)).is_some() {
            return Taken::Busy;
        }
        Taken::New(self.add(key, sharing))
    }

    fn find(&self, key: &CacheKey, wanted: impl Fn(&Slot) -> bool) -> Option<u64> {
        let fits = |slot: &Slot| slot.key == *key && !slot.doomed && wanted(slot);
        let found = self.slots.iter().find(|(_, slot)| fits(slot));
        found.map(|(&number, _)| number)
    }

    fn enter(&mut self, number: u64, sharing: CacheSharing) -> Taken {
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.users = match slot.users {
                Users::Sharing(count) => Users::Sharing(count + 1),
                _ => Users::first(sharing),
            };
        }
        Taken::Existing(number)
    }

    fn add(&mut self, key: &CacheKey, sharing: CacheSharing) -> u64 {
        let number = self.next;
        self.next += 1;
        let slot = Slot {
            key: key.clone(),
            users: Users::first(sharing),
            doomed: false,
            complete: false,
            uses: Uses::new(SystemTime::now()),
            size: None,
        };
        self.slots.insert(number, slot);
        number
    }

    pub(super) fn complete(&mut self, number: u64) {
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.complete = true;
        }
    }

    /// Gives a directory back; says whether it is to be removed from disk.
    pub(super) fn release(&mut self, number: u64) -> bool {
        let Some(slot) = self.slots.get_mut(&number) else {
            return false;
        };
        if let Users::Sharing(count @ 2..) = slot.users {
            slot.users = Users::Sharing(count - 1);
            return false;
        }
        slot.users = Users::None;
        slot.uses.note(SystemTime::now());
        slot.size = None;
        if slot.doomed || !slot.complete {
            let complete = slot.complete;
            self.slots.remove(&number);
            return complete;
        }
        false
    }

    /// Returns when and how often a directory was used.
    pub(super) fn uses(&self, number: u64) -> Option<Uses> {
        self.slots.get(&number).map(|slot| slot.uses)
    }

    /// Describes the directories that are on disk.
    pub(super) fn usage(&self) -> Vec<CacheMountUsage> {
        let complete = self.slots.iter().filter(|(_, slot)| slot.complete);
        let usage = |(&number, slot): (&u64, &Slot)| CacheMountUsage {
            number,
            id: slot.key.id.clone(),
            in_use: slot.users != Users::None,
            bytes: slot.size,
            uses: slot.uses,
        };
        complete.map(usage).collect()
    }

    /// Remembers what a directory takes, if nobody uses it and nobody has since it was `seen`.
    pub(super) fn set_size(&mut self, number: u64, bytes: u64, seen: &Uses) {
        if let Some(slot) = self.slots.get_mut(&number)
            && slot.users == Users::None
            && slot.uses == *seen
        {
            slot.size = Some(bytes);
        }
    }

    /// Forgets a directory that nobody uses; says whether it did.
    pub(super) fn forget(&mut self, number: u64) -> bool {
        let idle = |slot: &Slot| slot.users == Users::None && slot.complete;
        let forgotten = self.slots.get(&number).is_some_and(idle);
        if forgotten {
            self.slots.remove(&number);
        }
        forgotten
    }

    /// Dooms the directories with this id; returns those that can be removed at once.
    pub(super) fn doom(&mut self, id: &str, seeded: bool) -> Vec<u64> {
        let matching = |slot: &Slot| slot.key.id == id && slot.key.seed.is_some() == seeded;
        let mut free = Vec::new();
        self.slots.retain(|&number, slot| {
            slot.doomed |= matching(slot);
            let remove = slot.doomed && slot.users == Users::None;
            if remove {
                free.push(number);
            }
            !remove
        });
        free
    }
}

impl Slot {
    fn can_join(&self, sharing: CacheSharing) -> bool {
        matches!(self.users, Users::Sharing(_)) && sharing == CacheSharing::Shared && self.complete
    }

    /// A locked user waits for any other; a shared one for a directory that will soon be shared.
    fn must_wait(&self, sharing: CacheSharing) -> bool {
        sharing == CacheSharing::Locked
            || sharing == CacheSharing::Shared && matches!(self.users, Users::Sharing(_))
    }
}

impl Users {
    fn first(sharing: CacheSharing) -> Self {
        match sharing {
            CacheSharing::Shared => Self::Sharing(1),
            CacheSharing::Private | CacheSharing::Locked => Self::One,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CacheSharing::Locked;
    use super::CacheSharing::Private;
    use super::CacheSharing::Shared;
    use super::*;

    fn key() -> CacheKey {
        CacheKey {
            id: "id".to_owned(),
            seed: None,
        }
    }

    /// A pool with one idle directory, number 0.
    fn pool() -> Pool {
        Pool::new([(0, (key(), Uses::new(SystemTime::now())))].into())
    }

    #[test]
    fn an_idle_directory_is_reused_by_every_mode() {
        for sharing in [Shared, Private, Locked] {
            assert_eq!(pool().take(&key(), sharing), Taken::Existing(0));
        }
    }

    #[test]
    fn what_a_second_user_gets() {
        for (first, second, taken) in [
            (Shared, Shared, Taken::Existing(0)),
            (Shared, Private, Taken::New(1)),
            (Shared, Locked, Taken::Busy),
            (Private, Shared, Taken::New(1)),
            (Private, Private, Taken::New(1)),
            (Private, Locked, Taken::Busy),
            (Locked, Shared, Taken::New(1)),
            (Locked, Private, Taken::New(1)),
            (Locked, Locked, Taken::Busy),
        ] {
            let mut pool = pool();
            assert_eq!(pool.take(&key(), first), Taken::Existing(0));
            assert_eq!(
                pool.take(&key(), second),
                taken,
                "{first:?} then {second:?}"
            );
        }
    }

    #[test]
    fn a_released_directory_is_idle_again_when_the_last_user_left() {
        let mut pool = pool();
        pool.take(&key(), Shared);
        pool.take(&key(), Shared);
        assert!(!pool.release(0));
        assert_eq!(pool.take(&key(), Locked), Taken::Busy);
        assert!(!pool.release(0));
        assert_eq!(pool.take(&key(), Locked), Taken::Existing(0));
    }

    #[test]
    fn an_unfinished_directory_is_forgotten_and_not_joined() {
        let mut pool = Pool::new(BTreeMap::new());
        assert_eq!(pool.take(&key(), Shared), Taken::New(0));
        assert_eq!(pool.take(&key(), Shared), Taken::Busy);
        assert!(!pool.release(0), "there is nothing on disk yet");
        assert_eq!(pool.take(&key(), Shared), Taken::New(1));
        pool.complete(1);
        assert_eq!(pool.take(&key(), Shared), Taken::Existing(1));
    }

    #[test]
    fn only_idle_directories_are_forgotten() {
        let mut pool = pool();
        pool.take(&key(), Shared);
        assert!(pool.usage()[0].in_use);
        let before = pool.usage()[0].uses;
        pool.set_size(0, 7, &before);
        assert!(!pool.forget(0), "in use");
        pool.release(0);
        assert_eq!(pool.usage()[0].bytes, None, "unknown after a use");
        assert_eq!(pool.usage()[0].uses.count, 1);
        pool.set_size(0, 7, &before);
        assert_eq!(pool.usage()[0].bytes, None, "counted before that use");
        let since = pool.usage()[0].uses;
        pool.set_size(0, 7, &since);
        assert_eq!(pool.usage()[0].bytes, Some(7));
        assert!(pool.forget(0));
        assert!(!pool.forget(0));
        assert_eq!(
            pool.take(&key(), Shared),
            Taken::New(1),
            "a new one is made"
        );
    }

    #[test]
    fn doomed_directories_go_when_their_users_do() {
        let mut pool = pool();
        assert!(pool.doom("id", true).is_empty(), "another kind");
        assert!(pool.doom("other", false).is_empty(), "another id");
        pool.take(&key(), Private);
        assert!(pool.doom("id", false).is_empty(), "in use");
        assert_eq!(pool.take(&key(), Private), Taken::New(1));
        pool.complete(1);
        assert!(pool.release(0));
        assert!(!pool.release(1));
        assert_eq!(pool.doom("id", false), [1]);
    }
}
