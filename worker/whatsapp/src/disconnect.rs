//! Why a connection ended, under the numbers and names of the predecessor.
//!
//! Dashboards, alerts and the history of accounts count by these, so a number
//! or a name never changes. The table is pure: telling which reason applies is
//! the job of `events`, what to do about it is the supervisor's.

use std::fmt;
use std::time::Duration;

/// Why a connection ended or did not come to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisconnectReason {
    /// 401: the phone removed this device, or the server refuses its keys.
    LoggedOut,
    /// 402: banned for a while; `expires_in` as the server said it.
    TemporaryBan {
        /// How long the ban lasts, from now; absent if the server did not say.
        expires_in: Option<Duration>,
    },
    /// 403: the account is locked.
    AccountLocked,
    /// 405: the client version is too old.
    ClientOutdated,
    /// 406: logged out for a reason that the server does not name.
    UnknownLogout,
    /// 408: nothing came in time: a connection attempt, a handshake or a ping.
    TimedOut,
    /// 408: all QR codes of a pairing attempt have expired.
    QrExpired,
    /// 411: scanned by a phone without multi-device support.
    MultideviceMismatch,
    /// 408: the connection broke off: a reset, an error of the network.
    ConnectionLost,
    /// 428: the connection ended without the server giving a reason.
    ConnectionClosed,
    /// 429: too many requests.
    RateLimited,
    /// 440: the same device logged in elsewhere.
    ConnectionReplaced,
    /// 500: the server reported an error of its own, or one not known here.
    ServerError,
    /// 503: the server is busy or restarting.
    ServiceUnavailable,
    /// 515: the server asks for a new connection, as it does after pairing.
    RestartRequired,
    /// Any other refusal at login (400, 409, 413–415, 418, 501 …).
    Refused(u16),
    /// 428: our side closed it: a shutdown, or a gate that closed.
    Intentional,
    /// The server could not be reached; the text says at which step.
    Unreachable(UnreachableReason),
}

/// At which step a server could not be reached. Its code is 408, as the
/// predecessor's library reported every failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreachableReason {
    /// The host name was not found.
    Dns,
    /// The TCP connection was refused or failed.
    Tcp,
    /// The account's proxy refused, or does not speak its protocol.
    Proxy,
    /// The TLS handshake failed.
    Tls,
    /// The WebSocket upgrade was refused.
    WebSocket,
    /// The Noise handshake failed: broken frames, or a certificate chain that
    /// does not lead to WhatsApp's root.
    Handshake,
}

impl DisconnectReason {
    /// The predecessor's number.
    pub fn code(&self) -> u16 {
        match self {
            Self::LoggedOut => 401,
            Self::TemporaryBan { .. } => 402,
            Self::AccountLocked => 403,
            Self::ClientOutdated => 405,
            Self::UnknownLogout => 406,
            Self::TimedOut | Self::QrExpired | Self::ConnectionLost | Self::Unreachable(_) => 408,
            Self::MultideviceMismatch => 411,
            Self::ConnectionClosed | Self::Intentional => 428,
            Self::RateLimited => 429,
            Self::ConnectionReplaced => 440,
            Self::ServerError => 500,
            Self::ServiceUnavailable => 503,
            Self::RestartRequired => 515,
            Self::Refused(code) => *code,
        }
    }

    /// The predecessor's name. Several reasons may share one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LoggedOut => "loggedOut",
            Self::TemporaryBan { .. } => "temporaryBan",
            Self::AccountLocked => "forbidden",
            Self::ClientOutdated => "clientOutdated",
            Self::UnknownLogout => "unknownLogout",
            Self::TimedOut | Self::QrExpired => "timedOut",
            Self::ConnectionLost | Self::Unreachable(_) => "connectionLost",
            Self::MultideviceMismatch => "multideviceMismatch",
            Self::ConnectionClosed | Self::Intentional => "connectionClosed",
            Self::RateLimited => "rateLimited",
            Self::ConnectionReplaced => "connectionReplaced",
            Self::ServerError => "badSession",
            Self::ServiceUnavailable => "unavailableService",
            Self::RestartRequired => "restartRequired",
            Self::Refused(_) => "refused",
        }
    }

    /// The key under which it is counted, such as `428 connectionClosed`.
    pub fn key(&self) -> String {
        format!("{} {}", self.code(), self.name())
    }

    /// The reason for a `<failure reason=…>` at login.
    pub(crate) fn from_failure_code(code: u16) -> Self {
        match code {
            401 => Self::LoggedOut,
            402 => Self::TemporaryBan { expires_in: None },
            403 => Self::AccountLocked,
            405 => Self::ClientOutdated,
            406 => Self::UnknownLogout,
            408 => Self::TimedOut,
            411 => Self::MultideviceMismatch,
            429 => Self::RateLimited,
            500 => Self::ServerError,
            503 => Self::ServiceUnavailable,
            other => Self::Refused(other),
        }
    }

    /// The reason for a `<stream:error code=…>`. A conflict is told apart by
    /// its child, before this.
    pub(crate) fn from_stream_error_code(code: &str) -> Self {
        match code {
            "401" | "516" => Self::LoggedOut,
            "403" => Self::AccountLocked,
            "408" => Self::TimedOut,
            "411" => Self::MultideviceMismatch,
            // The engine reads a bare 409 as a conflict.
            "409" | "440" => Self::ConnectionReplaced,
            "428" => Self::ConnectionClosed,
            "429" => Self::RateLimited,
            "503" => Self::ServiceUnavailable,
            "515" => Self::RestartRequired,
            // Without a code the server recycles the stream (an
            // unacknowledged stanza, malformed XML).
            _ => Self::ServerError,
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::LoggedOut => "logged out: the device was removed on the phone or by WhatsApp",
            Self::TemporaryBan { .. } => "temporarily banned by WhatsApp",
            Self::AccountLocked => "account locked by WhatsApp",
            Self::ClientOutdated => "WhatsApp refuses this client version as too old",
            Self::UnknownLogout => "logged out by WhatsApp without a known reason",
            Self::TimedOut => "no answer from WhatsApp in time",
            Self::QrExpired => "the QR codes expired unscanned",
            Self::MultideviceMismatch => "scanned by a phone without multi-device support",
            Self::ConnectionLost => "connection broke off",
            Self::ConnectionClosed => "connection closed",
            Self::RateLimited => "too many requests; WhatsApp asks to slow down",
            Self::ConnectionReplaced => "the same device connected elsewhere",
            Self::ServerError => "WhatsApp reported an error",
            Self::ServiceUnavailable => "WhatsApp is unavailable",
            Self::RestartRequired => "WhatsApp asks for a new connection",
            Self::Refused(code) => return write!(f, "WhatsApp refused the login ({code})"),
            Self::Intentional => "closed by this worker",
            Self::Unreachable(step) => return write!(f, "WhatsApp could not be reached: {step}"),
        };
        f.write_str(text)
    }
}

impl fmt::Display for UnreachableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "host name not found",
            Self::Tcp => "connection refused or failed",
            Self::Proxy => "the proxy gives no way to it",
            Self::Tls => "TLS handshake failed",
            Self::WebSocket => "WebSocket upgrade refused",
            Self::Handshake => "Noise handshake failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The predecessor's numbers and names: dashboards count by them.
    #[test]
    fn numbers_and_names_are_those_of_the_predecessor() {
        let table = [
            (DisconnectReason::LoggedOut, "401 loggedOut"),
            (
                DisconnectReason::TemporaryBan { expires_in: None },
                "402 temporaryBan",
            ),
            (DisconnectReason::AccountLocked, "403 forbidden"),
            (DisconnectReason::ClientOutdated, "405 clientOutdated"),
            (DisconnectReason::UnknownLogout, "406 unknownLogout"),
            (DisconnectReason::TimedOut, "408 timedOut"),
            (DisconnectReason::QrExpired, "408 timedOut"),
            (DisconnectReason::ConnectionLost, "408 connectionLost"),
            (
                DisconnectReason::Unreachable(UnreachableReason::Dns),
                "408 connectionLost",
            ),
            (
                DisconnectReason::MultideviceMismatch,
                "411 multideviceMismatch",
            ),
            (DisconnectReason::ConnectionClosed, "428 connectionClosed"),
            (DisconnectReason::Intentional, "428 connectionClosed"),
            (DisconnectReason::RateLimited, "429 rateLimited"),
            (
                DisconnectReason::ConnectionReplaced,
                "440 connectionReplaced",
            ),
            (DisconnectReason::ServerError, "500 badSession"),
            (
                DisconnectReason::ServiceUnavailable,
                "503 unavailableService",
            ),
            (DisconnectReason::RestartRequired, "515 restartRequired"),
            (DisconnectReason::Refused(409), "409 refused"),
        ];
        for (reason, key) in table {
            assert_eq!(reason.key(), key);
            assert!(!reason.to_string().is_empty());
        }
    }

    #[test]
    fn a_refused_login_keeps_its_code() {
        for code in [
            400, 401, 402, 403, 405, 406, 409, 411, 413, 414, 415, 418, 429, 500, 501, 503,
        ] {
            assert_eq!(DisconnectReason::from_failure_code(code).code(), code);
        }
    }

    #[test]
    fn a_stream_error_keeps_its_code_where_it_has_one() {
        for code in ["401", "403", "408", "411", "428", "429", "503", "515"] {
            assert_eq!(
                DisconnectReason::from_stream_error_code(code)
                    .code()
                    .to_string(),
                code
            );
        }
        assert_eq!(
            DisconnectReason::from_stream_error_code("516"),
            DisconnectReason::LoggedOut
        );
        assert_eq!(DisconnectReason::from_stream_error_code("409").code(), 440);
        assert_eq!(
            DisconnectReason::from_stream_error_code(""),
            DisconnectReason::ServerError
        );
        assert_eq!(DisconnectReason::from_stream_error_code("599").code(), 500);
    }
}
