//! Where variables are put in (row DFL-04).

use crate::instructions::Action;
use crate::instructions::Copy;
use crate::instructions::Instruction;
use crate::instructions::InstructionError;
use crate::instructions::KeyValue;
use crate::instructions::Mount;

/// Expands one word.
pub type ExpandWord<'a> = dyn FnMut(&str) -> Result<String, InstructionError> + 'a;

impl Instruction {
    /// Puts variables into the words that take them.
    ///
    /// `expand` is for words; `expand_text` for here-documents, whose quotes are just characters.
    /// `ARG` is left alone, as its default may turn out not to be needed, and so is `EXPOSE`, whose
    /// values are cut into words again.
    ///
    /// # Errors
    /// Those of `expand`, and what is wrong with a mount.
    pub fn expand(
        &mut self,
        expand: &mut ExpandWord<'_>,
        expand_text: &mut ExpandWord<'_>,
    ) -> Result<(), InstructionError> {
        match &mut self.action {
            Action::Env(pairs) | Action::Label(pairs) => expand_pairs(pairs, expand),
            Action::Add(copy) | Action::Copy(copy) => expand_copy(copy, expand, expand_text),
            Action::Workdir(text) | Action::User(text) | Action::StopSignal(text) => {
                expand_in_place(text, expand)
            }
            Action::Volume(words) => words
                .iter_mut()
                .try_for_each(|word| expand_in_place(word, expand)),
            Action::Run(run) => {
                let mounts = run
                    .mount_texts
                    .iter()
                    .map(|text| Mount::parse(text, expand));
                run.mounts = mounts.collect::<Result<_, _>>()?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn expand_in_place(text: &mut String, expand: &mut ExpandWord<'_>) -> Result<(), InstructionError> {
    *text = expand(text)?;
    Ok(())
}

fn expand_pairs(
    pairs: &mut [KeyValue],
    expand: &mut ExpandWord<'_>,
) -> Result<(), InstructionError> {
    for pair in pairs {
        expand_in_place(&mut pair.key, expand)?;
        expand_in_place(&mut pair.value, expand)?;
    }
    Ok(())
}

fn expand_copy(
    copy: &mut Copy,
    expand: &mut ExpandWord<'_>,
    expand_text: &mut ExpandWord<'_>,
) -> Result<(), InstructionError> {
    expand_in_place(&mut copy.chown, expand)?;
    expand_in_place(&mut copy.chmod, expand)?;
    expand_in_place(&mut copy.checksum, expand)?;
    for source in &mut copy.sources {
        expand_in_place(source, expand)?;
    }
    expand_in_place(&mut copy.destination, expand)?;
    for file in copy.inline.iter_mut().filter(|file| file.expand) {
        expand_in_place(&mut file.content, expand_text)?;
    }
    Ok(())
}
