//! `--mount`, in the words of `RUN --mount`.

use lamina_client::ClientError;
use lamina_client::Gateway;
use lamina_client::llb::State;
use lamina_proto::gateway;
use lamina_proto::pb;

use super::root;
use crate::csv;
use crate::error::CliError;

/// The name of the context among the local sources, as of every build of a Dockerfile.
const CONTEXT: &str = "context";

/// Permission bits of secrets and sockets for which nobody says otherwise, as of `RUN`.
const SECRET_MODE: u32 = 0o400;
const SOCKET_MODE: u32 = 0o600;

/// The agent that is meant where none is named.
const AGENT: &str = "default";

/// A mount whose tree is still to be built.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WantedMount {
    mount: pb::Mount,
    /// Of a bind: the stage, or the context.
    from: Option<Origin>,
}

/// Where a bind mount comes from.
#[derive(Debug, Clone, PartialEq)]
enum Origin {
    Context,
    Stage(String),
}

/// Why a mount makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("--mount {0}")]
    Csv(#[from] csv::CsvError),
    #[error("--mount {text:?}: {key:?} is no key of a mount of type {kind}")]
    UnknownKey {
        text: String,
        kind: String,
        key: String,
    },
    #[error("--mount {text:?}: the type is bind, cache, tmpfs, secret or ssh")]
    UnknownType { text: String },
    #[error("--mount {text:?}: {key} is missing")]
    Missing { text: String, key: &'static str },
    #[error("--mount {text:?}: {value:?} is no {what}")]
    BadValue {
        text: String,
        value: String,
        what: &'static str,
    },
}

/// The keys of one mount, as they are used up.
struct Keys<'a> {
    text: &'a str,
    pairs: Vec<(String, String)>,
}

impl WantedMount {
    /// Reads `type=..,target=..`.
    pub(super) fn parse(text: &str) -> Result<Self, CliError> {
        Ok(Self::read(text)?)
    }

    fn read(text: &str) -> Result<Self, MountError> {
        let pairs = csv::key_values(text)?;
        let mut keys = Keys { text, pairs };
        let kind = keys.take(&["type"]).unwrap_or_else(|| "bind".to_owned());
        let target = keys.take(&["target", "dst", "destination"]);
        let mut mount = pb::Mount {
            dest: target.clone().unwrap_or_default(),
            readonly: keys.flag("readonly")? || keys.flag("ro")?,
            ..pb::Mount::default()
        };
        let mut from = None;
        match kind.as_str() {
            "bind" => {
                mount.selector = keys.take(&["source", "src"]).unwrap_or_default();
                let stage = keys.take(&["from"]);
                from = Some(stage.map_or(Origin::Context, Origin::Stage));
            }
            "cache" => keys.cache(&mut mount)?,
            "tmpfs" => keys.tmpfs(&mut mount)?,
            "secret" => keys.secret(&mut mount)?,
            "ssh" => keys.ssh(&mut mount)?,
            _ => return Err(keys.unknown_type()),
        }
        if mount.dest.is_empty() {
            return Err(keys.missing("target"));
        }
        keys.nothing_left(&kind)?;
        Ok(Self { mount, from })
    }

    /// Builds what it shows; `stage` is how the stage of the container was built.
    pub(super) async fn resolve(
        &self,
        gateway: &Gateway,
        stage: &gateway::SolveRequest,
    ) -> Result<pb::Mount, ClientError> {
        let request = match &self.from {
            None => return Ok(self.mount.clone()),
            Some(Origin::Context) => gateway::SolveRequest {
                definition: Some(State::local(CONTEXT).definition()),
                ..gateway::SolveRequest::default()
            },
            Some(Origin::Stage(name)) => {
                let mut other = stage.clone();
                other.frontend_opt.insert("target".to_owned(), name.clone());
                other
            }
        };
        let built = gateway.solve(request).await?;
        Ok(pb::Mount {
            result_id: root(&built).result_id,
            ..self.mount.clone()
        })
    }
}

impl Keys<'_> {
    /// Takes the value of the first of `names` that is given.
    fn take(&mut self, names: &[&str]) -> Option<String> {
        let at = self
            .pairs
            .iter()
            .position(|(key, _)| names.contains(&key.as_str()))?;
        Some(self.pairs.remove(at).1)
    }

    fn flag(&mut self, name: &str) -> Result<bool, MountError> {
        match self.take(&[name]).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(value) => Err(self.bad(value, "true or false")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<u32>, MountError> {
        let Some(value) = self.take(&[name]) else {
            return Ok(None);
        };
        let number = value.parse().map_err(|_| self.bad(&value, "number"))?;
        Ok(Some(number))
    }

    fn mode(&mut self) -> Result<Option<u32>, MountError> {
        let Some(value) = self.take(&["mode"]) else {
            return Ok(None);
        };
        let mode = u32::from_str_radix(&value, 8).map_err(|_| self.bad(&value, "octal mode"))?;
        Ok(Some(mode))
    }

    fn cache(&mut self, mount: &mut pb::Mount) -> Result<(), MountError> {
        let sharing = match self.take(&["sharing"]).as_deref() {
            None | Some("shared") => pb::CacheSharingOpt::Shared,
            Some("private") => pb::CacheSharingOpt::Private,
            Some("locked") => pb::CacheSharingOpt::Locked,
            Some(value) => return Err(self.bad(value, "sharing")),
        };
        let id = self.take(&["id"]).unwrap_or_else(|| mount.dest.clone());
        mount.mount_type = pb::MountType::Cache.into();
        mount.cache_opt = Some(pb::CacheOpt {
            id,
            sharing: sharing.into(),
        });
        Ok(())
    }

    fn tmpfs(&mut self, mount: &mut pb::Mount) -> Result<(), MountError> {
        mount.mount_type = pb::MountType::Tmpfs.into();
        let size = self.number("size")?.unwrap_or_default();
        mount.tmpfs_opt = Some(pb::TmpfsOpt { size: size.into() });
        Ok(())
    }

    fn secret(&mut self, mount: &mut pb::Mount) -> Result<(), MountError> {
        let id = self.take(&["id"]).ok_or_else(|| self.missing("id"))?;
        if mount.dest.is_empty() {
            mount.dest = format!("/run/secrets/{id}");
        }
        mount.mount_type = pb::MountType::Secret.into();
        mount.secret_opt = Some(pb::SecretOpt {
            id,
            uid: self.number("uid")?.unwrap_or_default(),
            gid: self.number("gid")?.unwrap_or_default(),
            mode: self.mode()?.unwrap_or(SECRET_MODE),
            optional: false,
        });
        Ok(())
    }

    fn ssh(&mut self, mount: &mut pb::Mount) -> Result<(), MountError> {
        mount.mount_type = pb::MountType::Ssh.into();
        mount.ssh_opt = Some(pb::SshOpt {
            id: self.take(&["id"]).unwrap_or_else(|| AGENT.to_owned()),
            uid: self.number("uid")?.unwrap_or_default(),
            gid: self.number("gid")?.unwrap_or_default(),
            mode: self.mode()?.unwrap_or(SOCKET_MODE),
            optional: false,
        });
        Ok(())
    }

    fn nothing_left(&self, kind: &str) -> Result<(), MountError> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => Err(MountError::UnknownKey {
                text: self.text.to_owned(),
                kind: kind.to_owned(),
                key: key.clone(),
            }),
        }
    }

    fn bad(&self, value: &str, what: &'static str) -> MountError {
        MountError::BadValue {
            text: self.text.to_owned(),
            value: value.to_owned(),
            what,
        }
    }

    fn missing(&self, key: &'static str) -> MountError {
        MountError::Missing {
            text: self.text.to_owned(),
            key,
        }
    }

    fn unknown_type(&self) -> MountError {
        MountError::UnknownType {
            text: self.text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> WantedMount {
        WantedMount::read(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn mounts_of_every_type() {
        let bind = read("target=/src,source=a/b,from=base,ro=true");
        assert_eq!(bind.from, Some(Origin::Stage("base".to_owned())));
        assert_eq!(
            (bind.mount.selector.as_str(), bind.mount.readonly),
            ("a/b", true)
        );
        assert_eq!(read("type=bind,dst=/c").from, Some(Origin::Context));
        let cache = read("type=cache,target=/c,sharing=locked").mount;
        let options = cache.cache_opt.expect("a cache");
        assert_eq!((options.id.as_str(), options.sharing), ("/c", 2));
        let tmpfs = read("type=tmpfs,target=/t,size=4096").mount;
        assert_eq!(tmpfs.tmpfs_opt.expect("a tmpfs").size, 4096);
        let secret = read("type=secret,id=s,mode=0440").mount;
        assert_eq!(secret.dest, "/run/secrets/s");
        assert_eq!(secret.secret_opt.expect("a secret").mode, 0o440);
        let ssh = read("type=ssh,target=/agent").mount;
        assert_eq!(ssh.ssh_opt.expect("a socket").id, "default");
    }

    #[test]
    fn errors_quote_the_mount() {
        for (text, part) in [
            ("type=cache", "target is missing"),
            ("type=disk,target=/d", "the type is bind, cache"),
            ("type=secret,target=/d", "id is missing"),
            (
                "type=tmpfs,target=/d,from=x",
                "\"from\" is no key of a mount of type tmpfs",
            ),
            ("type=tmpfs,target=/d,size=big", "\"big\" is no number"),
            ("target=/d,ro=maybe", "\"maybe\" is no true or false"),
            ("/d", "expected key=value"),
        ] {
            let error = WantedMount::read(text).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
