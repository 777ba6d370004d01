//! Who a router is to others.

use router_core::hops::RouterId;
use serde::Deserialize;

use super::value::Secret;

/// Who this router is to others: what it signs the hops of events with. All replicas of one router say the same, and
/// no other router does.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Router {
    /// What stands for it in `gocoffeehops`. Default: 8 hexadecimal digits, made of the key.
    pub id: Option<RouterId>,
    /// What its hops are signed with: 32 bytes or more. Default: drawn at the first start into `router.key` in the
    /// data folder.
    pub key: Option<Secret>,
}
