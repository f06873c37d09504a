//! `ARG` inside a stage (row DFI-04).

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
        for mut argument in arguments {
            checks::secret_name("ARG", &argument.name, origin.lines, linter);
            argument.value = self.argument_value(id, &argument, origin, linter)?;
            let stage = &mut self.stages[id];
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
            stage.build_args.push(argument);
        }
        self.history(id, format!("ARG {}", shown.join(" ")), false);
        Ok(())
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
