//! The rules: their names, what they ask for, and their messages.
//!
//! Names, descriptions and addresses are what clients show and what `check=skip=` takes.

use std::fmt;

use crate::quote::quoted;
use crate::suggest::Suggestion;

/// A rule and what broke it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    missing_docs,
    reason = "each is described by its description and message below"
)]
pub enum Rule<'a> {
    StageNameCasing {
        name: &'a str,
    },
    FromAsCasing {
        from: &'a str,
        keyword: &'a str,
    },
    NoEmptyContinuation,
    ConsistentInstructionCasing {
        keyword: &'a str,
        wanted: &'a str,
    },
    DuplicateStageName {
        name: &'a str,
    },
    ReservedStageName {
        name: &'a str,
    },
    JsonArgsRecommended {
        keyword: &'a str,
    },
    MaintainerDeprecated,
    UndefinedArgInFrom {
        name: &'a str,
        suggestion: &'a Suggestion,
    },
    WorkdirRelativePath {
        path: &'a str,
    },
    UndefinedVar {
        name: &'a str,
        suggestion: Option<&'a str>,
    },
    MultipleInstructionsDisallowed {
        keyword: &'a str,
    },
    LegacyKeyValueFormat {
        keyword: &'a str,
    },
    InvalidBaseImagePlatform {
        image: &'a str,
        expected: &'a str,
        actual: &'a str,
    },
    RedundantTargetPlatform {
        platform: &'a str,
    },
    SecretsUsedInArgOrEnv {
        keyword: &'a str,
        name: &'a str,
    },
    InvalidDefaultArgInFrom {
        base: &'a str,
    },
    FromPlatformFlagConstDisallowed {
        platform: &'a str,
    },
    CopyIgnoredFile {
        verb: &'a str,
        path: &'a str,
    },
    InvalidDefinitionDescription {
        instruction: &'a str,
        name: &'a str,
    },
    ExposeProtoCasing {
        port: &'a str,
    },
    ExposeInvalidFormat {
        port: &'a str,
    },
}

/// What does not depend on the occasion.
struct Facts {
    name: &'static str,
    description: &'static str,
    url: &'static str,
}

impl Rule<'_> {
    /// Returns the rule's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.facts().name
    }

    /// Returns what the rule asks for.
    #[must_use]
    pub fn description(&self) -> &'static str {
        self.facts().description
    }

    /// Returns where the rule is explained; empty if nowhere.
    #[must_use]
    pub fn url(&self) -> &'static str {
        self.facts().url
    }

    /// Says whether the rule only counts if the user asks for it.
    #[must_use]
    pub fn is_experimental(&self) -> bool {
        matches!(self, Self::InvalidDefinitionDescription { .. })
    }
}

/// The rule that no page explains.
const BASE_IMAGE_PLATFORM: &str = "InvalidBaseImagePlatform";

/// One row for each rule: name, address (its last part), description.
macro_rules! facts {
    ($($variant:ident $name:literal $page:literal $description:literal;)*) => {
        impl Rule<'_> {
            /// The names of all rules.
            pub const NAMES: &'static [&'static str] = &[$($name,)* BASE_IMAGE_PLATFORM];

            fn facts(&self) -> Facts {
                match self {
                    $(Self::$variant { .. } => Facts {
                        name: $name,
                        description: $description,
                        url: concat!("https://docs.docker.com/go/dockerfile/rule/", $page, "/"),
                    },)*
                    Self::InvalidBaseImagePlatform { .. } => Facts {
                        name: BASE_IMAGE_PLATFORM,
                        description: "Base image platform does not match expected target platform",
                        url: "",
                    },
                }
            }
        }
    };
}

facts! {
    StageNameCasing "StageNameCasing" "stage-name-casing"
        "Stage names should be lowercase";
    FromAsCasing "FromAsCasing" "from-as-casing"
        "The 'as' keyword should match the case of the 'from' keyword";
    NoEmptyContinuation "NoEmptyContinuation" "no-empty-continuation"
        "Empty continuation lines will become errors in a future release";
    ConsistentInstructionCasing "ConsistentInstructionCasing" "consistent-instruction-casing"
        "All commands within the Dockerfile should use the same casing (either upper or lower)";
    DuplicateStageName "DuplicateStageName" "duplicate-stage-name"
        "Stage names should be unique";
    ReservedStageName "ReservedStageName" "reserved-stage-name"
        "Reserved words should not be used as stage names";
    JsonArgsRecommended "JSONArgsRecommended" "json-args-recommended"
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals";
    MaintainerDeprecated "MaintainerDeprecated" "maintainer-deprecated"
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author";
    UndefinedArgInFrom "UndefinedArgInFrom" "undefined-arg-in-from"
        "FROM command must use declared ARGs";
    WorkdirRelativePath "WorkdirRelativePath" "workdir-relative-path"
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes";
    UndefinedVar "UndefinedVar" "undefined-var"
        "Variables should be defined before their use";
    MultipleInstructionsDisallowed "MultipleInstructionsDisallowed" "multiple-instructions-disallowed"
        "Multiple instructions of the same type should not be used in the same stage";
    LegacyKeyValueFormat "LegacyKeyValueFormat" "legacy-key-value-format"
        "Legacy key/value format with whitespace separator should not be used";
    RedundantTargetPlatform "RedundantTargetPlatform" "redundant-target-platform"
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior";
    SecretsUsedInArgOrEnv "SecretsUsedInArgOrEnv" "secrets-used-in-arg-or-env"
        "Sensitive data should not be used in the ARG or ENV commands";
    InvalidDefaultArgInFrom "InvalidDefaultArgInFrom" "invalid-default-arg-in-from"
        "Default value for global ARG results in an empty or invalid base image name";
    FromPlatformFlagConstDisallowed "FromPlatformFlagConstDisallowed" "from-platform-flag-const-disallowed"
        "FROM --platform flag should not use a constant value";
    CopyIgnoredFile "CopyIgnoredFile" "copy-ignored-file"
        "Attempting to Copy file that is excluded by .dockerignore";
    InvalidDefinitionDescription "InvalidDefinitionDescription" "invalid-definition-description"
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.";
    ExposeProtoCasing "ExposeProtoCasing" "expose-proto-casing"
        "Protocol in EXPOSE instruction should be lowercase";
    ExposeInvalidFormat "ExposeInvalidFormat" "expose-invalid-format"
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release";
}

/// One row for each rule: its message, as in `format!`.
macro_rules! messages {
    ($($variant:ident { $($field:ident),* } $text:literal $(, $value:expr)*;)*) => {
        impl fmt::Display for Rule<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant { $($field),* } => write!(f, $text $(, $value)*),)*
                }
            }
        }
    };
}

messages! {
    StageNameCasing { name } "Stage name '{name}' should be lowercase";
    FromAsCasing { from, keyword } "'{keyword}' and '{from}' keywords' casing do not match";
    NoEmptyContinuation {} "Empty continuation line";
    ConsistentInstructionCasing { keyword, wanted }
        "Command '{keyword}' should match the case of the command majority ({wanted})";
    DuplicateStageName { name }
        "Duplicate stage name {}, stage names should be unique", quoted(name);
    ReservedStageName { name }
        "Stage name should not use the same name as reserved stage {}", quoted(name);
    JsonArgsRecommended { keyword }
        "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals";
    MaintainerDeprecated {}
        "Maintainer instruction is deprecated in favor of using label";
    UndefinedArgInFrom { name, suggestion }
        "FROM argument '{name}' is not declared{suggestion}";
    WorkdirRelativePath { path }
        "Relative workdir {} can have unexpected results if the base image changes", quoted(path);
    UndefinedVar { name, suggestion }
        "Usage of undefined variable '${name}'{}", did_you_mean(*suggestion);
    MultipleInstructionsDisallowed { keyword }
        "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used";
    LegacyKeyValueFormat { keyword }
        "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format";
    InvalidBaseImagePlatform { image, expected, actual }
        "Base image {image} was pulled with platform {}, expected {} for current build",
        quoted(actual), quoted(expected);
    RedundantTargetPlatform { platform }
        "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior";
    SecretsUsedInArgOrEnv { keyword, name }
        "Do not use ARG or ENV instructions for sensitive data ({keyword} {})", quoted(name);
    InvalidDefaultArgInFrom { base }
        "Default value for ARG {base} results in empty or invalid base image name";
    FromPlatformFlagConstDisallowed { platform }
        "FROM --platform flag should not use constant value {}", quoted(platform);
    CopyIgnoredFile { verb, path }
        "Attempting to {verb} file {} that is excluded by .dockerignore", quoted(path);
    InvalidDefinitionDescription { instruction, name }
        "Comment for {instruction} should follow the format: `# {name} <description>`";
    ExposeProtoCasing { port }
        "Defined protocol '{port}' in EXPOSE instruction should be lowercase";
    ExposeInvalidFormat { port }
        "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'";
}

fn did_you_mean(variable: Option<&str>) -> String {
    let hint = variable.map(|name| format!(" (did you mean ${name}?)"));
    hint.unwrap_or_default()
}
