//! The owner's task for groups: asks WhatsApp for what has changed, and once a
//! claim for everything.
//!
//! One question at a time. News of a group that already waits are one question;
//! where too many wait, all groups are asked for instead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use whatsapp::groups::{GroupAnswer, GroupError, GroupNews, GroupRequest};

use super::shelf::Shelf;
use crate::account::link::Link;
use crate::events::JournalError;

/// Groups with news that wait.
const NEWS_MAX: usize = 256;

/// Between two questions: whoever asks often is not answered any more.
const PAUSE: Duration = Duration::from_millis(100);

/// After a failure.
const RETRY_WAIT: Duration = Duration::from_secs(5);

/// After WhatsApp has said that it was asked too often.
const RATE_WAIT: Duration = Duration::from_secs(60);

/// WhatsApp's code for that.
const ASKED_TOO_OFTEN: u16 = 429;

/// WhatsApp's codes for a group that the account is not in.
const NOT_IN_IT: [u16; 3] = [401, 403, 404];

/// What is to be asked. Lives as long as a claim: a new connection goes on with
/// what the one before has not asked.
pub struct GroupNewsBoard {
    waiting: Mutex<Waiting>,
    changed: watch::Sender<()>,
}

struct Waiting {
    /// Every group.
    all: bool,
    /// These groups, with the latest news of each.
    groups: BTreeMap<String, GroupNews>,
}

/// One question.
#[derive(Debug, PartialEq, Eq)]
enum Question {
    All,
    One(String, GroupNews),
}

impl Default for GroupNewsBoard {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                all: true,
                groups: BTreeMap::new(),
            }),
            changed: watch::Sender::new(()),
        }
    }
}

impl GroupNewsBoard {
    /// Something happened in a group.
    pub fn note(&self, group: String, news: GroupNews) {
        let mut waiting = self.waiting.lock();
        if waiting.groups.len() >= NEWS_MAX && !waiting.groups.contains_key(&group) {
            waiting.groups.clear();
            waiting.all = true;
        } else {
            waiting.groups.insert(group, news);
        }
        drop(waiting);
        self.changed.send_replace(());
    }

    /// The next question. It is taken off when it is answered.
    fn next(&self) -> Option<Question> {
        let waiting = self.waiting.lock();
        if waiting.all {
            return Some(Question::All);
        }
        let first = waiting.groups.iter().next();
        first.map(|(group, news)| Question::One(group.clone(), *news))
    }

    /// Takes a question off before it is asked: what happens meanwhile is asked
    /// again.
    fn take(&self, question: &Question) {
        let mut waiting = self.waiting.lock();
        match question {
            Question::All => waiting.all = false,
            Question::One(group, _) => {
                waiting.groups.remove(group);
            }
        }
    }

    fn put_back(&self, question: Question) {
        match question {
            Question::All => self.waiting.lock().all = true,
            Question::One(group, news) => {
                self.waiting.lock().groups.entry(group).or_insert(news);
            }
        }
    }
}

/// Asks while one engine instance runs.
pub struct Keeper {
    /// Where groups are kept.
    pub shelf: Shelf,
    /// What is to be asked.
    pub board: Arc<GroupNewsBoard>,
    /// Through which it is asked.
    pub link: Arc<dyn Link>,
    /// Whether it can be asked.
    pub connected: watch::Receiver<bool>,
    /// Time.
    pub clock: SharedClock,
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Keeper {
    /// Asks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.ask_on() => {}
        }
    }

    async fn ask_on(&mut self) {
        let mut changed = self.board.changed.subscribe();
        loop {
            if self
                .connected
                .wait_for(|connected| *connected)
                .await
                .is_err()
            {
                return;
            }
            let Some(question) = self.board.next() else {
                if changed.changed().await.is_err() {
                    return;
                }
                continue;
            };
            self.board.take(&question);
            let wait = match self.ask(&question).await {
                Ok(()) => PAUSE,
                Err(KeeperError::Journal(error)) if error.is_over() => return,
                Err(error) => {
                    tracing::warn!(account.id = %self.shelf.account_id, %error, "groups were not brought up to date");
                    self.board.put_back(question);
                    match error {
                        KeeperError::Group(GroupError::Refused {
                            code: ASKED_TOO_OFTEN,
                        }) => RATE_WAIT,
                        KeeperError::Group(_) | KeeperError::Journal(_) => RETRY_WAIT,
                    }
                }
            };
            self.clock.sleep(wait).await;
        }
    }

    async fn ask(&self, question: &Question) -> Result<(), KeeperError> {
        match question {
            Question::All => {
                let answer = self.link.group(&GroupRequest::List).await?;
                let GroupAnswer::Groups { groups, more } = answer else {
                    return Err(UNEXPECTED);
                };
                Ok(self.shelf.keep_all(&groups, !more).await?)
            }
            Question::One(group, news) => {
                let request = GroupRequest::Read {
                    group: group.clone(),
                };
                match self.link.group(&request).await {
                    Ok(GroupAnswer::Group { group }) => Ok(self.shelf.keep(&group, *news).await?),
                    Ok(_) => Err(UNEXPECTED),
                    Err(GroupError::Refused { code }) if NOT_IN_IT.contains(&code) => {
                        Ok(self.shelf.left(group).await?)
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

/// Each question has its answer: another one is a fault of the engine's.
const UNEXPECTED: KeeperError = KeeperError::Group(GroupError::Internal);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_one_group_are_one_question() {
        let board = GroupNewsBoard::default();
        assert_eq!(board.next(), Some(Question::All), "first of all");
        board.take(&Question::All);
        assert_eq!(board.next(), None);
        board.note("1@g.us".to_owned(), GroupNews::Added);
        board.note("1@g.us".to_owned(), GroupNews::Removed);
        let one = Question::One("1@g.us".to_owned(), GroupNews::Removed);
        assert_eq!(board.next().as_ref(), Some(&one));
        board.take(&one);
        assert_eq!(board.next(), None);
        board.put_back(one);
        assert!(board.next().is_some());
    }

    #[test]
    fn too_many_news_become_a_question_for_everything() {
        let board = GroupNewsBoard::default();
        board.take(&Question::All);
        for n in 0..=NEWS_MAX {
            board.note(format!("{n}@g.us"), GroupNews::Added);
        }
        assert_eq!(board.next(), Some(Question::All));
        assert!(board.waiting.lock().groups.is_empty());
    }
}
