//! The contract of `Mounter`: the same checks on every backend, as root and in a user namespace.
//!
//! FUSE is tried on a store that keeps owners in attributes as well, the only backend that mounts those.
//! A backend that does not work here is skipped with its reason. `userns.rs` runs the whole suite once
//! more as root of a user namespace.

mod acl;
mod files;
mod links;
pub(crate) mod place;
mod stores;
mod suites;
mod trees;
mod views;

use std::sync::Arc;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Backend;
use lamina_snapshotter::DetachedMount;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter;
use lamina_snapshotter::Owners;
use lamina_snapshotter::choose;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::picture;
use crate::support::skipped;

macro_rules! mounter_suite {
    ($($backend:ident => $kind:expr),+ $(,)?) => {
        $(mod $backend {
            mounter_suite! { @checks $kind;
                acl::a_list_from_outside_the_group_ends_its_rights,
                acl::lists_say_who_may_open_a_file,
                acl::the_umask_takes_permissions_away,
                acl::what_is_made_in_a_directory_gets_its_list,
                files::a_layer_has_the_times_that_programs_saw,
                files::times_stay_when_the_kernel_writes_back,
                files::a_program_may_change_whatever_it_sees,
                files::names_that_nobody_asked_for_are_told_apart,
                files::names_stay_when_one_is_written_to_while_it_is_read,
                files::handles_outlive_names,
                files::mapped_memory_arrives_without_a_sync,
                files::names_of_one_file_stay_so,
                files::sparse_files_stay_sparse,
                files::locks_exclude_each_other,
                files::a_running_program_keeps_its_text,
                links::a_mount_writes_to_copies,
                links::layers_that_share_inodes_show_different_ones,
                files::only_the_kernel_refuses_to_rename_lower_directories,
                files::directories_of_lower_layers_can_be_moved,
                stores::every_backend_reads_what_another_wrote,
                suites::pjdfstest,
                trees::an_active_layer_of_ours_shows_the_same_when_it_is_mounted,
                trees::layers_of_different_stacks_merge,
                trees::the_same_operations_give_the_same_tree_with_and_without_a_mount,
                views::a_probe_leaves_nothing_behind,
                views::a_layer_can_be_mounted_twice_in_turn,
                views::a_layer_that_is_given_up_leaves_nothing,
                views::many_layers,
                views::unchanged_trees_give_empty_layers,
                views::views_cannot_be_written_to,
            }
        })+
    };
    (@checks $kind:expr; $($file:ident::$check:ident,)+) => {
        $(#[test]
        fn $check() {
            super::run($kind, stringify!($check), super::$file::$check);
        })+
    };
}

mounter_suite! {
    kernel => (lamina_snapshotter::Backend::Overlay, lamina_snapshotter::Owners::Real),
    fuse => (lamina_snapshotter::Backend::Fuse, lamina_snapshotter::Owners::Real),
    copy => (lamina_snapshotter::Backend::Copy, lamina_snapshotter::Owners::Real),
    stored => (lamina_snapshotter::Backend::Fuse, lamina_snapshotter::Owners::Stored),
}

/// A store and the backend under test.
pub(crate) struct World {
    pub(crate) fixture: Fixture,
    pub(crate) backend: Backend,
    pub(crate) mounter: Arc<dyn Mounter>,
}

impl World {
    /// Returns the backend ready to use, or says why not.
    pub(crate) fn new((backend, owners): (Backend, Owners), test: &str) -> Option<Self> {
        let fixture = match owners {
            Owners::Real => Fixture::new(),
            Owners::Stored => Fixture::stored(),
        };
        match choose(&fixture.store, Some(backend)) {
            Ok(chosen) => Some(Self {
                fixture,
                backend,
                mounter: chosen.mounter,
            }),
            Err(error) => {
                skipped(test, &error.to_string());
                None
            }
        }
    }

    /// Makes a layer on `lower` by what `work` does with its mount.
    pub(crate) fn step(&self, lower: &LayerStack, work: impl FnOnce(&DetachedMount)) -> LayerStack {
        let active = self.fixture.store.prepare(lower).unwrap();
        self.work(&active, work);
        lower.push(commit(active))
    }

    /// Mounts `active`, works, and takes over what was written.
    pub(crate) fn work(&self, active: &ActiveLayer, work: impl FnOnce(&DetachedMount)) {
        let mount = self.mounter.mount_active(active).unwrap();
        work(&mount);
        drop(mount);
        active.end_mount().unwrap();
    }

    /// Checks that a mount of `stack` shows what our own reader shows.
    pub(crate) fn compare_view(&self, stack: &LayerStack, at: &str) {
        let view = self.mounter.mount_view(stack).unwrap();
        let shown = picture::of_tree(&stack.tree());
        assert_eq!(shown, picture::of_mount(&view.fd), "{at}");
    }
}

fn run(kind: (Backend, Owners), test: &str, check: fn(&World)) {
    if let Some(world) = World::new(kind, &format!("{}: {test}", kind.0)) {
        check(&world);
    }
}
