//! `RUN --mount` (rows DFI-10 to DFI-15).

use crate::instructions::ExpandWord;
use crate::instructions::InstructionError;
use crate::instructions::csv;
use crate::suggest::Case;
use crate::suggest::Suggestion;

/// A mount of a step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mount {
    /// Its type.
    pub kind: MountKind,
    /// The stage, context or image; empty for the build context (or nothing, for a cache).
    pub from: String,
    /// The path in there, or the id of a secret.
    pub source: String,
    /// Where it appears; empty if not given.
    pub target: String,
    /// The process cannot write.
    pub read_only: bool,
    /// Largest size of a tmpfs in bytes; 0 for no limit.
    pub size_limit: i64,
    /// The name of a cache, secret or socket; empty if not given.
    pub id: String,
    /// How concurrent steps use a cache; `None` if not given.
    pub sharing: Option<Sharing>,
    /// The step fails without the secret or socket.
    pub required: bool,
    /// The variable that gets the secret.
    pub env: Option<String>,
    /// Mode bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// The types of mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the values of the field")]
pub enum MountKind {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// How concurrent steps use a cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the values of the field")]
pub enum Sharing {
    Shared,
    Private,
    Locked,
}

const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];

const SHARINGS: [(&str, Sharing); 3] = [
    ("shared", Sharing::Shared),
    ("private", Sharing::Private),
    ("locked", Sharing::Locked),
];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountKind {
    fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    fn is_file_of_client(self) -> bool {
        matches!(self, Self::Secret | Self::Ssh)
    }
}

/// Returns the `from` of an unread mount. No other field is looked at, as it may hold variables.
pub(crate) fn source_of(text: &str) -> Result<Option<String>, InstructionError> {
    let mut source = None;
    for field in csv::fields(text).map_err(InstructionError::MountFields)? {
        let Some((key, value)) = field.split_once('=') else {
            continue;
        };
        let key = key.to_lowercase();
        if key != "from" {
            continue;
        }
        if value.find('$').is_some_and(|at| at + 1 != value.len()) {
            return Err(InstructionError::NoVariables { key });
        }
        source = Some(value.to_owned());
    }
    Ok(source.filter(|source| !source.is_empty()))
}

impl Mount {
    /// Reads the value of `--mount`, variables put in by `expand`.
    ///
    /// # Errors
    /// For unknown fields, bad values, and fields that do not go with the type.
    pub fn parse(text: &str, expand: &mut ExpandWord<'_>) -> Result<Self, InstructionError> {
        let mut mount = Self::default();
        let mut access = None;
        for field in csv::fields(text).map_err(InstructionError::MountFields)? {
            match field.split_once('=') {
                Some((key, value)) => {
                    let value = expand(value)?;
                    mount.set(&key.to_lowercase(), value, &field, &mut access)?;
                }
                None => mount.switch(&field, &mut access)?,
            }
        }
        let writable = matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs);
        mount.read_only = access.unwrap_or(!writable);
        mount.check()?;
        Ok(mount)
    }

    /// Takes a field without a value; `access` remembers whether the mount is read-only.
    fn switch(&mut self, field: &str, access: &mut Option<bool>) -> Result<(), InstructionError> {
        let key = field.to_lowercase();
        match key.as_str() {
            "readonly" | "ro" => *access = Some(true),
            "readwrite" | "rw" => *access = Some(false),
            "required" => {
                self.only(self.kind.is_file_of_client(), &key)?;
                self.required = true;
            }
            _ => {
                return Err(InstructionError::FieldWithoutValue {
                    field: field.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        key: &str,
        value: String,
        field: &str,
        access: &mut Option<bool>,
    ) -> Result<(), InstructionError> {
        match key {
            "type" => self.kind = kind(&value)?,
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => *access = Some(boolean(key, &value)?),
            "readwrite" | "rw" => *access = Some(!boolean(key, &value)?),
            "required" => {
                self.only(self.kind.is_file_of_client(), key)?;
                self.required = boolean(key, &value)?;
            }
            "size" => {
                self.only(self.kind == MountKind::Tmpfs, key)?;
                self.size_limit = size(key, &value)?;
            }
            "id" => self.id = value,
            "sharing" => self.sharing = Some(sharing(&value)?),
            "mode" => self.mode = Some(number("mode", &value, 8)?),
            "uid" => self.uid = Some(number("uid", &value, 10)?),
            "gid" => self.gid = Some(number("gid", &value, 10)?),
            "env" => self.env = Some(value),
            _ => {
                return Err(InstructionError::UnknownField {
                    key: key.to_owned(),
                    field: field.to_owned(),
                    suggestion: Suggestion::nearest(key, KEYS, Case::Sensitive),
                });
            }
        }
        Ok(())
    }

    fn only(&self, allowed: bool, key: &str) -> Result<(), InstructionError> {
        if allowed {
            return Ok(());
        }
        Err(InstructionError::FieldForType {
            key: key.to_owned(),
            kind: self.kind.name(),
        })
    }

    fn check(&self) -> Result<(), InstructionError> {
        let kind = self.kind.name();
        if matches!(self.kind, MountKind::Bind | MountKind::Tmpfs) {
            for (key, value) in [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)] {
                if value.is_some() {
                    return Err(InstructionError::OwnerForType { key, kind });
                }
            }
        }
        if self.kind == MountKind::Secret {
            self.check_secret()?;
        }
        if self.sharing.is_some() && self.kind != MountKind::Cache {
            return Err(InstructionError::SharingForType { kind });
        }
        Ok(())
    }

    fn check_secret(&self) -> Result<(), InstructionError> {
        if !self.from.is_empty() {
            return Err(InstructionError::SecretFrom);
        }
        if self.sharing.is_some() {
            return Err(InstructionError::SecretSharing);
        }
        if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
            return Err(InstructionError::SecretName);
        }
        if !self.source.is_empty() && !self.id.is_empty() {
            return Err(InstructionError::SecretTwoNames);
        }
        Ok(())
    }
}

fn kind(value: &str) -> Result<MountKind, InstructionError> {
    let lower = value.to_lowercase();
    let known = KINDS.iter().find(|(name, _)| *name == lower);
    known.map(|(_, kind)| *kind).ok_or_else(|| {
        let names = KINDS.iter().map(|(name, _)| *name);
        InstructionError::MountType {
            kind: value.to_owned(),
            suggestion: Suggestion::nearest(value, names, Case::Sensitive),
        }
    })
}

fn sharing(value: &str) -> Result<Sharing, InstructionError> {
    let lower = value.to_lowercase();
    let known = SHARINGS.iter().find(|(name, _)| *name == lower);
    known.map(|(_, sharing)| *sharing).ok_or_else(|| {
        let names = SHARINGS.iter().map(|(name, _)| *name);
        InstructionError::Sharing {
            value: value.to_owned(),
            suggestion: Suggestion::nearest(value, names, Case::Sensitive),
        }
    })
}

fn boolean(key: &str, value: &str) -> Result<bool, InstructionError> {
    parse_bool(value).ok_or_else(|| InstructionError::FieldValue {
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

/// Reads a truth value in any of the spellings that clients use.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn number(key: &'static str, value: &str, radix: u32) -> Result<u32, InstructionError> {
    let plain = !value.starts_with('+');
    let parsed = u32::from_str_radix(value, radix).ok().filter(|_| plain);
    parsed.ok_or_else(|| InstructionError::FieldNumber {
        key,
        value: value.to_owned(),
    })
}

/// Reads an amount of memory: a decimal number and a unit in powers of 1024.
fn size(key: &str, value: &str) -> Result<i64, InstructionError> {
    parse_size(value).ok_or_else(|| InstructionError::FieldValue {
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

fn parse_size(text: &str) -> Option<i64> {
    let end = text.rfind(|ch: char| ch.is_ascii_digit() || ch == '.' || ch == ' ')? + 1;
    let (amount, unit) = text.split_at(end);
    // One blank may stand between number and unit.
    let amount = amount.strip_suffix(' ').unwrap_or(amount);
    let amount: f64 = amount.parse().ok().filter(|amount: &f64| *amount >= 0.0)?;
    let unit = unit.to_lowercase();
    let unit = unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = amount * 1024f64.powi(power);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fractions of a byte are dropped"
    )]
    (bytes < 9e18).then_some(bytes as i64)
}
