//! `git://`: a checkout of a repository (rows SRC-16 to SRC-23, SRC-26).
//!
//! Resolving asks the remote what the build's name means now, unless the build states the commit;
//! results are keyed by that commit and by what of it is wanted. Only when the files are needed,
//! the commit is fetched into the [repository of its remote](store), which stays for the next
//! build, checked out, and copied into a sealed layer.
//!
//! | module | does |
//! |---|---|
//! | `wish`, `pinned` | read what a build wants, and hold what that is |
//! | `remote` | takes addresses apart, and credentials out of them |
//! | `auth`, `ssh` | say who asks, by the client's secrets and its agent |
//! | `program` | runs git without anything of the machine's |
//! | `refs` | reads what remotes have |
//! | `store`, `fetch`, `usage` | keep repositories, bring commits into them, and tell what they take |
//! | `checkout`, `layer` | make files, and a layer, of a commit |

mod auth;
mod checkout;
mod error;
mod fetch;
mod layer;
mod pinned;
mod program;
mod refs;
mod remote;
mod ssh;
mod store;
mod task;
mod usage;
mod version;
mod wish;

use async_trait::async_trait;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::without_credentials;
use tokio::sync::OnceCell;

use crate::Pinned;
use crate::PinnedKind;
use crate::Source;
use crate::SourceConfig;
use crate::SourceContext;
use crate::SourceError;
use crate::SourceRequest;

pub use error::GitError;
use pinned::Login;
pub use pinned::PinnedGit;
use program::Git;
use refs::Found;
use remote::Remote;
use ssh::Ssh;
pub use store::GitRepositories;
use store::Scratch;
pub use usage::GitRepositoryUsage;
pub use version::judge as judge_git_version;
pub use wish::GitTimes;
pub use wish::GitWish;

/// The raw objects of a commit, for frontends that check them (row GW-11).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GitObjects {
    /// The commit.
    pub commit: Vec<u8>,
    /// The annotated tag that the build names; empty if it names none.
    pub tag: Vec<u8>,
}

/// Checkouts of repositories.
pub struct GitSource {
    layers: SnapshotStore,
    blocking: Blocking,
    repositories: GitRepositories,
    /// Set once git was found to be there and new enough.
    checked: OnceCell<()>,
}

/// What one piece of work runs git with.
struct Tools {
    git: Git,
    /// Serves git while it runs.
    ssh: Ssh,
    scratch: Scratch,
}

impl GitSource {
    pub(crate) fn new(config: &SourceConfig) -> Self {
        Self {
            layers: config.layers.clone(),
            blocking: config.blocking.clone(),
            repositories: GitRepositories::new(config.state.join("git")),
            checked: OnceCell::new(),
        }
    }

    pub(crate) fn repositories(&self) -> &GitRepositories {
        &self.repositories
    }

    /// Makes git ready to work for a build.
    async fn tools(
        &self,
        wish: &GitWish,
        remote: &Remote,
        context: &SourceContext,
    ) -> Result<Tools, SourceError> {
        let repositories = self.repositories.clone();
        let make = move |_: &CancelToken| Ok::<_, SourceError>(repositories.scratch()?);
        let scratch = self.blocking.run(&context.cancel, make).await?;
        let mut git = Git {
            blocking: self.blocking.clone(),
            progress: context.progress.clone(),
            cancel: context.cancel.clone(),
            place: scratch.path().to_owned(),
            settings: Vec::new(),
            variables: Vec::new(),
            secrets: Vec::new(),
        };
        auth::add(&mut git, remote, wish, context).await?;
        let ssh = Ssh::add(&mut git, scratch.path(), wish, context).await?;
        let check = self.checked.get_or_try_init(|| version::check(&git)).await;
        check.map_err(|error| error.during("use git for", &remote.url, ""))?;
        Ok(Tools { git, ssh, scratch })
    }

    /// Asks the remote what the build's name means (row SRC-16).
    async fn look_up(
        &self,
        wish: &GitWish,
        remote: &Remote,
        context: &SourceContext,
    ) -> Result<Found, SourceError> {
        let tools = self.tools(wish, remote, context).await?;
        let call = tools.git.call(["ls-remote"]);
        let call = match wish.reference.as_str() {
            "" => call.args(["--symref", "--", &remote.url, "HEAD"]),
            name => call.args(["--", &remote.url]).args(refs::patterns(name)),
        };
        let failed =
            |error: program::CallError| error.during("fetch remote", &remote.url, &wish.reference);
        let listed = call.run().await.map_err(failed)?;
        drop(tools.ssh);
        let listed = String::from_utf8_lossy(&listed);
        let found = match wish.reference.as_str() {
            "" => refs::default_branch(&listed).ok_or_else(|| GitError::NoDefaultBranch {
                remote: remote.url.clone(),
            }),
            name => refs::choose(&listed, name).ok_or_else(|| GitError::NotThere {
                remote: remote.url.clone(),
                reference: format!("ref {name}"),
            }),
        }?;
        wish.expect(
            [found.object.as_str()]
                .into_iter()
                .chain(found.peeled.as_deref()),
        )?;
        Ok(found)
    }

    /// Finds out which commit a request means.
    pub(crate) async fn pin(
        &self,
        request: &SourceRequest,
        context: &SourceContext,
    ) -> Result<PinnedGit, SourceError> {
        let (wish, remote) = GitWish::parse(request)?;
        let found = match wish.stated()? {
            Some(object) => Found {
                name: stated_name(&wish, &object),
                object,
                peeled: None,
            },
            None => self.look_up(&wish, &remote, context).await?,
        };
        Ok(PinnedGit {
            wish,
            reference: found.name,
            object: found.object,
            commit: found.peeled,
            login: Login(remote.login),
        })
    }
}

/// A name that is not looked up is a branch unless it is a full one (row SRC-23).
fn stated_name(wish: &GitWish, object: &str) -> String {
    match wish.reference.as_str() {
        "" => object.to_owned(),
        name if name == object || name.starts_with("refs/") => name.to_owned(),
        name => format!("refs/heads/{name}"),
    }
}

#[async_trait]
impl Source for GitSource {
    fn scheme(&self) -> &'static str {
        "git"
    }

    async fn resolve(
        &self,
        request: &SourceRequest,
        context: &SourceContext,
    ) -> Result<Pinned, SourceError> {
        let pinned = self.pin(request, context).await?;
        Ok(Pinned {
            identifier: without_credentials(&request.identifier).into_owned(),
            cache_key: pinned.cache_key(),
            key_is_content: true,
            pin: None,
            kind: PinnedKind::Git(Box::new(pinned)),
        })
    }

    async fn snapshot(
        &self,
        pinned: &Pinned,
        context: &SourceContext,
    ) -> Result<LayerStack, SourceError> {
        let PinnedKind::Git(git) = &pinned.kind else {
            return Err(SourceError::WrongKind {
                identifier: pinned.identifier.clone(),
                scheme: self.scheme(),
            });
        };
        let layer = self.check_out(git, context).await?;
        Ok(LayerStack::new([layer]))
    }
}
