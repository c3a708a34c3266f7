//! What the protocol remembers of people and groups: who is who, which devices
//! they have, who has our sender key, what was sent lately.

use async_trait::async_trait;
use prost::Message;
use proto::session::{
    DeviceInfo as StoredDeviceInfo, DeviceList, LidMapping, PendingMessage, SenderKeyDevice,
    SenderKeyDevices, SentMessage,
};
use session::{Edit, Kind, Record, SessionFiles};
use wacore::store::traits::{
    DeviceInfo, DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow,
    ProtocolStore, TcTokenEntry,
};
use whatsapp_rust::store::error::Result;

use super::{Backend, BackendError, DAY_SECONDS, decode, key};
use crate::inbox::MessageKey;

/// The engine sweeps sent messages after two hours, while it is connected.
const SENT_KEPT_FOR: i64 = 7 * DAY_SECONDS;

/// A base key is compared when a retry follows, within minutes.
const BASE_KEY_KEPT_FOR: i64 = DAY_SECONDS;

impl Backend {
    /// The phone number's address of whoever is known by this alias.
    fn number_of(&self, address: &str) -> Result<Option<String>> {
        let Some(alias) = address.strip_suffix("@lid") else {
            return Ok(None);
        };
        let alias = alias.split(':').next().unwrap_or(alias);
        let mapping: Option<LidMapping> = self.get_message(Kind::LidMappings, alias.as_bytes())?;
        let number = mapping.map(|mapping| format!("{}@s.whatsapp.net", mapping.phone_number));
        Ok(number)
    }
}

#[async_trait]
impl ProtocolStore for Backend {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        let stored: Option<SenderKeyDevices> =
            self.get_message(Kind::SenderKeyDevices, group_jid.as_bytes())?;
        let devices = stored.unwrap_or_default().devices;
        Ok(devices
            .into_iter()
            .map(|device| (device.device, device.has_key))
            .collect())
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        self.write(|files| {
            change_sender_key_devices(files, group_jid.as_bytes(), |devices| {
                for (jid, has_key) in entries {
                    match devices.binary_search_by(|device| device.device.as_str().cmp(jid)) {
                        Ok(found) => devices[found].has_key = *has_key,
                        Err(place) => {
                            let device = (*jid).to_owned();
                            devices.insert(
                                place,
                                SenderKeyDevice {
                                    device,
                                    has_key: *has_key,
                                },
                            );
                        }
                    }
                }
            })
        })
        .await?;
        Ok(())
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        Ok(self
            .remove(Kind::SenderKeyDevices, group_jid.as_bytes())
            .await?)
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        self.write(|files| {
            for (group, _) in files.scan(Kind::SenderKeyDevices, b"") {
                change_sender_key_devices(files, &group, |devices| {
                    devices.retain(|device| !device_jids.contains(&device.device.as_str()));
                })?;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.write(|files| {
            files.retain(Kind::SenderKeyDevices, |_, _| false);
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        let stored: Option<LidMapping> = self.get_message(Kind::LidMappings, lid.as_bytes())?;
        Ok(stored.map(mapping_entry))
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let Some(lid) = self.get(Kind::PnMappings, phone.as_bytes()) else {
            return Ok(None);
        };
        let stored: Option<LidMapping> = self.get_message(Kind::LidMappings, &lid)?;
        Ok(stored.map(mapping_entry))
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        self.write(|files| {
            files.edit(|edit| {
                entries
                    .iter()
                    .try_for_each(|entry| put_mapping(edit, entry))
            })
        })
        .await?;
        Ok(())
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        let stored: Vec<LidMapping> = self.scan_messages(Kind::LidMappings)?;
        Ok(stored.into_iter().map(mapping_entry).collect())
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        let key = key(Kind::BaseKeys, &[address, message_id])?;
        let record = Record::until(base_key.to_vec(), self.now() + BASE_KEY_KEPT_FOR);
        Ok(self.put(Kind::BaseKeys, &key, record).await?)
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> Result<bool> {
        let key = key(Kind::BaseKeys, &[address, message_id])?;
        Ok(self
            .get(Kind::BaseKeys, &key)
            .is_some_and(|saved| saved == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        let key = key(Kind::BaseKeys, &[address, message_id])?;
        Ok(self.remove(Kind::BaseKeys, &key).await?)
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        self.write(|files| {
            files.edit(|edit| {
                for record in records {
                    let stored = stored_device_list(record);
                    edit.put(Kind::DeviceLists, &stored.user, stored.encode_to_vec())?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        let stored: Option<DeviceList> = self.get_message(Kind::DeviceLists, user.as_bytes())?;
        Ok(stored.map(device_list_record))
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        Ok(self.remove(Kind::DeviceLists, user.as_bytes()).await?)
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        Ok(self
            .get(Kind::GroupMetadata, group_jid.as_bytes())
            .map(Into::into))
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        Ok(self
            .put(Kind::GroupMetadata, group_jid.as_bytes(), blob.to_vec())
            .await?)
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        Ok(self
            .remove(Kind::GroupMetadata, group_jid.as_bytes())
            .await?)
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        Ok(self.tc_token(jid)?)
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        Ok(self.put_token(jid, entry).await?)
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        Ok(self.remove(Kind::TcTokens, jid.as_bytes()).await?)
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        let stored = self.files.scan(Kind::TcTokens, b"");
        Ok(stored
            .into_iter()
            .filter_map(|(jid, _)| String::from_utf8(jid.into()).ok())
            .collect())
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        Ok(self.sweep_tokens(token_cutoff, sender_cutoff).await?)
    }

    async fn touch_tc_token_sender_timestamp(
        &self,
        jid: &str,
        sender_timestamp: i64,
    ) -> Result<()> {
        Ok(self.touch_token(jid, sender_timestamp).await?)
    }

    async fn store_received_tc_token(
        &self,
        jid: &str,
        token: &[u8],
        token_timestamp: i64,
    ) -> Result<()> {
        Ok(self.receive_token(jid, token, token_timestamp).await?)
    }

    async fn store_sent_message(
        &self,
        chat_jid: &str,
        message_id: &str,
        payload: &[u8],
    ) -> Result<()> {
        let key = key(Kind::SentMessages, &[chat_jid, message_id])?;
        let stored_at = self.now();
        let sent = SentMessage {
            payload: payload.to_vec(),
            stored_at,
        };
        let record = Record::until(sent.encode_to_vec(), stored_at + SENT_KEPT_FOR);
        Ok(self.put(Kind::SentMessages, &key, record).await?)
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        let key = key(Kind::SentMessages, &[chat_jid, message_id])?;
        let taken = self
            .write(|files| Ok(files.take(Kind::SentMessages, &key)))
            .await?;
        let taken = taken
            .map(|record| decode(Kind::SentMessages, &record.value))
            .transpose()?;
        Ok(taken.map(|sent: SentMessage| sent.payload))
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> Result<u32> {
        let expired = |sent: &SentMessage| sent.stored_at < cutoff_timestamp;
        Ok(self.sweep(Kind::SentMessages, expired).await?)
    }

    async fn store_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
        message: &[u8],
    ) -> Result<()> {
        Ok(self
            .put_pending(&[PendingInboundRow {
                chat,
                sender,
                id,
                message,
            }])
            .await?)
    }

    async fn get_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
    ) -> Result<Option<Vec<u8>>> {
        let pending = self.pending(chat, sender, id)?;
        if let (None, Some(redelivery)) = (&pending, &self.redelivery) {
            let number = self.number_of(sender)?;
            let key = MessageKey {
                chat,
                sender,
                sender_alt: number.as_deref(),
                id,
            };
            redelivery.check(key).await.map_err(BackendError::from)?;
        }
        Ok(pending)
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        Ok(self
            .remove_pending(&[PendingInboundKey { chat, sender, id }])
            .await?)
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> Result<u32> {
        let expired = |pending: &PendingMessage| pending.stored_at < cutoff_timestamp;
        Ok(self.sweep(Kind::Pending, expired).await?)
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        Ok(self.put_pending(rows).await?)
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        Ok(self.remove_pending(keys).await?)
    }
}

/// Changes a group's list of devices; an empty one is removed.
fn change_sender_key_devices(
    files: &SessionFiles,
    group: &[u8],
    change: impl FnOnce(&mut Vec<SenderKeyDevice>),
) -> super::Result<()> {
    files.update(Kind::SenderKeyDevices, group, |stored| {
        let mut list = stored
            .and_then(|stored| SenderKeyDevices::decode(stored.value).ok())
            .unwrap_or_default();
        change(&mut list.devices);
        (!list.devices.is_empty()).then(|| list.encode_to_vec().into())
    })?;
    Ok(())
}

/// Writes both directions. A number has one LID at a time, a LID one number.
fn put_mapping(edit: &mut Edit<'_>, entry: &LidPnMappingEntry) -> super::Result<()> {
    let lid = entry.lid.as_bytes();
    let number = entry.phone_number.as_bytes();
    if let Some(stored) = edit.get(Kind::LidMappings, lid)
        && let Ok(old) = LidMapping::decode(stored.value)
        && old.phone_number != entry.phone_number
    {
        edit.remove(Kind::PnMappings, old.phone_number.as_bytes());
    }
    let mapping = LidMapping {
        lid: entry.lid.clone(),
        phone_number: entry.phone_number.clone(),
        created_at: entry.created_at,
        updated_at: entry.updated_at,
        learning_source: entry.learning_source.clone(),
    };
    edit.put(Kind::LidMappings, lid, mapping.encode_to_vec())?;
    edit.put(Kind::PnMappings, number, lid.to_vec())?;
    Ok(())
}

fn mapping_entry(mapping: LidMapping) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: mapping.lid,
        phone_number: mapping.phone_number,
        created_at: mapping.created_at,
        updated_at: mapping.updated_at,
        learning_source: mapping.learning_source,
    }
}

fn stored_device_list(record: DeviceListRecord) -> DeviceList {
    let stored_info = |device: DeviceInfo| StoredDeviceInfo {
        device_id: device.device_id,
        key_index: device.key_index,
        is_hosted: device.is_hosted,
    };
    DeviceList {
        user: record.user,
        devices: record.devices.into_iter().map(stored_info).collect(),
        timestamp: record.timestamp,
        phash: record.phash,
        raw_id: record.raw_id,
    }
}

fn device_list_record(stored: DeviceList) -> DeviceListRecord {
    let info = |device: StoredDeviceInfo| DeviceInfo {
        device_id: device.device_id,
        key_index: device.key_index,
        is_hosted: device.is_hosted,
    };
    DeviceListRecord {
        user: stored.user,
        devices: stored.devices.into_iter().map(info).collect(),
        timestamp: stored.timestamp,
        phash: stored.phash,
        raw_id: stored.raw_id,
    }
}
