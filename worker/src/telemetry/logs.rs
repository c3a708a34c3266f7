//! Lines for people and machines, each with the ids of its trace.
//!
//! Lines go to standard error, so that standard output stays for what a
//! program reads. No line carries a message text, a phone number or a key:
//! fields are ids with fixed dotted names (`account.id`, `lease.epoch`).
//!
//! Therefore a level alone (`info`) is about this project's own crates: the
//! WhatsApp engine writes numbers into its lines and spans. Whoever debugs it
//! names its targets (`info,whatsapp_rust=debug`) and guards the log.

use std::fmt;
use std::io::IsTerminal;

use opentelemetry::trace::{SpanId, TraceContextExt, TraceId};
use tracing::span::Record;
use tracing::{Event, Subscriber, dispatcher};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogConfig, LogFormat};

/// The crates whose lines are known to carry nothing secret.
pub(super) const OWN_TARGETS: [&str; 4] = ["coordinator_lib", "session", "whatsapp", "worker"];
/// Targets match by their beginning, and the engine's begins with ours.
const NOT_OURS: &str = "whatsapp_rust=off";

/// Reads a filter such as `info` or `info,worker::outbox=debug`. A level
/// without a target is that of [`OWN_TARGETS`]; others are silent unless named.
///
/// # Errors
/// A directive that is none.
pub fn parse_filter(text: &str) -> Result<EnvFilter, ParseError> {
    let mut directives = vec![NOT_OURS.to_owned()];
    let given = text
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty());
    for directive in given {
        match directive.parse::<LevelFilter>() {
            Ok(level) => {
                directives.extend(OWN_TARGETS.iter().map(|target| format!("{target}={level}")));
            }
            Err(_) => directives.push(directive.to_owned()),
        }
    }
    EnvFilter::builder()
        .with_default_directive(LevelFilter::OFF.into())
        .parse(directives.join(","))
}

/// The lines, as a layer with its own filter.
pub fn layer<S>(config: &LogConfig) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    // The text was validated with the configuration; a level is a safe rest.
    let filter = parse_filter(&config.log_filter).unwrap_or_else(|_| EnvFilter::new("worker=info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let is_terminal = std::io::stderr().is_terminal();
    match config.log_format {
        LogFormat::Pretty => lines
            .with_ansi(is_terminal)
            .event_format(Traced::pretty(is_terminal))
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => lines
            .json()
            .fmt_fields(Appended::default())
            .event_format(Traced::json())
            .with_filter(filter)
            .boxed(),
    }
}

/// Lines with the ids of the trace that they belong to.
struct Traced<F> {
    lines: F,
    form: LogFormat,
}

impl Traced<Format<Full>> {
    fn pretty(is_terminal: bool) -> Self {
        Self {
            lines: Format::default().with_ansi(is_terminal),
            form: LogFormat::Pretty,
        }
    }
}

impl Traced<Format<Json>> {
    fn json() -> Self {
        Self {
            lines: Format::default()
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false),
            form: LogFormat::Json,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some((trace, span)) = ids(context) else {
            return self.lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.lines
            .format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match (self.form, line.strip_suffix('}')) {
            // A line of JSON is one object: two more of its fields.
            (LogFormat::Json, Some(open)) => {
                writeln!(
                    writer,
                    "{open},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}"
                )
            }
            (LogFormat::Json, None) => writeln!(writer, "{line}"),
            (LogFormat::Pretty, _) => writeln!(writer, "{line} trace_id={trace}"),
        }
    }
}

/// A span's fields as one object of JSON, kept as text. What a span learns later
/// is appended, where [`JsonFields`] reads and writes again all that it knew: with
/// each span of a call of the store, though most are never logged. Of a name that
/// is there twice the later counts, as for whoever reads JSON.
#[derive(Default)]
struct Appended {
    fields: JsonFields,
}

impl<'w> FormatFields<'w> for Appended {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        self.fields.format_fields(writer, fields)
    }

    fn add_fields(&self, known: &'w mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let mut more = String::new();
        self.fields.format_fields(Writer::new(&mut more), fields)?;
        let (Some(more), Some(open)) = (more.strip_prefix('{'), known.strip_suffix('}')) else {
            known.fields = more;
            return Ok(());
        };
        let comma = if open.len() > 1 && more.len() > 1 {
            ","
        } else {
            ""
        };
        let end = open.len();
        known.fields.truncate(end);
        known.fields.extend([comma, more]);
        Ok(())
    }
}

/// The ids of the span in which something is logged, if it is traced.
fn ids<S, N>(context: &FmtContext<'_, S, N>) -> Option<(TraceId, SpanId)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let span = context.lookup_current()?.id();
    let found = dispatcher::get_default(|dispatch| get_otel_context(&span, dispatch))?;
    let found = found.span().span_context().clone();
    found
        .is_valid()
        .then(|| (found.trace_id(), found.span_id()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tracing::field::Empty;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written of some lines of ours and of the engine's.
    fn logged(filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(parse_filter(filter).unwrap())
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "worker::account::task", "ours");
            tracing::info!(target: "whatsapp::connection", "adapter");
            let span = tracing::error_span!(target: "whatsapp_rust::client", "conn", pn = 491700000001_i64);
            span.in_scope(|| tracing::info!(target: "worker::app", "inside"));
            tracing::error!(target: "whatsapp_rust::pair", "canary 491700000001");
            tracing::error!(target: "Client/AppState", "canary 491700000001");
            tracing::debug!(target: "worker::app", "detail");
        });
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_level_alone_shows_our_lines_and_never_the_engines() {
        for filter in ["info", "debug", "trace", "INFO", "info,worker=debug"] {
            let text = logged(filter);
            assert!(
                text.contains("ours") && text.contains("adapter"),
                "{filter}: {text}"
            );
            assert!(text.contains("inside"), "{filter}: {text}");
            assert!(!text.contains("49170"), "{filter}: {text}");
            assert_eq!(
                text.contains("detail"),
                !filter.eq_ignore_ascii_case("info"),
                "{filter}"
            );
        }
    }

    #[test]
    fn what_a_span_learns_later_is_in_its_lines() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .fmt_fields(Appended::default())
            .event_format(Traced::json())
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("send", id = "m\"1}", outcome = Empty, tries = Empty);
            let empty = tracing::info_span!("idle", outcome = Empty);
            for tries in [1, 2] {
                span.record("tries", tries);
                span.record("outcome", "sent");
            }
            span.in_scope(|| tracing::info!("one"));
            empty.in_scope(|| tracing::info!("two"));
            empty.record("outcome", true);
            empty.in_scope(|| tracing::info!("three"));
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        let spans: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["span"].take())
            .collect();
        let sent = json!({ "name": "send", "id": "m\"1}", "tries": 2, "outcome": "sent" });
        let idle = json!({ "name": "idle" });
        let known = json!({ "name": "idle", "outcome": true });
        assert_eq!(spans, [sent, idle, known]);
    }

    #[test]
    fn the_engine_is_shown_to_whoever_names_it() {
        assert!(logged("info,whatsapp_rust=info").contains("canary"));
    }
}
