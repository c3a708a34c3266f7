use emulator::Emulator;

use super::super::contract;
use super::*;

async fn fixture() -> contract::Fixture {
    let emulator = Emulator::shared().await.unwrap();
    contract::Fixture::new(connect(&emulator).await, emulator)
}

crate::store_contract!(fixture);

fn options(emulator: &Emulator) -> FirestoreOptions {
    FirestoreOptions {
        emulator_host: Some(emulator.host().to_owned()),
        ..FirestoreOptions::new(emulator::project_id())
    }
}

async fn connect(emulator: &Emulator) -> FirestoreStore {
    FirestoreStore::connect(options(emulator)).await.unwrap()
}
