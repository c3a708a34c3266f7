//! `/` and `/assets/{file}`: the dashboard, a web page for people.
//!
//! It is built in `worker/dashboard` and is part of the program: what is built
//! lies in `dist/`, committed, so that nothing but Cargo is needed here. The
//! page loads nothing from outside, and its content security policy lets
//! nothing in.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::problem::{Problem, ProblemKind};

/// Scripts and styles are files of this origin, never inline. Pictures and
/// sounds of conversations are shown from memory (`blob:`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
     media-src 'self' blob:; connect-src 'self'; font-src 'self'; form-action 'none'; base-uri 'none'; \
     frame-ancestors 'none'";

/// A file of the page, as it was built.
struct Built {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

const PAGE: Built = Built {
    name: "index.html",
    media_type: "text/html; charset=utf-8",
    bytes: include_bytes!("../../dashboard/dist/index.html"),
};

/// What the page loads.
const ASSETS: [Built; 3] = [
    Built {
        name: "app.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../dashboard/dist/app.js"),
    },
    Built {
        name: "app.css",
        media_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../dashboard/dist/app.css"),
    },
    Built {
        name: "icon.svg",
        media_type: "image/svg+xml",
        bytes: include_bytes!("../../dashboard/dist/icon.svg"),
    },
];

/// A file as it is served.
struct Served {
    built: Built,
    packed: Vec<u8>,
    /// Of both forms: the one says what the other one says.
    tag: HeaderValue,
}

impl Served {
    fn new(built: Built) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let packed = encoder.write_all(built.bytes);
        let packed = packed.and_then(|()| encoder.finish());
        let digest = hex::encode(&Sha256::digest(built.bytes)[..12]);
        Self {
            packed: packed.expect("memory takes what is written"),
            tag: HeaderValue::try_from(format!("W/\"{digest}\"")).expect("hex is ASCII"),
            built,
        }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let names = |name: &HeaderName, part: &str| {
            let value = asked.get(name).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| value.split(',').any(|one| one.trim() == part))
        };
        let is_known = names(
            &header::IF_NONE_MATCH,
            self.tag.to_str().unwrap_or_default(),
        );
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else if names(&header::ACCEPT_ENCODING, "gzip") {
            let encoding = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            ([encoding], self.packed.clone()).into_response()
        } else {
            self.built.bytes.into_response()
        };
        let headers = response.headers_mut();
        let fixed = [
            (header::CONTENT_TYPE, self.built.media_type),
            // A worker of another version may answer next: ask each time.
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "accept-encoding"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::ETAG, self.tag.clone());
        response
    }
}

static SERVED_PAGE: LazyLock<Served> = LazyLock::new(|| Served::new(PAGE));
static SERVED_ASSETS: LazyLock<[Served; 3]> = LazyLock::new(|| ASSETS.map(Served::new));

/// `GET /`.
pub(super) async fn page(headers: HeaderMap) -> Response {
    SERVED_PAGE.answer(&headers)
}

/// `GET /assets/{file}`.
///
/// # Errors
/// `unknown_route` for a file that the page does not load.
pub(super) async fn asset(
    file: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let named = |Path(file): &Path<String>| {
        let mut assets = SERVED_ASSETS.iter();
        assets.find(|asset| asset.built.name == file)
    };
    let asset = file.as_ref().ok().and_then(named);
    let asset = asset.ok_or_else(|| {
        let names = ASSETS.map(|asset| asset.name).join(", ");
        Problem::new(
            ProblemKind::UnknownRoute,
            format!("the page is /, its files are {names}"),
        )
    })?;
    Ok(asset.answer(&headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_script_and_no_style_of_its_own_and_loads_its_files_alone() {
        let page = std::str::from_utf8(PAGE.bytes).unwrap();
        for inline in [
            "<style",
            " style=",
            " onclick=",
            "javascript:",
            "http://",
            "https://",
        ] {
            assert!(!page.contains(inline), "{inline}");
        }
        for script in page.split("<script").skip(1) {
            assert!(script.contains("></script>"), "an inline script: {script}");
        }
        let loaded = page.split("assets/").skip(1);
        let loaded: Vec<&str> = loaded.filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(loaded.len(), ASSETS.len());
        for name in loaded {
            assert!(ASSETS.iter().any(|asset| asset.name == name), "{name}");
        }
    }
}
