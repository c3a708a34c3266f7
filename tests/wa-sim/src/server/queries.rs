//! What the server is asked, and answers by itself: `<iq>`.
//!
//! A query that is not known here gets an empty result: clients ask for a great
//! deal that no test is about, and go on without it.

use super::{
    account::DeviceId,
    session::{Reply, SessionId},
    stanza::result,
    world::World,
};
use crate::{fault::Disconnect, media, wire::Node};

/// What everyone may see of everyone.
const PRIVACY: [(&str, &str); 7] = [
    ("readreceipts", "all"),
    ("last", "all"),
    ("online", "all"),
    ("profile", "all"),
    ("status", "all"),
    ("groupadd", "all"),
    ("calladd", "all"),
];

impl World {
    /// Answers a logged-in device's query.
    pub(super) fn answer(&mut self, id: SessionId, from: &DeviceId, query: &Node) -> Vec<Reply> {
        let kind = query.get("type").unwrap_or_default();
        if kind != "get" && kind != "set" {
            // An answer to one of ours.
            return Vec::new();
        }
        let answer = match query.get("xmlns").unwrap_or_default() {
            "encrypt" => self.answer_encrypt(from, query),
            "usync" => self.answer_usync(from, query),
            "w:g2" => self.answer_group(from, query),
            "passive" => {
                if query.find("active").is_some() {
                    self.activate(id);
                }
                result(query)
            }
            "abt" => result(query).child(
                Node::new("props")
                    .attr("protocol", "1")
                    .attr("hash", "sim")
                    .attr("refresh", "86400"),
            ),
            "privacy" if kind == "get" => {
                let categories = PRIVACY.map(|(name, value)| {
                    Node::new("category")
                        .attr("name", name)
                        .attr("value", value)
                });
                result(query).child(Node::new("privacy").children(categories.into()))
            }
            "blocklist" if kind == "get" => {
                result(query).child(Node::new("list").children(Vec::new()))
            }
            "w:m" if query.find("media_conn").is_some() => result(query).child(media::connection()),
            "w:sync:app:state" => result(query).child(self.answer_app_state(from, query)),
            "md" if query.find("remove-companion-device").is_some() => {
                return vec![Reply::Send(result(query)), Reply::End(self.log_out(from))];
            }
            _ => result(query),
        };
        vec![Reply::Send(answer)]
    }

    /// A device takes itself off its account.
    fn log_out(&mut self, device: &DeviceId) -> Disconnect {
        if let Some(account) = self.accounts.get_mut(&device.account) {
            account.devices.remove(&device.device);
        }
        self.changed();
        Disconnect::StreamError { code: 401 }
    }
}
