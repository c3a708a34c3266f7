//! Draws a pairing code as a QR code: PNG, SVG, and half-block characters for
//! a terminal.
//!
//! A pairing code is a secret while it is valid (it carries the key that the
//! phone signs with), so nothing here logs or keeps it.

use qrcode::render::svg;
use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode};
use thiserror::Error;

/// White modules around the code, as ISO/IEC 18004 asks for.
const QUIET_ZONE: usize = 4;
/// Pixels of one module's side in a PNG.
const MODULE_PIXELS: usize = 8;
/// Least width and height of an SVG, in its own units.
const SVG_SIDE: u32 = 320;

/// Why a code could not be drawn. It never shows the code.
#[derive(Debug, Error)]
pub enum DrawError {
    /// Longer than a QR code can hold.
    #[error("the code does not fit into a QR code")]
    Encode(#[source] QrError),
    /// The PNG encoder failed.
    #[error("the picture could not be encoded")]
    Png(#[source] png::EncodingError),
}

/// The code as a PNG, one bit a pixel, black on white.
///
/// # Errors
/// `Encode` if the text is too long.
pub fn png(text: &str) -> Result<Vec<u8>, DrawError> {
    let grid = Grid::new(text)?;
    let side = grid.side() * MODULE_PIXELS;
    let row_bytes = side.div_ceil(8);
    let mut pixels = vec![0_u8; row_bytes * side];
    for y in 0..side {
        for x in 0..side {
            if !grid.is_dark(x / MODULE_PIXELS, y / MODULE_PIXELS) {
                pixels[y * row_bytes + x / 8] |= 0x80 >> (x % 8);
            }
        }
    }
    let mut file = Vec::new();
    let side = u32::try_from(side).expect("a QR code has at most 177 modules a side");
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().map_err(DrawError::Png)?;
    writer.write_image_data(&pixels).map_err(DrawError::Png)?;
    writer.finish().map_err(DrawError::Png)?;
    Ok(file)
}

/// The code as an SVG document.
///
/// # Errors
/// `Encode` if the text is too long.
pub fn svg(text: &str) -> Result<String, DrawError> {
    let code = encode(text)?;
    Ok(code
        .render::<svg::Color<'_>>()
        .min_dimensions(SVG_SIDE, SVG_SIDE)
        .build())
}

/// The code in half-block characters, two rows a line, light modules drawn:
/// right on a dark background, and to be coloured on any other.
///
/// # Errors
/// `Encode` if the text is too long.
pub fn terminal(text: &str) -> Result<String, DrawError> {
    let grid = Grid::new(text)?;
    let mut drawing = String::new();
    for y in (0..grid.side()).step_by(2) {
        for x in 0..grid.side() {
            drawing.push(match (grid.is_dark(x, y), grid.is_dark(x, y + 1)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        drawing.push('\n');
    }
    Ok(drawing)
}

fn encode(text: &str) -> Result<QrCode, DrawError> {
    // The lowest correction: a screen is not smudged, and small codes fit a terminal.
    QrCode::with_error_correction_level(text, EcLevel::L).map_err(DrawError::Encode)
}

/// The modules with their quiet zone around them.
struct Grid {
    modules: Vec<Color>,
    width: usize,
}

impl Grid {
    fn new(text: &str) -> Result<Self, DrawError> {
        let code = encode(text)?;
        Ok(Self {
            width: code.width(),
            modules: code.into_colors(),
        })
    }

    fn side(&self) -> usize {
        self.width + 2 * QUIET_ZONE
    }

    /// Everything outside the code is light.
    fn is_dark(&self, x: usize, y: usize) -> bool {
        let (Some(x), Some(y)) = (x.checked_sub(QUIET_ZONE), y.checked_sub(QUIET_ZONE)) else {
            return false;
        };
        x < self.width && y < self.width && self.modules[y * self.width + x] == Color::Dark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as a real pairing code: a reference and three keys.
    const CODE: &str = "2@qHk0V1y9bLr3uS8cWmZ5oTgNfXeJdAiPpRrQqSsTtUuVvWwXxYyZz0123456789abcd,\
        q83vEjRWeJASNFZ4kBI0VniQq83vEjRWeJASNFZ4kBI=,q83vEjRWeJASNFZ4kBI0VniQq83vEjRWeJASNFZ4kBI=,\
        q83vEjRWeJASNFZ4kBI0VniQq83vEjRWeJASNFZ4kBI=,1";

    fn decode(width: usize, height: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
            if is_dark(x, y) { 0 } else { 255 }
        });
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1, "exactly one code is found");
        grids[0].decode().unwrap().1
    }

    #[test]
    fn png_is_read_back_by_a_scanner() {
        let file = png(CODE).unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let (width, height) = (info.width as usize, info.height as usize);
        assert_eq!(
            decode(width, height, |x, y| pixels[y * info.line_size + x] < 128),
            CODE
        );
    }

    #[test]
    fn svg_is_read_back_by_a_scanner() {
        let document = svg(CODE).unwrap();
        let path = document
            .split(" d=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let rectangles: Vec<[usize; 4]> = path
            .split('M')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let numbers: Vec<usize> = part
                    .split(|c: char| !c.is_ascii_digit())
                    .filter(|number| !number.is_empty())
                    .map(|number| number.parse().unwrap())
                    .collect();
                [numbers[0], numbers[1], numbers[2], numbers[3]]
            })
            .collect();
        let side = rectangles
            .iter()
            .map(|[x, _, width, _]| x + width)
            .max()
            .unwrap()
            + 20;
        let dark = |x: usize, y: usize| {
            rectangles.iter().any(|[left, top, width, height]| {
                (*left..left + width).contains(&x) && (*top..top + height).contains(&y)
            })
        };
        assert_eq!(decode(side, side, dark), CODE);
        assert!(!document.contains("<script"));
    }

    #[test]
    fn terminal_drawing_is_read_back_by_a_scanner() {
        let drawing = terminal(CODE).unwrap();
        let lines: Vec<Vec<char>> = drawing.lines().map(|line| line.chars().collect()).collect();
        let (width, height) = (lines[0].len(), lines.len() * 2);
        let dark = |x: usize, y: usize| match lines[y / 2][x] {
            '█' => false,
            '▀' => !y.is_multiple_of(2),
            '▄' => y.is_multiple_of(2),
            ' ' => true,
            other => panic!("unexpected character {other:?}"),
        };
        // A scanner needs more than one pixel a module.
        assert_eq!(
            decode(width * 4, height * 4, |x, y| dark(x / 4, y / 4)),
            CODE
        );
        assert!(
            width <= 80,
            "fits a terminal of 80 columns, and is {width} wide"
        );
    }

    #[test]
    fn a_text_too_long_is_an_error_without_the_text() {
        let error = png(&"canary".repeat(1_000)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
