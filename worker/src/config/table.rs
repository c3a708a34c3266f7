//! The list of every option, made from the options themselves: as Markdown for
//! the README, and as text with the values in force.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// Marks where the table begins in the README.
pub const TABLE_BEGIN: &str = "<!-- config:begin -->";
/// Marks where the table ends in the README.
pub const TABLE_END: &str = "<!-- config:end -->";

/// The options of `command` as Markdown tables, one for each area.
pub fn markdown(command: &Command) -> String {
    let mut text = String::new();
    let mut area = None;
    for option in options(command) {
        let heading = option.get_help_heading().unwrap_or("Options");
        if area != Some(heading) {
            area = Some(heading);
            text.push_str(&format!(
                "\n**{heading}**\n\n| Option | Environment | Default | Meaning |\n|---|---|---|---|\n"
            ));
        }
        text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            if option.is_hide_set() {
                "–".to_owned()
            } else {
                code(&usage(option))
            },
            environment(option).map_or_else(|| "–".to_owned(), |name| code(&name)),
            default(option).map_or_else(|| "–".to_owned(), |value| code(&value)),
            cell(&meaning(option)),
        ));
    }
    text
}

/// Each option's value in force and where it comes from, one a line. Secrets
/// are not shown.
pub fn effective(command: &Command, matches: &ArgMatches) -> String {
    let mut text = String::new();
    for option in options(command) {
        let id = option.get_id().as_str();
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            Some(ValueSource::DefaultValue) => "default",
            // Unset, or a source that a later clap may add.
            Some(_) | None => "not set",
        };
        let value = if option.is_hide_env_values_set() && source != "not set" {
            "(hidden)".to_owned()
        } else {
            let raw = matches.try_get_raw(id).ok().flatten();
            raw.map(|values| {
                values
                    .map(|value| value.to_string_lossy())
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .unwrap_or_default()
        };
        let name = if option.is_hide_set() {
            environment(option).unwrap_or_default()
        } else {
            format!("--{}", option.get_long().unwrap_or(id))
        };
        text.push_str(format!("{name:<28} {value:<36} {source}").trim_end());
        text.push('\n');
    }
    text
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|option| environment(option).is_some())
}

fn usage(option: &Arg) -> String {
    let long = option
        .get_long()
        .unwrap_or_else(|| option.get_id().as_str());
    let value = option
        .get_value_names()
        .filter(|_| option.get_action().takes_values());
    value.map_or_else(
        || format!("--{long}"),
        |names| format!("--{long} {}", names.join(" ")),
    )
}

fn environment(option: &Arg) -> Option<String> {
    option
        .get_env()
        .map(|name| name.to_string_lossy().into_owned())
}

fn default(option: &Arg) -> Option<String> {
    if !option.get_action().takes_values() {
        return None;
    }
    let values = option.get_default_values();
    (!values.is_empty()).then(|| {
        values
            .iter()
            .map(|value| value.to_string_lossy())
            .collect::<Vec<_>>()
            .join(",")
    })
}

fn meaning(option: &Arg) -> String {
    option
        .get_long_help()
        .or_else(|| option.get_help())
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
