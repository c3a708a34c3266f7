//! Writes, as Firestore's protocol has them.
//!
//! The protocol has no verify. An update with an *empty* mask changes nothing,
//! and with an `update_time` condition creates nothing; it is billed as a
//! write.

use std::collections::HashSet;

use ::firestore::gcloud_sdk::google::firestore::v1 as pb;
use pb::document_transform::FieldTransform;
use pb::document_transform::field_transform::{ServerValue, TransformType};
use pb::precondition::ConditionType;
use pb::write::Operation;

use super::values::{Root, encode_fields, field_path, time, timestamp};
use crate::store::{
    Commit, CommitOutcome, Fields, Path, Precondition, StoreError, StoreTime, Write, WriteOutcome,
};

/// A write in the protocol's words.
pub(super) fn encode(root: &Root, write: Write) -> pb::Write {
    match write {
        Write::Set {
            path,
            fields,
            precondition,
        } => put(root, &path, fields, Extent::Whole, condition(precondition)),
        Write::Update {
            path,
            fields,
            precondition,
        } => {
            // An update needs its document, whatever else it asks for.
            let condition = condition(precondition).or(Some(ConditionType::Exists(true)));
            put(root, &path, fields, Extent::Named, condition)
        }
        Write::Delete { path, precondition } => pb::Write {
            update_mask: None,
            update_transforms: Vec::new(),
            current_document: current(condition(precondition)),
            operation: Some(Operation::Delete(root.name(&path))),
        },
        Write::Verify { path, update_time } => put(
            root,
            &path,
            Fields::new(),
            Extent::Named,
            Some(ConditionType::UpdateTime(timestamp(update_time))),
        ),
    }
}

/// What an update replaces: the document, or the fields that it names.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    Whole,
    Named,
}

fn put(
    root: &Root,
    path: &Path,
    fields: Fields,
    extent: Extent,
    condition: Option<ConditionType>,
) -> pb::Write {
    let (fields, commit_times) = encode_fields(fields);
    let update_mask = (extent == Extent::Named).then(|| pb::DocumentMask {
        field_paths: fields.keys().map(|name| field_path(&[name])).collect(),
    });
    pb::Write {
        update_mask,
        update_transforms: commit_times.into_iter().map(commit_time).collect(),
        current_document: current(condition),
        operation: Some(Operation::Update(pb::Document {
            name: root.name(path),
            fields,
            create_time: None,
            update_time: None,
        })),
    }
}

fn commit_time(field_path: String) -> FieldTransform {
    FieldTransform {
        field_path,
        transform_type: Some(TransformType::SetToServerValue(
            ServerValue::RequestTime.into(),
        )),
    }
}

fn condition(precondition: Precondition) -> Option<ConditionType> {
    match precondition {
        Precondition::None => None,
        Precondition::Absent => Some(ConditionType::Exists(false)),
        Precondition::Exists => Some(ConditionType::Exists(true)),
        Precondition::Unchanged(version) => Some(ConditionType::UpdateTime(timestamp(version))),
    }
}

fn current(condition: Option<ConditionType>) -> Option<pb::Precondition> {
    condition.map(|condition| pb::Precondition {
        condition_type: Some(condition),
    })
}

/// Whether a write can be rejected at all.
pub(super) fn is_conditional(write: &Write) -> bool {
    match write {
        Write::Update { .. } | Write::Verify { .. } => true,
        Write::Set { precondition, .. } | Write::Delete { precondition, .. } => {
            *precondition != Precondition::None
        }
    }
}

/// The request of one atomic commit: without a transaction nothing is locked.
pub(super) fn commit_request(root: &Root, writes: Vec<pb::Write>) -> pb::CommitRequest {
    pb::CommitRequest {
        database: root.database.clone(),
        writes,
        transaction: Vec::new(),
        request_options: None,
    }
}

/// Splits independent writes into rounds that write no document twice, so that
/// those to one document are made in order.
pub(super) fn rounds(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut rounds = vec![Vec::new()];
    let mut paths = HashSet::new();
    for write in writes {
        if !paths.insert(write.path().clone()) {
            paths = HashSet::from([write.path().clone()]);
            rounds.push(Vec::new());
        }
        rounds
            .last_mut()
            .expect("there is a first round")
            .push(write);
    }
    rounds
}

/// The outcome of a commit of one write.
pub(super) fn single(outcome: CommitOutcome) -> WriteOutcome {
    match outcome {
        CommitOutcome::Committed(commit) => {
            WriteOutcome::Written(commit.update_times.first().copied().unwrap_or(commit.time))
        }
        CommitOutcome::Rejected => WriteOutcome::Rejected,
    }
}

/// What a commit answered; `Ambiguous` if that makes no sense.
pub(super) fn committed(writes: usize, response: pb::CommitResponse) -> Result<Commit, StoreError> {
    let senseless = || StoreError::Ambiguous {
        reason: "Firestore acknowledged the commit without its times".to_owned(),
    };
    let commit_time = response
        .commit_time
        .as_ref()
        .map(time)
        .ok_or_else(senseless)?;
    if response.write_results.len() != writes {
        return Err(senseless());
    }
    let update_times = response
        .write_results
        .iter()
        .map(|result| written(result, commit_time))
        .collect();
    Ok(Commit {
        time: commit_time,
        update_times,
    })
}

/// A deletion has no update time of its own.
fn written(result: &pb::WriteResult, commit_time: StoreTime) -> StoreTime {
    result.update_time.as_ref().map_or(commit_time, time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Value;

    fn root() -> Root {
        Root::new("p", "(default)")
    }

    #[test]
    fn a_verify_names_no_field_and_always_has_a_condition() {
        let write = encode(
            &root(),
            Write::Verify {
                path: Path::new("heads/a").unwrap(),
                update_time: StoreTime::from_micros(5),
            },
        );
        assert_eq!(
            write.update_mask,
            Some(pb::DocumentMask {
                field_paths: Vec::new()
            })
        );
        let condition = write
            .current_document
            .and_then(|found| found.condition_type);
        assert!(matches!(condition, Some(ConditionType::UpdateTime(_))));
        assert!(write.update_transforms.is_empty());
    }

    #[test]
    fn an_update_is_masked_and_never_creates() {
        let write = encode(
            &root(),
            Write::Update {
                path: Path::new("heads/a").unwrap(),
                fields: Fields::from([("n".into(), 1.into()), ("at".into(), Value::CommitTime)]),
                precondition: Precondition::None,
            },
        );
        let mask = write.update_mask.unwrap();
        assert_eq!(mask.field_paths, ["n"]);
        assert_eq!(write.update_transforms.len(), 1);
        let condition = write
            .current_document
            .and_then(|found| found.condition_type);
        assert_eq!(condition, Some(ConditionType::Exists(true)));
    }
}
