//! Where files lie, as it is configured.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::MediaStoreError;

/// Bytes of a part in a bucket: S3 takes no smaller ones.
const BUCKET_PART_BYTES: usize = 5 * 1024 * 1024;

/// Bytes of a part in a folder.
const FOLDER_PART_BYTES: usize = 256 * 1024;

/// A bucket that says nothing for so long does not answer.
const BUCKET_SILENCE_MAX: Duration = Duration::from_secs(15);

/// For a whole file of the largest size on a slow line.
const BUCKET_REQUEST_LIMIT: Duration = Duration::from_secs(10 * 60);

/// What failed is tried again for so long: clients wait.
const BUCKET_RETRY_LIMIT: Duration = Duration::from_secs(20);
const BUCKET_RETRIES_MAX: usize = 3;

/// Where files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaPlace {
    /// A folder of the worker's own, made for its owner only.
    Own(PathBuf),
    /// A folder that is there already, and that every worker sees:
    /// `file:///folder`.
    Folder(PathBuf),
    /// Google Cloud Storage: `gs://bucket/prefix`.
    Google(Bucket),
    /// Amazon's S3, or a store that speaks it: `s3://bucket/prefix`.
    S3(Bucket),
}

/// A bucket, and what names of files in it begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Before each name of a file; may be empty.
    pub prefix: Path,
}

/// A place, opened.
pub(super) struct Opened {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    pub(super) folder: Option<PathBuf>,
    pub(super) is_own: bool,
    pub(super) part_bytes: usize,
}

impl MediaPlace {
    /// Opens it. A bucket is not asked: that it cannot be used is told by the
    /// first file.
    pub(super) fn open(&self) -> Result<Opened, MediaStoreError> {
        match self {
            Self::Own(path) => {
                use std::os::unix::fs::DirBuilderExt;
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)?;
                Ok(Opened {
                    is_own: true,
                    ..open_folder(path)?
                })
            }
            // Not made: it may be one whose disk is not mounted yet.
            Self::Folder(path) => open_folder(path),
            Self::Google(bucket) => {
                use_ring();
                let client = GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(&bucket.name)
                    .with_client_options(client_options())
                    .with_retry(retries())
                    .build()?;
                Ok(bucket.opened(Arc::new(client)))
            }
            Self::S3(bucket) => {
                use_ring();
                let allow_http = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|text| text == "true");
                let client = AmazonS3Builder::from_env()
                    .with_bucket_name(&bucket.name)
                    .with_client_options(client_options().with_allow_http(allow_http))
                    .with_retry(retries())
                    .build()?;
                Ok(bucket.opened(Arc::new(client)))
            }
        }
    }
}

impl Bucket {
    fn opened(&self, objects: Arc<dyn ObjectStore>) -> Opened {
        Opened {
            objects,
            prefix: self.prefix.clone(),
            folder: None,
            is_own: false,
            part_bytes: BUCKET_PART_BYTES,
        }
    }
}

fn open_folder(path: &PathBuf) -> Result<Opened, MediaStoreError> {
    let objects = LocalFileSystem::new_with_prefix(path)?.with_fsync(true);
    Ok(Opened {
        objects: Arc::new(objects),
        prefix: Path::default(),
        folder: Some(path.clone()),
        is_own: false,
        part_bytes: FOLDER_PART_BYTES,
    })
}

/// The client's TLS takes the process's cryptography, and there may be none yet.
pub(super) fn use_ring() {
    // An error says that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn client_options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(BUCKET_SILENCE_MAX)
        .with_read_timeout(BUCKET_SILENCE_MAX)
        .with_timeout(BUCKET_REQUEST_LIMIT)
}

fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: BUCKET_RETRIES_MAX,
        retry_timeout: BUCKET_RETRY_LIMIT,
        ..RetryConfig::default()
    }
}

impl FromStr for MediaPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("file://") {
            return match path.starts_with('/') {
                true => Ok(Self::Folder(PathBuf::from(path))),
                false => Err("write a folder as file:///path/of/the/folder"),
            };
        }
        if let Some(bucket) = text.strip_prefix("gs://") {
            return bucket.parse().map(Self::Google);
        }
        if let Some(bucket) = text.strip_prefix("s3://") {
            return bucket.parse().map(Self::S3);
        }
        Err("write file:///folder, gs://bucket/prefix or s3://bucket/prefix")
    }
}

impl FromStr for Bucket {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err("a bucket's name has letters, digits, dots, hyphens and underscores");
        }
        Ok(Self {
            name: name.to_owned(),
            prefix: Path::parse(prefix).map_err(|_| "what follows the bucket is no path")?,
        })
    }
}

impl fmt::Display for MediaPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(path) | Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::Google(bucket) => write!(f, "gs://{}/{}", bucket.name, bucket.prefix),
            Self::S3(bucket) => write!(f, "s3://{}/{}", bucket.name, bucket.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["file:///srv/media", "gs://files/a/b", "s3://files/a"] {
            let place: MediaPlace = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
        for text in [
            "media",
            "file://media",
            "gs://",
            "gs://a b",
            "s3://a/b//c",
            "ftp://a",
        ] {
            assert!(text.parse::<MediaPlace>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_shared_folder_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let missing = MediaPlace::Folder(folder.path().join("not mounted"));
        assert!(missing.open().is_err());
        assert!(MediaPlace::Folder(folder.path().to_owned()).open().is_ok());
    }

    /// The client is built without cryptography of its own: see the workspace's
    /// manifest.
    #[tokio::test]
    async fn buckets_are_asked_by_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        use_ring();
        let client = AmazonS3Builder::new()
            .with_bucket_name("files")
            .with_region("somewhere")
            .with_endpoint(format!("https://{address}"))
            .with_access_key_id("id")
            .with_secret_access_key("secret")
            .with_client_options(client_options())
            .build()
            .unwrap();
        let path = Path::from("x");
        let asking = object_store::ObjectStoreExt::head(&client, &path);
        let hello = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut record = [0; 3];
            stream.read_exact(&mut record).await.unwrap();
            record
        };
        tokio::select! {
            answer = asking => panic!("no connection: {answer:?}"),
            record = hello => assert_eq!(record[..2], [22, 3], "a TLS handshake"),
        }
    }
}
