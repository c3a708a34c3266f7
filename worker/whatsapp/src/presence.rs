//! Who is there, and who is writing.

/// What somebody is doing, as far as they let others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceState {
    /// Online.
    Available,
    /// Not online any more.
    Unavailable,
    /// Writing in the chat.
    Typing,
    /// Speaking into the chat.
    Recording,
    /// Neither any more.
    Paused,
}

impl PresenceState {
    /// The name in events.
    pub fn as_str(self) -> &'static str {
        match self {
            PresenceState::Available => "available",
            PresenceState::Unavailable => "unavailable",
            PresenceState::Typing => "typing",
            PresenceState::Recording => "recording",
            PresenceState::Paused => "paused",
        }
    }
}
