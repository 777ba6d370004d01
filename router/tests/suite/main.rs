//! The binary's own suite, in one program. The modules are `cfg(test)` so that lints know helpers as tests.

#[cfg(test)]
mod change;
#[cfg(test)]
mod config_golden;

#[cfg(test)]
mod api;
#[cfg(test)]
mod aws;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod hops;
#[cfg(test)]
mod operate;
#[cfg(test)]
mod process;
#[cfg(test)]
mod recover;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod replies;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod system;
#[cfg(test)]
mod world;
