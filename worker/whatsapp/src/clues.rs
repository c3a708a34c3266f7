//! Finds out why a connection ended.
//!
//! The engine does not say so for every loss: it is silent about 515, 429, 503
//! and the plain end of a stream. So clues are collected over the life of one
//! connection, from the engine's events, from the stanzas and from the socket,
//! and at its end [`Clues::reason`] names the one that explains it best. Pure:
//! whoever reports a clue brings the time along.

use std::time::Duration;

use coordinator_lib::clock::Boottime;

use crate::disconnect::{DisconnectReason, UnreachableReason};

/// A stream error explains an end that follows within this time; the server
/// closes at once after most of them, and goes on after a few.
const STREAM_ERROR_EXPLAINS: Duration = Duration::from_secs(10);

/// Silence after which an end that our side made counts as a timeout. The
/// engine gives up a socket that has been silent for 20 s after a send.
const SILENCE: Duration = Duration::from_secs(15);

/// How the socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkEnd {
    /// The server closed it, with or without a close frame.
    ByServer,
    /// Reading or writing failed.
    Broken,
    /// Our side closed it.
    ByUs,
    /// The wire gate closed.
    Gate,
}

/// How an attempt to connect failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialFailure {
    /// At this step.
    At(UnreachableReason),
    /// The time was up.
    TimedOut,
    /// The wire gate was closed, or the instance is going down.
    ByUs,
}

/// What is known about one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clues {
    started_at: Boottime,
    /// What the server or the engine said, first come.
    said: Option<DisconnectReason>,
    stream_error: Option<(DisconnectReason, Boottime)>,
    paired: bool,
    dial_failure: Option<DialFailure>,
    link_end: Option<LinkEnd>,
    handshake_done: bool,
    last_frame_in: Option<Boottime>,
}

impl Clues {
    /// No clues yet, at the start of a connection.
    pub(crate) fn new(now: Boottime) -> Self {
        Self {
            started_at: now,
            ..Self::default()
        }
    }

    /// The server or the engine gave a reason.
    pub(crate) fn said(&mut self, reason: DisconnectReason) {
        self.said.get_or_insert(reason);
    }

    /// A stream error came. A later one replaces it: an earlier one evidently
    /// did not end the connection.
    pub(crate) fn stream_error(&mut self, reason: DisconnectReason, now: Boottime) {
        self.stream_error = Some((reason, now));
    }

    /// A phone linked this device on this connection.
    pub(crate) fn paired(&mut self) {
        self.paired = true;
    }

    /// True if a phone linked this device on this connection.
    pub(crate) fn is_paired(&self) -> bool {
        self.paired
    }

    /// The socket could not be opened.
    pub(crate) fn dial_failed(&mut self, failure: DialFailure) {
        self.dial_failure = Some(failure);
    }

    /// The socket ended. The first report counts.
    pub(crate) fn link_ended(&mut self, end: LinkEnd) {
        self.link_end.get_or_insert(end);
    }

    /// The Noise handshake is done.
    pub(crate) fn handshake_done(&mut self) {
        self.handshake_done = true;
    }

    /// A frame came.
    pub(crate) fn frame_in(&mut self, now: Boottime) {
        self.last_frame_in = Some(now);
    }

    /// Why the connection ended, at `now`. `intended`: this instance is being
    /// shut down.
    pub(crate) fn reason(&self, now: Boottime, intended: bool) -> DisconnectReason {
        if let Some(reason) = &self.said {
            return reason.clone();
        }
        if let Some((reason, at)) = &self.stream_error
            && now - *at <= STREAM_ERROR_EXPLAINS
        {
            return reason.clone();
        }
        if self.paired {
            // The engine hangs up by itself if it is faster than the server's 515.
            return DisconnectReason::RestartRequired;
        }
        if intended {
            return DisconnectReason::Intentional;
        }
        match self.dial_failure {
            Some(DialFailure::At(step)) => return DisconnectReason::Unreachable(step),
            Some(DialFailure::TimedOut) => return DisconnectReason::TimedOut,
            Some(DialFailure::ByUs) => return DisconnectReason::Intentional,
            None => {}
        }
        match self.link_end {
            Some(LinkEnd::ByServer) => DisconnectReason::ConnectionClosed,
            Some(LinkEnd::Broken) => DisconnectReason::ConnectionLost,
            Some(LinkEnd::Gate) => DisconnectReason::Intentional,
            Some(LinkEnd::ByUs) | None => self.reason_of_an_end_by_us(now),
        }
    }

    /// The engine hung up and said nothing.
    fn reason_of_an_end_by_us(&self, now: Boottime) -> DisconnectReason {
        let silent_for = now - self.last_frame_in.unwrap_or(self.started_at);
        if silent_for >= SILENCE {
            DisconnectReason::TimedOut
        } else if self.handshake_done {
            // The server ended the stream by a stanza.
            DisconnectReason::ConnectionClosed
        } else {
            DisconnectReason::Unreachable(UnreachableReason::Handshake)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Boottime {
        Boottime::from_duration(Duration::from_secs(seconds))
    }

    fn connected() -> Clues {
        let mut clues = Clues::new(at(0));
        clues.handshake_done();
        clues.frame_in(at(1));
        clues
    }

    #[test]
    fn what_the_server_said_explains_most() {
        let mut clues = connected();
        clues.stream_error(DisconnectReason::ServerError, at(2));
        clues.said(DisconnectReason::ConnectionReplaced);
        clues.said(DisconnectReason::LoggedOut);
        clues.link_ended(LinkEnd::Gate);
        assert_eq!(
            clues.reason(at(2), true),
            DisconnectReason::ConnectionReplaced
        );
    }

    #[test]
    fn a_restart_after_pairing_is_not_an_error() {
        let mut clues = connected();
        clues.paired();
        clues.link_ended(LinkEnd::ByUs);
        assert_eq!(
            clues.reason(at(2), false),
            DisconnectReason::RestartRequired
        );
    }

    #[test]
    fn an_old_stream_error_does_not_explain_a_later_end() {
        let mut clues = connected();
        clues.stream_error(DisconnectReason::ServerError, at(2));
        clues.frame_in(at(99));
        clues.link_ended(LinkEnd::ByServer);
        assert_eq!(clues.reason(at(3), false), DisconnectReason::ServerError);
        assert_eq!(
            clues.reason(at(100), false),
            DisconnectReason::ConnectionClosed
        );
    }

    #[test]
    fn every_end_of_the_socket_has_its_reason() {
        for (end, reason) in [
            (LinkEnd::ByServer, DisconnectReason::ConnectionClosed),
            (LinkEnd::Broken, DisconnectReason::ConnectionLost),
            (LinkEnd::Gate, DisconnectReason::Intentional),
            (LinkEnd::ByUs, DisconnectReason::ConnectionClosed),
        ] {
            let mut clues = connected();
            clues.link_ended(end);
            assert_eq!(clues.reason(at(2), false), reason);
        }
    }

    #[test]
    fn hanging_up_on_a_silent_server_is_a_timeout() {
        let mut clues = connected();
        clues.link_ended(LinkEnd::ByUs);
        assert_eq!(clues.reason(at(40), false), DisconnectReason::TimedOut);
    }

    #[test]
    fn failures_before_the_login_say_at_which_step() {
        for step in [
            UnreachableReason::Dns,
            UnreachableReason::Tcp,
            UnreachableReason::Tls,
        ] {
            let mut clues = Clues::new(at(0));
            clues.dial_failed(DialFailure::At(step));
            assert_eq!(
                clues.reason(at(1), false),
                DisconnectReason::Unreachable(step)
            );
        }
        let mut clues = Clues::new(at(0));
        clues.link_ended(LinkEnd::ByUs);
        assert_eq!(
            clues.reason(at(1), false),
            DisconnectReason::Unreachable(UnreachableReason::Handshake)
        );
        assert_eq!(clues.reason(at(20), false), DisconnectReason::TimedOut);
    }

    #[test]
    fn a_shutdown_is_intended_whatever_the_socket_did() {
        let mut clues = connected();
        clues.link_ended(LinkEnd::Broken);
        assert_eq!(clues.reason(at(2), true), DisconnectReason::Intentional);
    }
}
