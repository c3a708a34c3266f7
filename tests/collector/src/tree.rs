//! The spans of one trace, as a tree for people: what, by whom, how long.

use crate::span::Span;

/// Attributes that a line shows.
const SHOWN: [&str; 12] = [
    "http.route",
    "http.response.status_code",
    "message.state",
    "message.outcome",
    "db.collection.name",
    "db.outcome",
    "lease.epoch",
    "lease.reason",
    "lease.outcome",
    "lease.unowned_ms",
    "account.status",
    "command.kind",
];

/// The spans of a trace, in the order in which they began.
pub fn of(spans: &[Span], trace: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = spans
        .iter()
        .filter(|span| span.trace == trace)
        .cloned()
        .collect();
    spans.sort_by_key(|span| span.began);
    spans
}

/// The trace as text. Spans whose parent did not come are roots, marked so.
pub fn draw(spans: &[Span], trace: &str) -> String {
    let spans = of(spans, trace);
    let mut text = format!("trace {trace}\n");
    for root in spans.iter().filter(|span| is_root(span, &spans)) {
        if !root.parent.is_empty() {
            text.push_str("  (below a span of the caller)\n");
        }
        branch(root, &spans, 1, &mut text);
    }
    text
}

fn is_root(span: &Span, all: &[Span]) -> bool {
    !all.iter().any(|other| other.id == span.parent)
}

fn branch(span: &Span, all: &[Span], depth: usize, text: &mut String) {
    let shown: Vec<String> = SHOWN
        .iter()
        .filter_map(|key| Some(format!("{key}={}", span.attributes.get(*key)?)))
        .collect();
    let error = if span.is_error { " ERROR" } else { "" };
    let links = match span.links.len() {
        0 => String::new(),
        count => format!(" links={count}"),
    };
    text.push_str(&format!(
        "{}{} [{}] {:.1} ms{error}{links} {}\n",
        "  ".repeat(depth),
        span.name,
        span.worker,
        span.took.as_secs_f64() * 1_000.0,
        shown.join(" "),
    ));
    for child in all.iter().filter(|other| other.parent == span.id) {
        branch(child, all, depth + 1, text);
    }
}
