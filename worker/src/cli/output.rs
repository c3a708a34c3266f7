//! What commands print: tables for people, JSON for programs.

use std::io::Write;

use serde_json::Value;

use crate::exit::Failure;

/// Rows under headings, in columns as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        let headings = headings.iter().map(|heading| (*heading).to_owned());
        Self {
            rows: vec![headings.collect()],
        }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // What others wrote, such as names, moves no cursor.
        let safe = |cell: String| cell.replace(char::is_control, "\u{fffd}");
        self.rows.push(cells.into_iter().map(safe).collect());
    }

    /// The lines.
    fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width_of = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths);
            let padded: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Prints it.
    pub(super) fn print(&self) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let mut lines = self.lines().into_iter();
        lines
            .try_for_each(|line| writeln!(out, "{line}"))
            .map_err(gone)
    }
}

/// Prints a value as JSON.
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    text(&format!("{value:#}\n"))
}

/// Prints a text as it is.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(gone)
}

/// A value in a table.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn gone(error: std::io::Error) -> Failure {
    Failure::new(1, format!("standard output is closed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.row(["account_1".to_owned(), "Zoë".to_owned()]);
        table.row(["a".to_owned(), "two\u{1b}[2J\nlines".to_owned()]);
        assert_eq!(
            table.lines(),
            [
                "ID         NAME",
                "account_1  Zoë",
                "a          two\u{fffd}[2J\u{fffd}lines",
            ]
        );
    }
}
