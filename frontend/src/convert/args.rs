//! `ARG` inside a stage (row DFI-04).

use std::collections::BTreeMap;

use crate::convert::Converter;
use crate::convert::checks;
use crate::convert::stages::StageId;
use crate::error::Result;
use crate::instructions::Argument;
use crate::instructions::Origin;
use crate::lint::Linter;

/// Says whether an argument is only for the frontend, so that processes do not see it.
pub(super) fn is_hidden(name: &str) -> bool {
    ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"].contains(&name)
}

/// The arguments that a stage declared, each once, in the order in which they first were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments(BTreeMap<String, (usize, Option<String>)>);

impl Arguments {
    /// Adds an argument, or gives it another value.
    fn declare(&mut self, name: String, value: Option<String>) {
        let next = self.0.len();
        self.0.entry(name).or_insert((next, None)).1 = value;
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns names and values, those without a value with an empty one.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut list: Vec<_> = self.0.iter().collect();
        list.sort_unstable_by_key(|(_, (place, _))| *place);
        list.into_iter()
            .map(|(name, (_, value))| (name.as_str(), value.as_deref().unwrap_or_default()))
    }
}

impl Converter<'_> {
    /// Declares arguments; each sees those before it on the same line.
    pub(super) fn dispatch_arg(
        &mut self,
        id: StageId,
        origin: &Origin,
        arguments: Vec<Argument>,
        linter: &Linter,
    ) -> Result<()> {
        let mut shown = Vec::new();
        for (place, mut argument) in arguments.into_iter().enumerate() {
            checks::secret_name("ARG", &argument.name, origin.lines, linter);
            let is_global = self.is_global(&argument);
            argument.value = self.argument_value(id, &argument, origin, linter)?;
            let stage = &mut self.stages[id];
            stage
                .asks
                .argument(&argument, place, origin.lines, is_global);
            if let Some(value) = argument
                .value
                .as_ref()
                .filter(|_| !is_hidden(&argument.name))
            {
                stage.state.env.set(&argument.name, value);
            }
            shown.push(match &argument.value {
                Some(value) => format!("{}={value}", argument.name),
                None => argument.name.clone(),
            });
            stage.build_args.declare(argument.name, argument.value);
        }
        self.history(id, format!("ARG {}", shown.join(" ")), false);
        Ok(())
    }

    /// Says whether an `ARG` only brings a global argument into the stage.
    fn is_global(&self, argument: &Argument) -> bool {
        let has_own = argument.value.is_some() || self.build_args.contains_key(&argument.name);
        !has_own && self.globals.get(&argument.name).is_some()
    }

    /// The client's value, else the default, else the global one.
    fn argument_value(
        &self,
        id: StageId,
        argument: &Argument,
        origin: &Origin,
        linter: &Linter,
    ) -> Result<Option<String>> {
        if let Some(given) = self.build_args.get(&argument.name) {
            return Ok(Some(given.clone()));
        }
        let Some(default) = &argument.value else {
            return Ok(self.globals.get(&argument.name).map(str::to_owned));
        };
        let stage = &self.stages[id];
        let expansion = self.lexer.expand(default, &stage.state.env);
        let (missing, env) = (&expansion.missing, &stage.state.env);
        checks::undefined_variables(missing, &stage.build_args, env, origin.lines, linter);
        Ok(Some(expansion.text?))
    }
}
