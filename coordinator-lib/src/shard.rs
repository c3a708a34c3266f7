//! Shards: a fixed number of groups that accounts fall into by their ids.
//!
//! A worker that looks for accounts without an owner asks for the shards in
//! which it ranks first ([`crate::rendezvous`]), so that no worker ever reads
//! the accounts of the whole cluster.

use crate::hash::fnv1a;
use crate::identity::AccountId;

/// Account: its shard.
pub const SHARD_FIELD: &str = "shard";

/// How many there are: more than workers in any cluster, few enough to rank.
pub const SHARDS: u64 = 256;

/// The shard of an account; never changes.
pub fn of(account: &AccountId) -> i64 {
    let shard = fnv1a(account.as_str().as_bytes()) % SHARDS;
    i64::try_from(shard).expect("less than SHARDS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_an_account_never_changes() {
        // A stored number: another one would orphan accounts for a while.
        assert_eq!(of(&AccountId::new("a1").unwrap()), 140);
    }

    #[test]
    fn accounts_spread_over_all_shards() {
        let mut counts = [0_u32; SHARDS as usize];
        for number in 0..25_600 {
            let account = AccountId::new(format!("account_{number}")).unwrap();
            counts[of(&account) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (40..200).contains(count)),
            "{counts:?}"
        );
    }
}
