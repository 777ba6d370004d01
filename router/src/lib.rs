//! `gocoffee`: the binary, as a library, so that tests and a second binary can start the router in-process.
//! This crate is the only place that composes what the others bring.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use gocoffee::{config, serve};
//! let loaded = config::load_file("gocoffee.yaml".as_ref())?;
//! let config = loaded.config.ok_or_else(|| loaded.report.to_text(false))?;
//! let running = serve::serve(config, serve::Options::default()).await?;
//! println!("send events to http://{}/events", running.listen());
//! running.stop(serve::STOP_DEADLINE).await?;
//! # Ok(())
//! # }
//! ```

/// Names of what is wrong.
pub mod codes;

/// The page of each.
pub mod explain;

/// The configuration file.
pub mod config;

/// From the configuration to what it names.
pub mod connect;

/// The schemas that sources may ask for.
pub mod catalogue;

/// What stands around a router's ports.
pub mod around;

/// What a change of the configuration does.
mod change;

/// Another configuration, while the router runs.
pub mod reload;

/// Secrets that are drawn at the first start.
mod drawn;

/// Sources that pull.
mod pulls;

/// Keys in files, read again when they change.
mod watch;

/// A running router.
pub mod serve;

/// The admin side: API, metrics, health.
pub mod admin;

/// The command line.
pub mod cli;
