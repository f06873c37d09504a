//! Cutting into words while expanding.

/// Collects characters into words: bare blanks separate, anything quoted or escaped does not.
#[derive(Default)]
pub(crate) struct WordBuffer {
    current: String,
    words: Vec<String>,
    in_word: bool,
}

impl WordBuffer {
    /// Takes a character that stands bare in the text.
    pub(crate) fn push(&mut self, ch: char) {
        if !ch.is_whitespace() {
            self.push_raw(ch);
        } else if self.in_word && !self.current.is_empty() {
            self.words.push(std::mem::take(&mut self.current));
            self.in_word = false;
        }
    }

    /// Takes a character that was escaped.
    pub(crate) fn push_raw(&mut self, ch: char) {
        self.current.push(ch);
        self.in_word = true;
    }

    /// Takes the value of a variable: its blanks separate.
    pub(crate) fn push_value(&mut self, text: &str) {
        text.chars().for_each(|ch| self.push(ch));
    }

    /// Takes quoted text.
    pub(crate) fn push_quoted(&mut self, text: &str) {
        self.current.push_str(text);
        self.in_word = true;
    }

    pub(crate) fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.words.push(self.current);
        }
        self.words
    }
}
