//! WhatsApp's media hosts, over HTTPS.
//!
//! Requests are the engine's; it names the hosts. Blocking, for the engine
//! reads and writes files in pieces on threads of its own. Only the hosts of
//! WhatsApp are asked, never an address that came in a message.

use std::io::Read;
use std::time::Duration;

use async_trait::async_trait;
use ureq::http;
use wacore::net::{StreamingHttpResponse, UploadBody};
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};

/// For name lookup, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// For a whole file of the largest size on a slow line.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Bytes of an answer that is no file.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Names that belong to WhatsApp.
const HOST_SUFFIXES: [&str; 2] = [".whatsapp.net", ".whatsapp.com"];

/// Makes the requests.
#[derive(Debug, Clone)]
pub struct MediaHost {
    agent: ureq::Agent,
    /// Where every host is, in a test.
    instead: Option<String>,
}

impl MediaHost {
    /// WhatsApp's own hosts; or, in a simulation, this address instead of all.
    pub fn new(instead: Option<String>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(TRANSFER_TIMEOUT))
            .build()
            .new_agent();
        Self { agent, instead }
    }

    /// Where a request really goes.
    fn address(&self, url: &str) -> Result<String, anyhow::Error> {
        let rest = url
            .strip_prefix("https://")
            .ok_or_else(|| anyhow::anyhow!("media are fetched by https only"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if !host.bytes().all(is_name) || !HOST_SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
        {
            anyhow::bail!("media are fetched from WhatsApp's hosts only");
        }
        Ok(match &self.instead {
            Some(instead) => format!("{instead}/{path}"),
            None => url.to_owned(),
        })
    }

    fn get(&self, request: &HttpRequest) -> Result<http::Response<ureq::Body>, anyhow::Error> {
        let mut call = self.agent.get(self.address(&request.url)?);
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        Ok(call.call()?)
    }

    fn post(
        &self,
        request: &HttpRequest,
        body: impl ureq::AsSendBody,
        length: u64,
    ) -> Result<HttpResponse, anyhow::Error> {
        let mut call = self.agent.post(self.address(&request.url)?);
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        // The hosts take no chunked uploads.
        let answer = call
            .header("content-length", length.to_string())
            .send(body)?;
        short(answer)
    }
}

/// An answer that is no file.
fn short(mut answer: http::Response<ureq::Body>) -> Result<HttpResponse, anyhow::Error> {
    let status_code = answer.status().as_u16();
    let body = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_vec()?;
    Ok(HttpResponse { status_code, body })
}

#[async_trait]
impl HttpClient for MediaHost {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse, anyhow::Error> {
        let this = self.clone();
        let work = move || match request.method.as_str() {
            "GET" => short(this.get(&request)?),
            _ => {
                let body = request.body.clone().unwrap_or_default();
                let length = body.len() as u64;
                this.post(&request, &body[..], length)
            }
        };
        tokio::task::spawn_blocking(work).await?
    }

    fn supports_streaming(&self) -> bool {
        true
    }

    fn execute_streaming(
        &self,
        request: HttpRequest,
    ) -> Result<StreamingHttpResponse, anyhow::Error> {
        let answer = self.get(&request)?;
        Ok(StreamingHttpResponse {
            status_code: answer.status().as_u16(),
            body: Box::new(answer.into_body().into_reader()),
        })
    }

    fn supports_upload_streaming(&self) -> bool {
        true
    }

    fn execute_upload(
        &self,
        request: HttpRequest,
        body: UploadBody,
        content_length: u64,
    ) -> Result<HttpResponse, anyhow::Error> {
        let mut body = body.take(content_length);
        self.post(
            &request,
            ureq::SendBody::from_reader(&mut body),
            content_length,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whatsapps_hosts_are_asked() {
        let host = MediaHost::new(None);
        assert!(host.address("https://mmg.whatsapp.net/v/a?b").is_ok());
        for url in [
            "http://mmg.whatsapp.net/v/a",
            "https://example.com/v/a",
            "https://mmg.whatsapp.net.example.com/",
            "https://169.254.169.254/latest",
            "https://user@example.com/.whatsapp.net",
        ] {
            assert!(host.address(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_simulation_has_its_own_host() {
        let host = MediaHost::new(Some("http://127.0.0.1:9".to_owned()));
        let address = host.address("https://mmg.whatsapp.net/v/a?b").unwrap();
        assert_eq!(address, "http://127.0.0.1:9/v/a?b");
    }
}
