//! Who tells it: attributes of the worker, its process and its pod, by the
//! names of OpenTelemetry's conventions. `OTEL_RESOURCE_ATTRIBUTES` adds to them.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use crate::config::TelemetryConfig;

/// What a pod is told of itself by the downward API: attribute, variables.
/// Names that other systems use, too, are not among them.
const POD: [(&str, &[&str]); 6] = [
    ("k8s.pod.name", &["K8S_POD_NAME", "POD_NAME"]),
    ("k8s.pod.uid", &["K8S_POD_UID", "POD_UID"]),
    (
        "k8s.namespace.name",
        &["K8S_NAMESPACE_NAME", "POD_NAMESPACE"],
    ),
    ("k8s.node.name", &["K8S_NODE_NAME", "NODE_NAME"]),
    ("k8s.container.name", &["K8S_CONTAINER_NAME"]),
    ("k8s.cluster.name", &["K8S_CLUSTER_NAME"]),
];

/// The attributes of this process.
pub fn detect(config: &TelemetryConfig, worker: &str) -> Resource {
    Resource::builder()
        .with_service_name(config.service_name.clone())
        .with_attributes(attributes(worker, |name| std::env::var(name).ok()))
        .build()
}

fn attributes(worker: &str, variable: impl Fn(&str) -> Option<String>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("service.version", crate::VERSION),
        // Workers' names are unlike one another, and stay the same.
        KeyValue::new("service.instance.id", worker.to_owned()),
        KeyValue::new("process.pid", i64::from(std::process::id())),
        KeyValue::new("leasehold.commit", crate::COMMIT),
    ];
    let named = |names: &[&str]| {
        names
            .iter()
            .filter_map(|name| variable(name))
            .find(|value| !value.is_empty())
    };
    if let Some(host) = named(&["HOSTNAME"]) {
        attributes.push(KeyValue::new("host.name", host));
    }
    for (attribute, names) in POD {
        if let Some(value) = named(names) {
            attributes.push(KeyValue::new(attribute, value));
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_by_what_the_downward_api_says() {
        let variables = |name: &str| match name {
            "POD_NAME" => Some("worker-1".to_owned()),
            "K8S_NODE_NAME" => Some("node-7".to_owned()),
            "POD_NAMESPACE" => Some(String::new()),
            _ => None,
        };
        let attributes = attributes("alice", variables);
        let of = |key: &str| {
            let found = attributes
                .iter()
                .find(|attribute| attribute.key.as_str() == key);
            found.map(|attribute| attribute.value.to_string())
        };
        assert_eq!(of("k8s.pod.name").as_deref(), Some("worker-1"));
        assert_eq!(of("k8s.node.name").as_deref(), Some("node-7"));
        assert_eq!(of("service.instance.id").as_deref(), Some("alice"));
        assert_eq!(of("k8s.namespace.name"), None);
        assert_eq!(of("host.name"), None);
    }

    #[test]
    fn the_readme_names_what_a_pod_is_told() {
        let readme = include_str!("../../README.md");
        for (attribute, name) in [
            ("k8s.pod.name", "POD_NAME"),
            ("k8s.pod.uid", "POD_UID"),
            ("k8s.namespace.name", "POD_NAMESPACE"),
            ("k8s.node.name", "NODE_NAME"),
        ] {
            let known = POD.iter().find(|(known, _)| *known == attribute);
            assert!(
                known.is_some_and(|(_, names)| names.contains(&name)),
                "{name}"
            );
            let row = readme
                .lines()
                .find(|line| line.starts_with(&format!("| – | `{name}` |")));
            assert!(row.is_some_and(|row| row.contains(attribute)), "{name}");
        }
    }
}
