//! Columns for people.

use std::fmt;

/// Rows of cells; every column is as wide as its widest cell, but for the last.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    padding: usize,
}

impl Table {
    /// Returns an empty table with `padding` blanks between columns.
    pub(super) fn new(padding: usize) -> Self {
        Self {
            rows: Vec::new(),
            padding,
        }
    }

    pub(super) fn row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) {
        self.rows
            .push(cells.into_iter().map(str::to_owned).collect());
    }

    /// Returns the width of a column, in characters.
    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or_default() + self.padding
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let Some((last, cells)) = row.split_last() else {
                continue;
            };
            for (column, cell) in cells.iter().enumerate() {
                write!(f, "{cell:width$}", width = self.width(column))?;
            }
            writeln!(f, "{last}")?;
        }
        Ok(())
    }
}
