//! Making files of a commit.
//!
//! Every checkout has a `.git` of its own, so that nothing of one is seen by another. It borrows
//! its objects from the repository of the remote, unless the build keeps it: then it gets copies of
//! those that it needs, and nothing in it names a place on this host (row SRC-17).

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::PathError;

use super::PinnedGit;
use super::fetch::Fetched;
use super::fetch::held_tag;
use super::program::CallError;
use super::program::Git;
use super::store::is_sha256;
use crate::SourceError;

const CHECK_OUT: &str = "checkout remote";
const SUBMODULES: &str = "update submodules for";

/// What servers say that give no single commits, or know nothing of depth.
const NEEDS_HISTORY: [&str; 3] = [
    "--depth",
    "shallow",
    "Direct fetching of that commit failed",
];

/// One checkout.
pub(super) struct Checkout<'a> {
    pub(super) git: &'a Git,
    pub(super) repository: &'a Path,
    pub(super) pinned: &'a PinnedGit,
    pub(super) fetched: &'a Fetched,
    /// Where the files go; there is nothing yet.
    pub(super) files: PathBuf,
}

impl Checkout<'_> {
    /// Writes the files, and those of submodules unless the build does not want them.
    ///
    /// # Errors
    /// [`super::GitError::Failed`] with what git said; I/O errors.
    pub(super) async fn run(&self) -> Result<(), SourceError> {
        self.init().await?;
        if self.pinned.wish.has_git_dir() {
            self.copy_objects().await?;
        } else {
            self.borrow_objects().await?;
        }
        let commit = &self.fetched.commit;
        self.call(&["checkout", "--quiet", "--force", "--detach", commit])
            .await?;
        if !self.pinned.wish.skip_submodules && self.files.join(".gitmodules").exists() {
            self.submodules().await?;
        }
        Ok(())
    }

    /// Returns when the commit was made, in seconds since 1970.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) async fn time(&self) -> Result<i64, SourceError> {
        let show = ["log", "-1", "--format=%ct", &self.fetched.commit];
        let out = self.git.call(show).on(self.repository).run().await;
        let out = out.map_err(|error| self.failed(error))?;
        Ok(String::from_utf8_lossy(&out).trim().parse().unwrap_or(0))
    }

    async fn init(&self) -> Result<(), SourceError> {
        fs::create_dir(&self.files).at(self.files.display())?;
        let format = if is_sha256(&self.fetched.commit) {
            "sha256"
        } else {
            "sha1"
        };
        let format = format!("--object-format={format}");
        self.call(&["init", "--quiet", &format]).await?;
        self.call(&["remote", "add", "origin", &self.pinned.wish.remote])
            .await
    }

    async fn borrow_objects(&self) -> Result<(), SourceError> {
        let (own, theirs) = (self.files.join(".git"), self.repository.to_owned());
        let borrow = move |_: &CancelToken| Ok::<_, SourceError>(borrow(&own, &theirs)?);
        self.git.blocking.run(&self.git.cancel, borrow).await
    }

    /// Fetches from the repository: the commit under its own name, and its tags.
    async fn copy_objects(&self) -> Result<(), SourceError> {
        let name = &self.pinned.reference;
        let mut specs = vec![self.fetched.held.clone()];
        if name.starts_with("refs/") {
            specs = vec![format!("+{}:{name}", self.fetched.held)];
        }
        let tags = self.fetched.tags.iter();
        specs.extend(tags.map(|tag| format!("+{}:{tag}", held_tag(tag))));
        let fetch = [
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-write-fetch-head",
        ];
        let call = self.git.call(fetch).args(["--update-head-ok", "--"]);
        let call = call.args([self.repository.as_os_str()]).args(specs);
        let done = call.within(&self.files).with_folders_only().run().await;
        done.map(drop).map_err(|error| self.failed(error))
    }

    async fn submodules(&self) -> Result<(), SourceError> {
        let update = ["submodule", "update", "--init", "--recursive"];
        let shallow = self
            .git
            .call(update)
            .args(["--depth=1"])
            .within(&self.files);
        let failed = |error: CallError| {
            error.during(SUBMODULES, &self.pinned.wish.remote, &self.pinned.reference)
        };
        match shallow.run().await {
            Ok(_) => Ok(()),
            Err(error) if error.says(&NEEDS_HISTORY) => {
                self.forget_submodules().await?;
                let whole = self.git.call(update).within(&self.files);
                whole.run().await.map(drop).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Clears what a fetch without history has left: git would go on with it.
    async fn forget_submodules(&self) -> Result<(), SourceError> {
        self.call(&["submodule", "deinit", "--quiet", "--force", "--all"])
            .await?;
        let modules = self.files.join(".git/modules");
        let remove = move |_: &CancelToken| match fs::remove_dir_all(&modules) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).at(modules.display()).map_err(SourceError::from)
            }
            _ => Ok(()),
        };
        self.git.blocking.run(&self.git.cancel, remove).await
    }

    async fn call(&self, args: &[&str]) -> Result<(), SourceError> {
        let done = self.git.call(args).within(&self.files).run().await;
        done.map(drop).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: CallError) -> SourceError {
        error.during(CHECK_OUT, &self.pinned.wish.remote, &self.pinned.reference)
    }
}

/// Names the repository `theirs` as a further place of objects for `own`; both end their history at
/// the same commits.
fn borrow(own: &Path, theirs: &Path) -> Result<(), PathError> {
    let path = own.join("objects/info");
    fs::DirBuilder::new()
        .recursive(true)
        .create(&path)
        .at(path.display())?;
    let path = path.join("alternates");
    let line = [theirs.join("objects").as_os_str().as_encoded_bytes(), b"\n"].concat();
    fs::write(&path, line).at(path.display())?;
    match fs::read(theirs.join("shallow")) {
        Ok(ends) => fs::write(own.join("shallow"), ends).at(own.display()),
        Err(_) => Ok(()),
    }
}
