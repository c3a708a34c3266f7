//! Each count can become other than 0, and does so for its own reason only.

use super::*;

fn accepted(to: &str, text: &str) -> Accepted {
    Accepted {
        account: "a".into(),
        to: to.into(),
        text: text.into(),
    }
}

fn arrival(phone: &str, wa_id: &str, text: &str) -> Arrival {
    Arrival {
        phone: phone.into(),
        wa_id: wa_id.into(),
        text: text.into(),
        repeats: 0,
    }
}

fn phone_sent(text: &str) -> PhoneSent {
    PhoneSent {
        account: "a".into(),
        text: text.into(),
    }
}

fn stored(wa_id: &str, text: &str) -> Stored {
    Stored {
        account: "a".into(),
        wa_id: wa_id.into(),
        text: text.into(),
    }
}

fn clean() -> Ledgers {
    Ledgers {
        accepted: vec![
            accepted("1", "out one"),
            accepted("1", "out two"),
            accepted("2", "out x"),
        ],
        arrived: vec![
            arrival("2", "X", "out x"),
            arrival("1", "A", "out one"),
            arrival("1", "B", "out two"),
        ],
        phone_sent: vec![phone_sent("in one"), phone_sent("in two")],
        stored: vec![stored("I", "in one"), stored("J", "in two")],
        ..Ledgers::default()
    }
}

#[test]
fn clean_ledgers_have_no_faults() {
    let counts = clean().count();
    assert_eq!(
        counts,
        Counts {
            sent: 3,
            delivered: 3,
            received: 2,
            stored: 2,
            ..Counts::default()
        }
    );
    assert_eq!(counts.faults(), []);
}

#[test]
fn what_never_arrives_is_lost() {
    let mut ledgers = clean();
    ledgers.arrived.remove(0);
    ledgers.stored.clear();
    let counts = ledgers.count();
    assert_eq!((counts.delivered, counts.stored, counts.lost), (2, 0, 3));
    assert_eq!(counts.faults(), [("lost", 3)]);
}

#[test]
fn another_id_is_a_duplicate_and_the_same_id_is_resent() {
    let mut ledgers = clean();
    ledgers.arrived[1].repeats = 1;
    assert_eq!(ledgers.count().resent, 1);
    assert_eq!(ledgers.count().faults(), []);
    ledgers.arrived.push(arrival("1", "C", "out one"));
    ledgers.stored.push(stored("K", "in one"));
    assert_eq!(ledgers.count().resent, 1);
    assert_eq!(ledgers.count().faults(), [("duplicated", 2)]);
}

#[test]
fn what_nobody_sent_is_unknown() {
    let mut ledgers = clean();
    ledgers.arrived.push(arrival("2", "D", "out one"));
    ledgers.stored.push(stored("L", "in three"));
    assert_eq!(ledgers.count().faults(), [("unknown", 2)]);
}

#[test]
fn order_counts_within_a_chat_and_repeats_do_not() {
    let mut ledgers = clean();
    ledgers.arrived.push(arrival("1", "C", "out one"));
    assert_eq!(ledgers.count().out_of_order, 0);
    ledgers.arrived.pop();
    ledgers.arrived.swap(1, 2);
    assert_eq!(ledgers.count().faults(), [("out_of_order", 1)]);
}

#[test]
fn the_oracle_counts() {
    let ledgers = Ledgers {
        violations: 2,
        qr_after_restart: 1,
        ..clean()
    };
    assert_eq!(
        ledgers.count().faults(),
        [("violations", 2), ("qr_after_restart", 1)]
    );
}
