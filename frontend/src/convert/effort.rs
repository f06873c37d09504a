//! A bound on what a Dockerfile makes of the frontend.
//!
//! A few bytes can stand for much: a variable that is twice itself, a step that is given all
//! variables, a stage that goes on with the history of another. What is made is counted where it is
//! made; the count is looked at once for each instruction, which can add no more than
//! [`MAX_EXPANDED_BYTES`](crate::expand::MAX_EXPANDED_BYTES) and what its stage has already.

use lamina_content::ImageConfig;

use crate::convert::Converter;
use crate::convert::stages::StageState;
use crate::error::FrontendError;

/// Most bytes that all steps, variables and histories of a build may take: four times what the engine
/// takes as one definition.
pub(crate) const MAX_CONVERTED_BYTES: usize = 256 << 20;

/// What an entry of a history, a variable or the like takes beside its text.
pub(super) const ENTRY_BYTES: usize = 256;

impl Converter<'_> {
    /// Counts what is made.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.spent = self.spent.saturating_add(bytes);
    }

    /// Refuses more than the limit.
    pub(super) fn check_effort(&self) -> Result<(), FrontendError> {
        if self.spent.saturating_add(self.graph.bytes()) > MAX_CONVERTED_BYTES {
            return Err(FrontendError::TooMuch);
        }
        Ok(())
    }
}

impl StageState {
    /// Returns about how many bytes a stage takes over that starts from this one.
    pub(super) fn inherited_bytes(&self) -> usize {
        let variables = self.state.env.pairs();
        let variables = variables.map(|(name, value)| name.len() + value.len() + ENTRY_BYTES);
        let arguments = self.build_args.names().map(|name| name.len() + ENTRY_BYTES);
        variables.sum::<usize>() + arguments.sum::<usize>() + config_bytes(&self.image)
    }
}

fn config_bytes(image: &ImageConfig) -> usize {
    let config = &image.config;
    let history = image.history.iter().map(|entry| entry.created_by.len());
    let labels = config.labels.iter();
    let labels = labels.map(|(key, value)| key.len() + value.len());
    let words = config.env.iter().chain(&config.volumes);
    let words = words.chain(&config.exposed_ports).map(String::len);
    history
        .chain(labels)
        .chain(words)
        .map(|bytes| bytes + ENTRY_BYTES)
        .sum()
}
