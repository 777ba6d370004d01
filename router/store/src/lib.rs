//! Where events and what is owed are kept: the two ports of [`router_core::store`], in two forms that
//! one conformance suite holds to the same contract.
//!
//! | form | log | ledger | for |
//! |---|---|---|---|
//! | [`memory`] | a vector | ordered maps | tests: it is the oracle, and it can crash |
//! | [`disk`], [`store`] | segments of our own | fjall ([`ledger`]) | the embedded default |
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use router_core::{clock::Timestamp, id::{BusName, Offset}, store::{Admitted, Log, Store}};
//! use router_store::memory::MemoryStore;
//!
//! let store = MemoryStore::new();
//! let log = store.log(&BusName::new("default").unwrap()).await.unwrap();
//! let event = schemas::Event::builder("1", "/till", "coffee.order.created").build().unwrap();
//! let offsets = log.append(Timestamp(1), vec![Admitted { event, key: 1 }]).await.unwrap();
//! assert_eq!(offsets, [Offset(1)]);
//! # });
//! ```

/// Names of what a data folder has.
pub mod codes;

/// The form in memory: the oracle.
pub mod memory;

/// Objects in memory, which can be made to fail.
pub mod objects;

/// The log on disk.
pub mod disk;

/// The ledger on disk.
pub mod ledger;

/// The store on disk: both in one data folder.
pub mod store;

/// `gocoffee recover`.
pub mod recover;

/// `gocoffee archive verify`.
pub mod verify;

/// What every form must do: the bodies of the suites.
pub mod conformance;
