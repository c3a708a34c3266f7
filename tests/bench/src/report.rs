//! What a scenario found: a table, and ratios within the run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum as _;
use harness::ledger::Counts;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::options::{Scenario, StoreKind};
use crate::plot;

/// The last line, with `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: Scenario,
    store: StoreKind,
    pub(crate) rows: Vec<Map<String, Value>>,
    ratios: BTreeMap<&'static str, f64>,
    lost: usize,
    duplicated: usize,
    resent: usize,
    violations: usize,
    #[serde(skip)]
    columns: &'static [&'static str],
}

impl Report {
    /// A report with these columns and no rows.
    pub(crate) fn new(
        scenario: Scenario,
        store: StoreKind,
        columns: &'static [&'static str],
    ) -> Self {
        Self {
            scenario,
            store,
            rows: Vec::new(),
            ratios: BTreeMap::new(),
            lost: 0,
            duplicated: 0,
            resent: 0,
            violations: 0,
            columns,
        }
    }

    /// Adds a row: a value for each column.
    pub(crate) fn row(&mut self, values: impl IntoIterator<Item = Value>) {
        let columns = self.columns.iter().map(|column| (*column).to_owned());
        self.rows.push(columns.zip(values).collect());
    }

    /// Adds a ratio.
    ///
    /// # Errors
    /// It is none: something was measured as nothing.
    pub(crate) fn ratio(&mut self, name: &'static str, of: f64, to: f64) -> Result<()> {
        let ratio = of / to;
        let ratio = ratio.is_finite().then_some(ratio);
        let ratio = ratio.with_context(|| format!("{name} is {of} by {to}"))?;
        self.ratios.insert(name, ratio);
        Ok(())
    }

    /// Adds what the ledgers say.
    pub(crate) fn count(&mut self, counts: &Counts) {
        self.lost += counts.lost;
        self.duplicated += counts.duplicated;
        self.resent += counts.resent;
        self.violations += counts.violations;
    }

    /// Whether nothing was lost or doubled, and no rule broken.
    pub(crate) fn is_sound(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.violations == 0
    }

    /// As on the command line.
    pub(crate) fn scenario_name(&self) -> String {
        let value = self.scenario.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Keeps it as `SCENARIO.json`, and its plot as `SCENARIO.svg`.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let keep = |end: &str, text: String| {
            let path = folder.join(self.scenario_name()).with_extension(end);
            fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
        };
        keep("json", serde_json::to_string_pretty(self)? + "\n")?;
        keep("svg", plot::svg(self))
    }

    /// The table and the ratios.
    pub(crate) fn print(&self) {
        let cells: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                self.columns
                    .iter()
                    .map(|&column| shown(&row[column]))
                    .collect()
            })
            .collect();
        let width = |column: usize| {
            let cells = cells.iter().map(|row| row[column].chars().count());
            cells
                .chain([self.columns[column].chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |row: Vec<String>| {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, &width)| format!("{cell:>width$}"))
                .collect();
            println!("  {}", cells.join("  "));
        };
        println!();
        line(
            self.columns
                .iter()
                .map(|&column| column.to_owned())
                .collect(),
        );
        for row in cells {
            line(row);
        }
        println!();
        for (name, ratio) in &self.ratios {
            println!("  {name:<36} {ratio:.3}");
        }
        let Self {
            lost,
            duplicated,
            resent,
            violations,
            ..
        } = self;
        println!(
            "\n  lost {lost}, duplicated {duplicated}, resent {resent}, violations {violations}\n"
        );
    }
}

/// A cell of the table.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(number) if number.abs() < 10.0 => format!("{number:.3}"),
            Some(number) => format!("{number:.1}"),
            None => number.to_string(),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
