//! Event Grid over real sockets of this machine, played by the facts of Microsoft's documentation.

#[cfg(test)]
#[path = "azure"]
mod suite {
    /// Event Grid, played: a custom topic, a namespace, and who issues tokens.
    pub mod grid;

    /// An intake with a script, a listener over it, and deliveries.
    mod world;

    /// Topics and functions.
    mod targets;

    /// Webhooks: handshakes, deliveries, who may deliver.
    mod webhook;

    /// Pulls from a namespace.
    mod pull;

    /// What clients publish.
    mod publish;
}
