//! Contacts: the people whom an account knows, by name.
//!
//! They come from the history and the address book of its phone, and from what
//! people write.

use axum::Json;
use axum::extract::State;
use coordinator_lib::store::{Query, StoreTime};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts;
use super::extract::{Id, Parameters};
use super::page::{PageParameters, Search, next_page, search};
use super::problem::Problem;
use super::state::Api;
use crate::model::stored::Record;
use crate::model::{ContactDoc, Stored, queries};

/// A contact as clients see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Contact)]
struct ContactView {
    id: String,
    account_id: String,
    /// The address by phone number.
    pn: Option<String>,
    /// The address by LID.
    lid: Option<String>,
    /// The phone number, as people write it.
    phone: Option<String>,
    /// The name in the phone's address book.
    name: Option<String>,
    /// The name that this person goes by.
    push_name: Option<String>,
    updated_at: StoreTime,
}

impl From<Record<ContactDoc>> for ContactView {
    fn from(record: Record<ContactDoc>) -> Self {
        let doc = record.value;
        let number = doc.pn.as_deref().and_then(|pn| pn.split('@').next());
        Self {
            id: record.path.id().to_owned(),
            phone: number.map(|number| format!("+{number}")),
            account_id: doc.account_id,
            pn: doc.pn,
            lid: doc.lid,
            name: doc.name,
            push_name: doc.push_name,
            updated_at: doc.updated_at,
        }
    }
}

/// A page of contacts.
#[derive(Serialize, ToSchema)]
pub(super) struct ContactPage {
    contacts: Vec<ContactView>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// Which contacts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContactParameters {
    limit: Option<u32>,
    after: Option<String>,
    /// Only those whose name, or whose number, begins so.
    search: Option<String>,
}

impl ContactParameters {
    fn query(&self, account_id: &str) -> Result<Query, Problem> {
        let Some(text) = &self.search else {
            return Ok(queries::contacts(account_id)?);
        };
        Ok(match search(text)? {
            Search::Number(digits) => queries::contacts_by_number(account_id, digits)?,
            Search::Name(name) => queries::contacts_by_name(account_id, &name)?,
        })
    }
}

/// `GET /v1/accounts/{id}/contacts`: by name; those without a name by their
/// address, among the others. `search` is the beginning of the name that is
/// shown (the address book's, else the one that the person goes by), or of the
/// number.
///
/// # Errors
/// `unknown_account`; `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Id(account_id): Id,
    Parameters(wanted): Parameters<ContactParameters>,
) -> Result<Json<ContactPage>, Problem> {
    accounts::find(&api, &account_id).await?;
    let query = wanted.query(&account_id)?;
    let page = PageParameters {
        limit: wanted.limit,
        after: wanted.after,
    };
    let page = page.read(api.store().as_ref(), query).await?;
    let contacts: Vec<ContactView> = page
        .documents
        .iter()
        .filter_map(ContactDoc::read_or_skip)
        .map(Into::into)
        .collect();
    let next = next_page(&page);
    Ok(Json(ContactPage { contacts, next }))
}
