//! What a write does to a document: pure, and the same in every adapter.

use super::{Fields, Precondition, StoreTime, Value, Write};

/// Whether a write may be made on a document of this version (`None`: there is
/// no document).
pub(crate) fn is_met(write: &Write, version: Option<StoreTime>) -> bool {
    let met = match write.precondition() {
        Precondition::None => true,
        Precondition::Absent => version.is_none(),
        Precondition::Exists => version.is_some(),
        Precondition::Unchanged(expected) => version == Some(expected),
    };
    match write {
        Write::Update { .. } => met && version.is_some(),
        Write::Set { .. } | Write::Delete { .. } | Write::Verify { .. } => met,
    }
}

/// The fields with every commit time filled in.
pub(crate) fn stamped(mut fields: Fields, time: StoreTime) -> Fields {
    stamp(&mut fields, time);
    fields
}

fn stamp(fields: &mut Fields, time: StoreTime) {
    for value in fields.values_mut() {
        match value {
            Value::CommitTime => *value = Value::Time(time),
            Value::Map(inner) => stamp(inner, time),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Double(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Time(_)
            | Value::List(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Path;

    #[test]
    fn preconditions_hold_for_what_they_say() {
        let then = StoreTime::from_micros(5);
        let later = StoreTime::from_micros(6);
        let path = Path::new("things/a").unwrap();
        let set = |precondition| Write::Set {
            path: path.clone(),
            fields: Fields::new(),
            precondition,
        };
        for (precondition, absent, present, changed) in [
            (Precondition::None, true, true, true),
            (Precondition::Absent, true, false, false),
            (Precondition::Exists, false, true, true),
            (Precondition::Unchanged(then), false, true, false),
        ] {
            assert_eq!(is_met(&set(precondition), None), absent, "{precondition:?}");
            assert_eq!(
                is_met(&set(precondition), Some(then)),
                present,
                "{precondition:?}"
            );
            assert_eq!(
                is_met(&set(precondition), Some(later)),
                changed,
                "{precondition:?}"
            );
        }
        let update = Write::Update {
            path,
            fields: Fields::new(),
            precondition: Precondition::None,
        };
        assert!(!is_met(&update, None), "an update needs its document");
    }

    #[test]
    fn the_commit_time_is_filled_in_within_maps_too() {
        let time = StoreTime::from_micros(5);
        let inner = Fields::from([("at".into(), Value::CommitTime)]);
        let fields = Fields::from([
            ("in".into(), Value::Map(inner)),
            ("at".into(), Value::CommitTime),
        ]);
        let inner = Fields::from([("at".into(), Value::Time(time))]);
        assert_eq!(
            stamped(fields, time),
            Fields::from([
                ("in".into(), Value::Map(inner)),
                ("at".into(), Value::Time(time))
            ])
        );
    }
}
