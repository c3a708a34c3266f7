//! The numbers of the rendered manifest.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Variables that say where things are: here they are elsewhere.
const PLACES: [&str; 7] = [
    "GOOGLE_CLOUD_PROJECT",
    "LEASEHOLD_DATA_DIR",
    "LEASEHOLD_KEY_RING",
    "LEASEHOLD_LISTEN",
    "LEASEHOLD_LOG_FORMAT",
    "LEASEHOLD_STORE",
    "WORKER_ID",
];

/// What Kubernetes would do, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Pods, as many as the autoscaler keeps at least.
    pub(crate) replicas: usize,
    /// Pods beyond that while versions change.
    pub(crate) surge: usize,
    /// Pods that may be missing meanwhile.
    pub(crate) unavailable: usize,
    /// A pod that has been ready for so long is available.
    pub(crate) min_ready: Duration,
    /// From the announcement of a pod's end to SIGKILL.
    pub(crate) grace: Duration,
    /// From there to SIGTERM.
    pub(crate) pre_stop: Duration,
    /// How pods are asked whether they are ready.
    pub(crate) readiness: Probe,
    /// The worker's variables, but for where things are.
    pub(crate) environment: Vec<(String, String)>,
}

/// A probe over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// What is asked for.
    pub(crate) path: String,
    /// How often.
    pub(crate) period: Duration,
    /// For an answer.
    pub(crate) timeout: Duration,
    /// So many bad answers in a row count.
    pub(crate) failures: u64,
}

impl Manifest {
    /// Reads a file of rendered manifests.
    ///
    /// # Errors
    /// There is none, or it has no Deployment of the worker's kind.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: `k8s/check --write` renders it", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
        let of_kind = |kind: &str| documents.iter().find(|document| document["kind"] == kind);
        let deployment = &of_kind("Deployment").context("there is no Deployment")?["spec"];
        let scaler = of_kind("HorizontalPodAutoscaler").map(|scaler| &scaler["spec"]);
        let pod = &deployment["template"]["spec"];
        let worker = &pod["containers"][0];
        let rolling = &deployment["strategy"]["rollingUpdate"];
        let probe = &worker["readinessProbe"];
        let replicas = scaler.map_or(&deployment["replicas"], |spec| &spec["minReplicas"]);
        Ok(Self {
            replicas: count(replicas)?,
            surge: count(&rolling["maxSurge"])?,
            unavailable: count(&rolling["maxUnavailable"])?,
            min_ready: seconds(&deployment["minReadySeconds"])?,
            grace: seconds(&pod["terminationGracePeriodSeconds"])?,
            pre_stop: seconds(&worker["lifecycle"]["preStop"]["sleep"]["seconds"])?,
            readiness: Probe {
                path: text_of(&probe["httpGet"]["path"])?,
                period: seconds(&probe["periodSeconds"])?,
                timeout: seconds(&probe["timeoutSeconds"])?,
                failures: number(&probe["failureThreshold"])?,
            },
            environment: environment(&worker["env"])?,
        })
    }
}

fn environment(variables: &Value) -> Result<Vec<(String, String)>> {
    let variables = variables.as_array().context("the worker has variables")?;
    let mut environment = Vec::new();
    for variable in variables {
        let name = text_of(&variable["name"])?;
        // One that is the pod's own, such as its name, is set with the pod.
        if let Some(value) = variable["value"]
            .as_str()
            .filter(|_| !PLACES.contains(&&*name))
        {
            environment.push((name, value.to_owned()));
        }
    }
    Ok(environment)
}

fn number(value: &Value) -> Result<u64> {
    match value.as_u64() {
        Some(number) => Ok(number),
        None => bail!("a number is missing, or is {value}"),
    }
}

fn count(value: &Value) -> Result<usize> {
    Ok(usize::try_from(number(value)?)?)
}

fn seconds(value: &Value) -> Result<Duration> {
    number(value).map(Duration::from_secs)
}

fn text_of(value: &Value) -> Result<String> {
    let text = value
        .as_str()
        .with_context(|| format!("no text but {value}"))?;
    Ok(text.to_owned())
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pods, {} more and {} less while versions change, available after {:?}, \
             {} every {:?}; killed {:?} after the announcement, SIGTERM {:?} after it",
            self.replicas,
            self.surge,
            self.unavailable,
            self.min_ready,
            self.readiness.path,
            self.readiness.period,
            self.grace,
            self.pre_stop
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENDERED: &str = include_str!("../../../k8s/rendered/production.yaml");

    #[test]
    fn the_rendered_manifest_is_read() {
        let manifest = Manifest::parse(RENDERED).unwrap();
        assert!(manifest.replicas >= 3, "{manifest}");
        assert!(manifest.grace > manifest.pre_stop, "{manifest}");
        assert_eq!(manifest.readiness.path, "/readyz");
        let names: Vec<&str> = manifest
            .environment
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert!(names.contains(&"LEASEHOLD_TERMINATION_GRACE"), "{names:?}");
        assert!(!names.contains(&"LEASEHOLD_STORE"), "{names:?}");
    }

    #[test]
    fn a_number_that_is_missing_is_named_as_such() {
        let without = RENDERED.replace("terminationGracePeriodSeconds: 60", "hostPID: false");
        assert_ne!(without, RENDERED);
        let error = Manifest::parse(&without).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
        assert!(Manifest::parse("kind: Service").is_err());
    }
}
