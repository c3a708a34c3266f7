//! `worker config`: every option with its value in force, or as a table for
//! the README.

use std::process::ExitCode;

use clap::{ArgMatches, Args, CommandFactory};

use super::Cli;
use crate::config::{Config, table};
use crate::exit::{self, Failure};

/// `worker config`
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    /// Print the table of all options as Markdown instead
    #[arg(long)]
    markdown: bool,
    #[command(flatten)]
    config: Config,
}

impl ConfigCommand {
    /// Prints, and says whether the values in force fit together.
    pub(super) fn run(&self, matches: &ArgMatches) -> Result<ExitCode, Failure> {
        if self.markdown {
            print!("{}", table::markdown(&Cli::command()));
            return Ok(ExitCode::SUCCESS);
        }
        let given = matches.subcommand().map_or(matches, |(_, given)| given);
        print!("{}", table::effective(&Cli::command(), given));
        self.config
            .validate(whatsapp::SIMULATION)
            .map_err(|error| Failure::new(exit::CONFIG, error))?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo run -p worker -- config --markdown` prints what belongs there.
    #[test]
    fn the_readme_lists_every_option() {
        let readme = include_str!("../../README.md");
        let listed = readme
            .split_once(table::TABLE_BEGIN)
            .and_then(|(_, rest)| rest.split_once(table::TABLE_END))
            .map(|(table, _)| table.trim())
            .expect("worker/README.md has the markers");
        assert_eq!(
            listed,
            table::markdown(&Cli::command()).trim(),
            "put the output of `worker config --markdown` into worker/README.md"
        );
    }
}
