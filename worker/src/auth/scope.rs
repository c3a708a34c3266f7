//! What a key may do. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A right.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at accounts, conversations and states.
    Read,
    /// Send, and mark as read.
    Send,
    /// Create, link, start and stop accounts.
    Control,
    /// Everything, keys included.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 4] = [Scope::Read, Scope::Send, Scope::Control, Scope::Admin];

    /// The name in documents, bodies and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Send => "send",
            Scope::Control => "control",
            Scope::Admin => "admin",
        }
    }
}

/// In the place of a key's id where there is no key; no key has it.
const NO_KEY: &str = "none";

/// What the key of a request may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The key's id, which is no secret.
    pub key_id: String,
    /// What people call it.
    pub name: String,
    /// Its rights.
    pub scopes: Vec<Scope>,
    /// The only accounts that it is for; all if there are none named.
    pub accounts: Option<Vec<String>>,
}

impl Grant {
    /// What programs of this machine may do as long as there is no key: all.
    pub fn of_this_machine() -> Self {
        Self {
            key_id: NO_KEY.to_owned(),
            name: "this machine".to_owned(),
            scopes: vec![Scope::Admin],
            accounts: None,
        }
    }

    /// What everybody may do.
    pub fn of_nobody() -> Self {
        Self {
            key_id: NO_KEY.to_owned(),
            name: "nobody".to_owned(),
            scopes: Vec::new(),
            accounts: Some(Vec::new()),
        }
    }

    /// Whether there was no key.
    pub fn is_without_key(&self) -> bool {
        self.key_id == NO_KEY
    }

    /// Whether it has this right.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes
            .iter()
            .any(|own| *own == scope || *own == Scope::Admin)
    }

    /// Whether it is for this account.
    pub fn is_for(&self, account: &str) -> bool {
        self.accounts
            .as_ref()
            .is_none_or(|accounts| accounts.iter().any(|own| own == account))
    }

    /// Whether it is for the cluster as a whole, and not for some accounts.
    pub fn is_for_all(&self) -> bool {
        self.accounts.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(scopes: &[Scope], accounts: Option<&[&str]>) -> Grant {
        Grant {
            key_id: "k".to_owned(),
            name: "test".to_owned(),
            scopes: scopes.to_vec(),
            accounts: accounts.map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
        }
    }

    #[test]
    fn a_right_is_had_by_name_or_by_being_admin() {
        for scope in Scope::ALL {
            for own in Scope::ALL {
                let has = grant(&[own], None).has(scope);
                assert_eq!(
                    has,
                    own == scope || own == Scope::Admin,
                    "{own:?} {scope:?}"
                );
            }
            assert!(!grant(&[], None).has(scope));
        }
    }

    #[test]
    fn a_limited_key_is_for_its_accounts_alone() {
        let limited = grant(&[Scope::Read], Some(&["a1"]));
        assert!(limited.is_for("a1") && !limited.is_for("a2") && !limited.is_for_all());
        assert!(grant(&[Scope::Read], None).is_for("a2"));
        assert!(!grant(&[Scope::Admin], Some(&[])).is_for("a1"));
    }
}
