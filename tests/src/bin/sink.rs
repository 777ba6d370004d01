//! `coffee-sink`: the sink as a process of its own. It prints where it listens, and is scripted and read
//! over HTTP (see `router_tests::world::sink`).
//!
//! ```text
//! coffee-sink                      listens on a free port of 127.0.0.1
//! coffee-sink 127.0.0.1:9001       listens there
//! ```

use std::{net::SocketAddr, process::ExitCode};

use router_tests::world::sink::Sink;

#[tokio::main]
async fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let address: SocketAddr = match argument.parse() {
        Ok(address) => address,
        Err(_) => {
            eprintln!("error: `{argument}` is no address; usage: coffee-sink [127.0.0.1:PORT]");
            return ExitCode::from(2);
        }
    };
    match Sink::listen(address).await {
        Ok(mut sink) => {
            println!("listening on http://{}", sink.address());
            sink.served().await;
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {address}: {e}");
            ExitCode::FAILURE
        }
    }
}
