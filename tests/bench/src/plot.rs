//! A plot of a report: one horizontal bar a row, as SVG that follows the
//! reader's light or dark page.

use std::fmt::Write as _;

use serde_json::Value;

use crate::options::Scenario;
use crate::report::{Report, shown};

const WIDTH: usize = 720;
const LABELS: usize = 230;
const FIGURES: usize = 80;
const ROW: usize = 24;
const TITLE: usize = 40;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}\
    .title{font-weight:600}.label{text-anchor:end}rect{fill:#9aa4b2}.ours{fill:#0f7b6c}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}rect{fill:#5b6573}.ours{fill:#2bb39f}}";

/// Rows of others' figures begin with one of these.
const OTHERS: [&str; 2] = ["baileys", "naive"];

/// Which column is drawn, and which ones name the bars.
fn columns(scenario: Scenario) -> (&'static [&'static str], &'static str) {
    match scenario {
        Scenario::Failover => (&["end", "what"], "p99 s"),
        Scenario::Steady => (&["leases", "accounts a worker"], "writes an account, hour"),
        Scenario::Inbound | Scenario::Outbound => (&["client", "round"], "a CPU second"),
        Scenario::Density => (&["client", "accounts"], "RSS MiB"),
        Scenario::Takeover => (&["contacts"], "claim to connected ms"),
        Scenario::Telemetry => (&["traces", "round"], "a CPU second"),
        Scenario::Scale => (&["workers", "accounts"], "operations a worker, minute"),
    }
}

/// The report's plot.
pub(crate) fn svg(report: &Report) -> String {
    let (labels, value) = columns(report.scenario);
    let figures = report.rows.iter().map(|row| row[value].as_f64());
    let most = figures.flatten().fold(f64::MIN_POSITIVE, f64::max);
    let height = TITLE + report.rows.len() * ROW + ROW / 2;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\
         <style>{STYLE}</style><text class=\"title\" x=\"8\" y=\"22\">{}: {}</text>\n",
        escaped(&report.scenario_name()),
        escaped(value),
    );
    for (number, row) in report.rows.iter().enumerate() {
        let name: Vec<String> = labels.iter().map(|&column| shown(&row[column])).collect();
        let name = name.join(", ");
        let is_other = OTHERS.iter().any(|other| name.starts_with(other));
        let class = if is_other { "" } else { " class=\"ours\"" };
        let length = row[value].as_f64().unwrap_or_default() / most;
        let length = length * (WIDTH - LABELS - FIGURES) as f64;
        let top = TITLE + number * ROW;
        let (text, base) = (top + ROW / 2 + 3, top + 2);
        let _ = writeln!(
            svg,
            "<text class=\"label\" x=\"{}\" y=\"{text}\">{}</text>\
             <rect{class} x=\"{LABELS}\" y=\"{base}\" width=\"{length:.1}\" height=\"{}\" rx=\"2\"/>\
             <text x=\"{:.1}\" y=\"{text}\">{}</text>",
            LABELS - 8,
            escaped(&name),
            ROW - 6,
            LABELS as f64 + length + 6.0,
            escaped(&figure(&row[value])),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn figure(value: &Value) -> String {
    if value.is_null() {
        return "not measured".to_owned();
    }
    shown(value)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::options::StoreKind;

    #[test]
    fn the_longest_bar_is_of_the_largest_figure_and_others_are_grey() {
        let columns = &["leases", "accounts a worker", "writes an account, hour"];
        let mut report = Report::new(Scenario::Steady, StoreKind::Memory, columns);
        report.row([json!("ours"), json!(18), json!(100.0)]);
        report.row([json!("naive"), json!(18), json!(1000.0)]);
        let svg = svg(&report);
        assert!(
            svg.contains("class=\"ours\" x=\"230\" y=\"42\" width=\"41.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("<rect x=\"230\" y=\"66\" width=\"410.0\""),
            "{svg}"
        );
        assert!(svg.contains("steady: writes an account, hour"), "{svg}");
    }
}
