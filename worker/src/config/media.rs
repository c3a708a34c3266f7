//! Options of files: those that are to be sent, and those that came.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;
use super::{ConfigError, StoreConfig, StoreKind, at_least};
use crate::media::keeping::{KeepMedia, MediaKinds};
use crate::media::{MediaLimits, MediaPlace};

/// A message is accepted, and a file's document written, in much less time.
const RETENTION_MIN: Duration = Duration::from_secs(600);

/// In a simulation nobody waits for so long.
const RETENTION_MIN_SIMULATED: Duration = Duration::from_secs(2);

/// Where files are kept until they are sent, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Media")]
pub struct MediaOptions {
    /// Where files wait that are to be sent: `file:///folder`, a folder that every worker
    /// mounts, `gs://bucket/prefix` or `s3://bucket/prefix`; one for each cluster
    /// [default: `media` in the data folder with SQLite, none with Firestore]
    #[arg(long, env = "LEASEHOLD_MEDIA_STORE", value_name = "URL")]
    pub media_store: Option<MediaPlace>,

    /// How long a file is kept after it was given or last used, once no queued message needs it
    #[arg(long, env = "LEASEHOLD_MEDIA_RETENTION", value_name = "TIME", default_value = "1d", value_parser = parse_duration)]
    pub media_retention: Duration,

    /// Largest file that is sent or fetched, in bytes
    #[arg(
        long,
        env = "LEASEHOLD_MEDIA_BYTES_MAX",
        value_name = "BYTES",
        default_value_t = MediaLimits::default().bytes_max
    )]
    pub media_bytes_max: u64,

    /// Keeps files that come with messages in the media store, encrypted as WhatsApp has them,
    /// for as long as their messages; WhatsApp itself keeps them for some weeks
    #[arg(long, env = "LEASEHOLD_KEEP_MEDIA")]
    pub keep_media: bool,

    /// Largest file that is kept, in bytes; where --media-bytes-max is less, that
    #[arg(
        long,
        env = "LEASEHOLD_KEEP_MEDIA_BYTES_MAX",
        value_name = "BYTES",
        default_value_t = MediaLimits::default().bytes_max
    )]
    pub keep_media_bytes_max: u64,

    /// Kinds of files that are kept, with commas in between
    #[arg(
        long,
        env = "LEASEHOLD_KEEP_MEDIA_KINDS",
        value_name = "KINDS",
        default_value_t = MediaKinds::all()
    )]
    pub keep_media_kinds: MediaKinds,
}

impl Default for MediaOptions {
    fn default() -> Self {
        let limits = MediaLimits::default();
        Self {
            media_store: None,
            media_retention: limits.retention,
            media_bytes_max: limits.bytes_max,
            keep_media: false,
            keep_media_bytes_max: limits.bytes_max,
            keep_media_kinds: MediaKinds::all(),
        }
    }
}

impl MediaOptions {
    /// Where files lie, beside this store.
    pub fn place(&self, store: &StoreConfig) -> Option<MediaPlace> {
        let own = || match store.store {
            StoreKind::Sqlite => Some(MediaPlace::Own(own_folder(store))),
            // The worker that sends is another one than took the file.
            StoreKind::Firestore => None,
        };
        self.media_store.clone().or_else(own)
    }

    /// Limits of files.
    pub fn limits(&self) -> MediaLimits {
        MediaLimits {
            bytes_max: self.media_bytes_max,
            retention: self.media_retention,
        }
    }

    /// Which files that come are kept, if any are.
    pub fn keep(&self) -> Option<KeepMedia> {
        self.keep_media.then(|| KeepMedia {
            bytes_max: self.keep_media_bytes_max.min(self.media_bytes_max),
            kinds: self.keep_media_kinds.clone(),
        })
    }

    /// Checks these options, beside this store.
    pub(super) fn validate(
        &self,
        store: &StoreConfig,
        simulation: bool,
    ) -> Result<(), ConfigError> {
        let least = match simulation {
            true => RETENTION_MIN_SIMULATED,
            false => RETENTION_MIN,
        };
        at_least("--media-retention", self.media_retention, least)?;
        if self.media_bytes_max == 0 {
            return Err(ConfigError::relation(
                "--media-bytes-max must be at least 1",
            ));
        }
        if self.keep_media_bytes_max == 0 {
            return Err(ConfigError::relation(
                "--keep-media-bytes-max must be at least 1; leave out --keep-media to keep no files",
            ));
        }
        if self.keep_media && self.place(store).is_none() {
            return Err(ConfigError::relation(
                "--keep-media needs a place for files: name one with --media-store, such as \
                 gs://bucket/prefix, since with Firestore there is none of its own",
            ));
        }
        Ok(())
    }
}

fn own_folder(store: &StoreConfig) -> PathBuf {
    store.data_dir.join("media")
}
