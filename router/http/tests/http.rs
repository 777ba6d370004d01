//! The listener and the target over real sockets of this machine.

#[cfg(test)]
#[path = "http"]
mod suite {
    /// A listener over a scripted intake, and a client that speaks HTTP by hand.
    mod world;

    /// Limits, deadlines, paths and the stop of the listener.
    mod listener;

    /// What lies below a path, and trailers.
    mod below;

    /// The three modes and the answers of the intake.
    mod events;

    /// The listener behind TLS, and HTTP/2.
    mod edge;

    /// Keys with rights and rates, the webhook handshake, gzip.
    mod rights;

    /// The webhook target against scripted servers.
    mod target;

    /// The webhook target behind TLS.
    mod tls;

    /// Batches, tokens, signatures, client certificates, addresses.
    mod outward;
}
