//! A small picture of a picture, as WhatsApp's clients send it along: shown
//! until the picture itself is fetched.
//!
//! Pictures are strangers' bytes: they are decoded on a thread of their own, one
//! at a time in a worker, and only below limits on bytes and pixels. What is no
//! picture, or too large, is sent without a thumbnail. Films get none: that
//! would take a decoder for films.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::sync::Arc;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use tokio::sync::Semaphore;

/// Pixels of the longer side: what WhatsApp's clients show.
const SIDE_PIXELS: u32 = 100;

/// Quality of the JPEG, of 100: some kilobytes in all.
const QUALITY: u8 = 60;

/// Bytes of a thumbnail; larger ones are left out.
const THUMBNAIL_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a picture that is looked at: the decoder reads them into memory.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Pixels of a picture that is looked at. WhatsApp's own clients send about two
/// million, cameras make twelve. Decoded they take 48 MiB, in a progressive
/// JPEG three times as much while they are.
const PIXELS_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of memory that a decoder may ask for.
const MEMORY_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// What was seen of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels, as it is to be looked at.
    pub width: u32,
    /// Pixels, as it is to be looked at.
    pub height: u32,
    /// A JPEG of [`SIDE_PIXELS`] at most.
    pub thumbnail: Bytes,
}

/// Looks at pictures. Clones are the same.
#[derive(Clone)]
pub(super) struct Pictures(Arc<Semaphore>);

impl Default for Pictures {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// Whether files of this media type are looked at.
pub(super) fn is_picture(mime_type: &str) -> bool {
    matches!(mime_type, "image/jpeg" | "image/png" | "image/webp")
}

impl Pictures {
    /// Looks at a file; none of what is no picture that may be looked at.
    pub(super) async fn look(&self, file: File) -> Option<Picture> {
        let permit = Arc::clone(&self.0).acquire_owned().await.ok()?;
        let looked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            look(file)
        });
        // A decoder that panics has seen no picture.
        looked.await.ok().flatten()
    }
}

fn look(file: File) -> Option<Picture> {
    if file.metadata().ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let reader = ImageReader::new(BufReader::new(file));
    let mut decoder = reader.with_guessed_format().ok()?.into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return None;
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MEMORY_BYTES_MAX);
    decoder.set_limits(limits).ok()?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let whole = DynamicImage::from_decoder(decoder).ok()?;
    let mut small = match width.max(height) > SIDE_PIXELS {
        true => whole.thumbnail(SIDE_PIXELS, SIDE_PIXELS),
        false => whole,
    };
    small.apply_orientation(orientation);
    let (width, height) = match is_on_its_side(orientation) {
        true => (height, width),
        false => (width, height),
    };
    let mut jpeg = Cursor::new(Vec::new());
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    small.to_rgb8().write_with_encoder(encoder).ok()?;
    let thumbnail = Bytes::from(jpeg.into_inner());
    (thumbnail.len() <= THUMBNAIL_BYTES_MAX).then_some(Picture {
        width,
        height,
        thumbnail,
    })
}

fn is_on_its_side(orientation: Orientation) -> bool {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => true,
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use image::{ImageFormat, Rgb, RgbImage};

    use super::*;

    fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 99]));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    async fn seen(content: &[u8]) -> Option<Picture> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        Pictures::default().look(file).await
    }

    #[tokio::test]
    async fn a_picture_has_a_small_one_of_the_same_shape() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let seen = seen(&picture(400, 200, format)).await.unwrap();
            assert_eq!((seen.width, seen.height), (400, 200), "{format:?}");
            let small = image::load_from_memory(&seen.thumbnail).unwrap();
            assert_eq!((small.width(), small.height()), (100, 50), "{format:?}");
            assert!(seen.thumbnail.starts_with(&[0xff, 0xd8]), "a JPEG");
            assert!(seen.thumbnail.len() < 4_000, "{}", seen.thumbnail.len());
        }
    }

    #[tokio::test]
    async fn a_small_picture_is_not_blown_up() {
        let seen = seen(&picture(20, 10, ImageFormat::Png)).await.unwrap();
        let small = image::load_from_memory(&seen.thumbnail).unwrap();
        assert_eq!((small.width(), small.height()), (20, 10));
    }

    #[tokio::test]
    async fn a_picture_on_its_side_is_shown_upright() {
        let upright = picture(40, 20, ImageFormat::Jpeg);
        // An APP1 segment with an EXIF orientation of 6: turn it right.
        let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
        let mut turned = vec![0xff, 0xd8, 0xff, 0xe1, length[0], length[1]];
        turned.extend(exif);
        turned.extend(&upright[2..]);
        let seen = seen(&turned).await.unwrap();
        assert_eq!((seen.width, seen.height), (20, 40));
        let small = image::load_from_memory(&seen.thumbnail).unwrap();
        assert_eq!((small.width(), small.height()), (20, 40));
    }

    #[tokio::test]
    async fn what_is_no_picture_or_claims_to_be_huge_has_none() {
        let mut cut_off = picture(400, 200, ImageFormat::Png);
        cut_off.truncate(300);
        // A PNG of two thousand million pixels in its header.
        let mut huge = picture(1, 1, ImageFormat::Png);
        huge[16..24].copy_from_slice(&[0, 0, 0xb0, 0, 0, 0, 0xb0, 0]);
        for content in [&b""[..], b"not a picture", &cut_off, &huge] {
            assert_eq!(seen(content).await, None);
        }
    }
}
