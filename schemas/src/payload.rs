//! The data of the platform's events, as Rust types. `payloads/*.schema.json` says the same to everybody else; a test
//! holds both equal. A reader takes members that it does not know as not there, so that a sender may say more.

pub mod ai;
pub mod defi;
pub mod inventory;
pub mod notifications;
pub mod orders;
pub mod system;
