//! Frames on the byte stream: three bytes of big-endian length, then as much.
//!
//! A client opens with an intro, once: `W A 6 3`, before it possibly
//! `E D 0 1`, a 3-byte length and that much routing information. WebSocket
//! messages have nothing to do with frames: one may hold several, or a part.
//! The server sends frames only.

use super::tokens::DICTIONARY_VERSION;

/// `WA`, the protocol's magic value and the dictionary's version. It is also
/// the prologue of the Noise handshake.
pub const INTRO: [u8; 4] = [b'W', b'A', 6, DICTIONARY_VERSION];

const ROUTING_INTRO: [u8; 4] = [b'E', b'D', 0, 1];
const LENGTH_BYTES: usize = 3;

/// The longest frame: more does not fit the length.
pub const FRAME_BYTES_MAX: usize = (1 << 24) - 1;

/// Why the bytes are no frames.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("the connection does not open with the intro `WA` 6 {DICTIONARY_VERSION}")]
    BadIntro,
}

/// Puts a client's bytes together and takes frames from them.
///
/// It holds at most one incomplete frame and what one WebSocket message brought.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were already handed out.
    taken: usize,
    intro_seen: bool,
}

impl FrameReader {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the payload of a WebSocket message.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, without its length.
    ///
    /// # Errors
    /// The stream does not begin with an intro → [`FrameError::BadIntro`]; it
    /// stays so.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        if !self.intro_seen && !self.take_intro()? {
            return Ok(None);
        }
        let Some(length) = self.length_at(0) else {
            return Ok(None);
        };
        let Some(frame) = self.rest().get(LENGTH_BYTES..LENGTH_BYTES + length) else {
            return Ok(None);
        };
        let frame = frame.to_vec();
        self.taken += LENGTH_BYTES + length;
        Ok(Some(frame))
    }

    /// Consumes the intro; false while it is incomplete.
    fn take_intro(&mut self) -> Result<bool, FrameError> {
        let mut skip = 0;
        if !self.rest().is_empty() && starts_like(self.rest(), &ROUTING_INTRO) {
            let Some(length) = self.length_at(ROUTING_INTRO.len()) else {
                return Ok(false);
            };
            skip = ROUTING_INTRO.len() + LENGTH_BYTES + length;
        }
        let Some(intro) = self.rest().get(skip..) else {
            return Ok(false);
        };
        if !starts_like(intro, &INTRO) {
            return Err(FrameError::BadIntro);
        }
        if intro.len() < INTRO.len() {
            return Ok(false);
        }
        self.taken += skip + INTRO.len();
        self.intro_seen = true;
        Ok(true)
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    fn length_at(&self, at: usize) -> Option<usize> {
        let bytes = self.rest().get(at..at + LENGTH_BYTES)?;
        Some(usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]))
    }
}

/// Whether `bytes` and `start` agree as far as both go.
fn starts_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

/// Puts the length before a frame's bytes.
///
/// # Panics
/// More than [`FRAME_BYTES_MAX`] bytes: nothing the server sends comes near.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() <= FRAME_BYTES_MAX, "frame too long");
    let mut framed = Vec::with_capacity(LENGTH_BYTES + bytes.len());
    framed.extend_from_slice(&(bytes.len() as u32).to_be_bytes()[1..]);
    framed.extend_from_slice(bytes);
    framed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn all(reader: &mut FrameReader) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
    }

    #[test]
    fn routing_information_is_skipped() {
        let mut reader = FrameReader::new();
        reader.feed(b"ED\x00\x01\x00\x00\x03xyzWA\x06\x03\x00\x00\x01!");
        assert_eq!(all(&mut reader), [b"!".to_vec()]);
    }

    #[test]
    fn another_opening_is_refused() {
        for bytes in [&b"GET /"[..], b"WA\x06\x02", b"EX"] {
            let mut reader = FrameReader::new();
            reader.feed(bytes);
            assert_eq!(reader.next_frame(), Err(FrameError::BadIntro));
        }
    }

    proptest! {
        #[test]
        fn frames_survive_any_split(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            routing in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            cuts in prop::collection::vec(1usize..50, 1..200),
        ) {
            let mut stream = Vec::new();
            if let Some(routing) = routing {
                stream.extend_from_slice(&ROUTING_INTRO);
                stream.extend(frame(&routing));
            }
            stream.extend_from_slice(&INTRO);
            for bytes in &frames {
                stream.extend(frame(bytes));
            }

            let mut reader = FrameReader::new();
            let mut seen = Vec::new();
            let mut cuts = cuts.iter().cycle();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                reader.feed(now);
                seen.extend(all(&mut reader));
                rest = later;
            }
            prop_assert_eq!(seen, frames);
        }
    }
}
