//! Work on the repository of a remote: one at a time, and again from the start if it is damaged.

use std::path::Path;
use std::path::PathBuf;

use async_trait::async_trait;
use lamina_snapshotter::Layer;
use lamina_types::CancelToken;

use super::GitError;
use super::GitObjects;
use super::GitSource;
use super::PinnedGit;
use super::Tools;
use super::checkout::Checkout;
use super::fetch;
use super::fetch::Fetch;
use super::fetch::Fetched;
use super::layer::Import;
use super::program::Git;
use super::remote::Remote;
use super::store::Place;
use super::wish::GitTimes;
use crate::SourceContext;
use crate::SourceError;
use crate::clients::until_cancelled;
use crate::report::Action;

/// What is made of a commit once its repository has it.
#[async_trait]
trait Job: Sync {
    type Made: Send;

    /// Makes it from `bench`.
    ///
    /// # Errors
    /// If the repository does not have what it should, which may be damage.
    async fn make(&self, bench: &Bench<'_>, fetched: &Fetched) -> Result<Self::Made, SourceError>;
}

/// One try.
struct Bench<'a> {
    git: &'a Git,
    pinned: &'a PinnedGit,
    repository: PathBuf,
    /// A folder that is not there yet, for files.
    files: PathBuf,
}

/// Files of a commit, and the time that they are to get.
struct Files;

/// A commit as git has it.
struct Objects;

impl GitSource {
    /// Returns a layer with the files of a commit.
    pub(super) async fn check_out(
        &self,
        pinned: &PinnedGit,
        context: &SourceContext,
    ) -> Result<Layer, SourceError> {
        let name = format!("checking out {}", pinned.object);
        let action = Action::start(&context.progress, name, "checking out", 0);
        let (tools, (files, time)) = self.work(pinned, &Files, context).await?;
        drop((tools.git, tools.ssh));
        let import = Import {
            store: self.layers.clone(),
            wish: pinned.wish.clone(),
            files,
            time,
            scratch: tools.scratch,
            action,
        };
        let run = move |cancel: &CancelToken| import.run(cancel);
        self.blocking.run(&context.cancel, run).await
    }

    /// Returns the objects of a commit as git has them (row GW-11).
    pub(crate) async fn objects(
        &self,
        pinned: &PinnedGit,
        context: &SourceContext,
    ) -> Result<GitObjects, SourceError> {
        let (_tools, objects) = self.work(pinned, &Objects, context).await?;
        Ok(objects)
    }

    /// Works on the repository that is there. If git fails on it, or there is none, a fresh one is
    /// tried, which takes its place if it does better.
    async fn work<J: Job>(
        &self,
        pinned: &PinnedGit,
        job: &J,
        context: &SourceContext,
    ) -> Result<(Tools, J::Made), SourceError> {
        let mut remote = Remote::parse(&pinned.wish.remote)?;
        remote.login.clone_from(&pinned.login.0);
        let tools = self.tools(&pinned.wish, &remote, context).await?;
        let place = self.repositories.place(&remote.url, &pinned.object);
        let lock = async { Ok(self.repositories.lock(&place).await) };
        let _held = until_cancelled(&context.cancel, lock).await?;
        let bench = |repository: &Path, files: &str| Bench {
            git: &tools.git,
            pinned,
            repository: repository.to_owned(),
            files: tools.scratch.path().join(files),
        };
        let look = place.clone();
        let look = move |_: &CancelToken| Ok::<_, SourceError>(look.begin_use());
        let is_known = self.blocking.run(&context.cancel, look).await?;
        let mut first = None;
        if is_known {
            match bench(&place.path, "files").run(job).await {
                Ok(made) => return Ok((tools, made)),
                Err(error) if may_be_damage(&error) => first = Some(error),
                Err(error) => return Err(error),
            }
        }
        let fresh = tools.scratch.path().join("repository");
        match bench(&fresh, "files-again").run_afresh(job, &place).await {
            Ok(made) => Ok((tools, made)),
            Err(error) if error.is_cancelled() => Err(error),
            Err(error) => Err(first.unwrap_or(error)),
        }
    }
}

/// What git says of a damaged repository has many forms, so whatever it fails at is tried again.
fn may_be_damage(error: &SourceError) -> bool {
    matches!(
        error,
        SourceError::Git(GitError::Failed { .. }) | SourceError::Io(_)
    )
}

impl Bench<'_> {
    async fn run<J: Job>(&self, job: &J) -> Result<J::Made, SourceError> {
        let fetch = Fetch {
            git: self.git,
            repository: &self.repository,
            pinned: self.pinned,
        };
        let fetched = fetch.run().await?;
        job.make(self, &fetched).await
    }

    /// Begins with an empty repository, and puts it in its place if all goes well.
    async fn run_afresh<J: Job>(&self, job: &J, place: &Place) -> Result<J::Made, SourceError> {
        fetch::init(self.git, &self.repository, self.pinned).await?;
        let made = self.run(job).await?;
        let (place, fresh) = (place.clone(), self.repository.clone());
        let put = move |_: &CancelToken| Ok::<_, SourceError>(place.replace(&fresh)?);
        self.git.blocking.run(&self.git.cancel, put).await?;
        Ok(made)
    }

    async fn cat(&self, kind: &str, id: &str) -> Result<Vec<u8>, SourceError> {
        let call = self.git.call(["cat-file", kind, id]).on(&self.repository);
        let remote = &self.pinned.wish.remote;
        let out = call.run().await;
        out.map_err(|error| error.during("read objects of", remote, id))
    }
}

#[async_trait]
impl Job for Files {
    type Made = (PathBuf, Option<i64>);

    async fn make(&self, bench: &Bench<'_>, fetched: &Fetched) -> Result<Self::Made, SourceError> {
        let checkout = Checkout {
            git: bench.git,
            repository: &bench.repository,
            pinned: bench.pinned,
            fetched,
            files: bench.files.clone(),
        };
        checkout.run().await?;
        let time = match bench.pinned.wish.times {
            GitTimes::Checkout => None,
            GitTimes::Commit => Some(checkout.time().await?),
        };
        Ok((bench.files.clone(), time))
    }
}

#[async_trait]
impl Job for Objects {
    type Made = GitObjects;

    async fn make(&self, bench: &Bench<'_>, fetched: &Fetched) -> Result<GitObjects, SourceError> {
        let object = &bench.pinned.object;
        let tag = if *object == fetched.commit {
            Vec::new()
        } else {
            bench.cat("tag", object).await?
        };
        let commit = bench.cat("commit", &fetched.commit).await?;
        Ok(GitObjects { commit, tag })
    }
}
