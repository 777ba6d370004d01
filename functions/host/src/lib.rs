//! Runs one handler unchanged on AWS Lambda, Google Cloud Functions, Azure Functions and a plain HTTP port.
//!
//! An author writes a type with [`Function`], and one line of `main.rs`. Whatever brings the event, the
//! handler sees the same [`schemas::Event`] and the same [`Context`].
//!
//! ```
//! use function_host::{Context, Failure, Function, Host, Reply, SettingError, Settings};
//! use schemas::{Event, Form};
//! use serde::{Deserialize, Serialize};
//!
//! struct Greeter {
//!     word: String,
//! }
//!
//! #[derive(Deserialize)]
//! struct Guest {
//!     name: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Greeting {
//!     text: String,
//! }
//!
//! impl Function for Greeter {
//!     const NAME: &'static str = "greeter";
//!     const CONSUMES: &'static [&'static str] = &["guest.arrived"];
//!     const EMITS: &'static [&'static str] = &["guest.greeted"];
//!
//!     fn start(settings: &Settings) -> Result<Self, SettingError> {
//!         Ok(Greeter { word: settings.read("GREETING", "Hello".to_owned())? })
//!     }
//!
//!     async fn handle(&self, event: &Event, ctx: &Context) -> Result<Vec<Reply>, Failure> {
//!         ctx.once(ctx.key(), async {
//!             let guest: Guest = function_host::data(event)?;
//!             let greeting = Greeting { text: format!("{}, {}", self.word, guest.name) };
//!             Ok(vec![Reply::json("guest.greeted", &greeting)?.subject(guest.name)])
//!         })
//!         .await
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let host = Host::<Greeter>::for_tests([("GREETING", "Bonjour")].into_iter().collect(), Default::default())?;
//! let event = Event::builder("1", "/door", "guest.arrived").data(Form::Json, r#"{"name":"Zoë"}"#).build()?;
//! let replies = host.call(event).await?;
//! assert_eq!(replies[0].data(), r#"{"text":"Bonjour, Zoë"}"#.as_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// What an author writes.
pub mod function;

// What a function is given: settings, time, state, HTTP, the log.
pub mod context;
pub mod http;
pub mod log;
pub mod settings;
pub mod state;

// One invocation.
pub mod host;
mod key;

// Where replies go, and how answers look over HTTP.
pub mod output;
pub mod wire;

// The platforms, and which of them this process is on.
#[cfg(feature = "azure")]
pub mod azure;
#[cfg(feature = "google")]
pub mod google;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod local;
mod run;
pub mod server;

// An event in the form of every platform, for the tests of functions.
#[cfg(feature = "testing")]
pub mod testing;

pub use context::{Clock, Context};
pub use function::{Attr, Failure, Function, Kind, Reply, data};
pub use host::{Call, Host, Invocation};
pub use key::hash as key;
pub use log::Severity;
/// The allocator of a function's program, which [`main!`] sets; a benchmark of a handler sets it for itself.
pub use mimalloc::MiMalloc as Allocator;
pub use run::run;
pub use settings::{SettingError, Settings};
