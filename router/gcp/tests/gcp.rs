//! What Google sends, over real sockets of this machine, and what it is answered.

#[cfg(test)]
#[path = "gcp"]
mod suite {
    /// An intake with a script, a listener over it, and keys that tokens are checked with.
    mod world;

    /// Pushes: who may push, wrapped or not, and a status for whatever happens.
    mod push;

    /// Services that ask who calls.
    mod service;
}
