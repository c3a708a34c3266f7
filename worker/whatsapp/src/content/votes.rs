//! Votes in polls: encrypted with the poll's secret, so that a group's server
//! does not learn who chose what.

use super::SealedVote;

/// Whose vote in which poll: all of it goes into the key.
#[derive(Clone, Copy)]
pub struct Ballot<'a> {
    /// The poll's secret, from its own message.
    pub secret: &'a [u8],
    /// The poll's WhatsApp id.
    pub poll: &'a str,
    /// The address of who asked.
    pub creator: &'a str,
    /// The address of who votes.
    pub voter: &'a str,
}

/// A vote that cannot be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the vote does not go with the poll's secret and addresses")]
pub struct VoteError;

/// Votes for options, by their names.
///
/// # Errors
/// [`VoteError`].
pub fn seal(ballot: Ballot<'_>, options: &[String]) -> Result<SealedVote, VoteError> {
    let hashes: Vec<Vec<u8>> = options.iter().map(|name| hash(name)).collect();
    let (payload, nonce) = wacore::poll::encrypt_poll_vote_with_secret(
        &hashes,
        ballot.secret,
        ballot.poll,
        ballot.creator,
        ballot.voter,
    )
    .map_err(|_| VoteError)?;
    Ok(SealedVote {
        payload: payload.into(),
        nonce: nonce.to_vec().into(),
    })
}

/// What a vote is for: the names of the poll's options, in the poll's order.
/// People have two addresses and either may be in the key, so every ballot is
/// tried.
///
/// # Errors
/// [`VoteError`] if none of them opens it.
pub fn open(
    vote: &SealedVote,
    ballots: &[Ballot<'_>],
    options: &[String],
) -> Result<Vec<String>, VoteError> {
    for ballot in ballots {
        let ciphertext = wacore::poll::PollVoteCiphertext {
            enc_payload: &vote.payload,
            enc_iv: &vote.nonce,
        };
        let opened = wacore::poll::decrypt_poll_vote_with_secret(
            ciphertext,
            ballot.secret,
            ballot.poll,
            ballot.creator,
            ballot.voter,
        );
        if let Ok(hashes) = opened {
            let is_chosen = |name: &&String| hashes.contains(&hash(name));
            return Ok(options.iter().filter(is_chosen).cloned().collect());
        }
    }
    Err(VoteError)
}

fn hash(option: &str) -> Vec<u8> {
    wacore::poll::compute_option_hash(option).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_opens_for_its_own_poll_and_people_only() {
        let secret = [3; 32];
        let ballot = Ballot {
            secret: &secret,
            poll: "3EB0AA",
            creator: "491700000001@s.whatsapp.net",
            voter: "491700000002@s.whatsapp.net",
        };
        let options = ["now", "later", "never"].map(str::to_owned);
        let vote = seal(ballot, &options[1..2]).unwrap();
        assert_eq!(
            open(&vote, &[ballot], &options).as_deref(),
            Ok(&options[1..2])
        );
        let other = Ballot {
            voter: "491700000003@s.whatsapp.net",
            ..ballot
        };
        assert_eq!(open(&vote, &[other], &options), Err(VoteError));
        assert_eq!(
            open(&vote, &[other, ballot], &options).as_deref(),
            Ok(&options[1..2])
        );
    }
}
