//! A link to a peer that can be cut: connections through it break, and nobody takes new ones, until it is mended.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::sink::bind;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A link on a port of its own; it is cut for good when it is dropped.
pub struct Link {
    address: SocketAddr,
    to: SocketAddr,
    whole: Option<(CancellationToken, JoinHandle<()>)>,
    /// The port is ours while the link is cut, and connections to it are refused.
    kept: Option<TcpSocket>,
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some((stop, _)) = &self.whole {
            stop.cancel();
        }
    }
}

impl Link {
    /// One to whoever serves at this URL, which names an address.
    ///
    /// # Panics
    /// When it names none, or there is no free port.
    pub async fn to(url: &str) -> Link {
        let to = url.strip_prefix("http://").and_then(|address| address.parse().ok());
        let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port on 127.0.0.1");
        let address = socket.local_addr().expect("a bound socket has an address");
        let to = to.expect("a URL like `http://127.0.0.1:1234`");
        let mut link = Link { address, to, whole: None, kept: Some(socket) };
        link.mend();
        link
    }

    /// The URL of the peer by way of this link.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks what goes through it, and refuses what comes, from now on.
    pub async fn cut(&mut self) {
        if let Some((stop, passing)) = self.whole.take() {
            stop.cancel();
            passing.await.expect("a link ends when told");
            self.kept = Some(bind(self.address).expect("the port was ours a moment ago"));
        }
    }

    /// Lets everything through again.
    pub fn mend(&mut self) {
        if let Some(socket) = self.kept.take() {
            let listener = socket.listen(BACKLOG).expect("the port is bound");
            let stop = CancellationToken::new();
            self.whole = Some((stop.clone(), tokio::spawn(pass(listener, self.to, stop))));
        }
    }
}

async fn pass(listener: TcpListener, to: SocketAddr, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        // One that was gone before it was accepted.
        let Ok((mut here, _)) = accepted else { continue };
        connections.spawn(async move {
            let Ok(mut there) = TcpStream::connect(to).await else { return };
            here.set_nodelay(true).ok();
            there.set_nodelay(true).ok();
            // Either side may break off: the other hears of it.
            tokio::io::copy_bidirectional(&mut here, &mut there).await.ok();
        });
    }
    // Dropped with the listener, so that the port is free when this ends.
    connections.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::world::{client::Client, sink::Sink};

    #[tokio::test]
    async fn a_cut_link_refuses_and_a_mended_one_serves_at_the_same_port() {
        let sink = Sink::start().await;
        let mut link = Link::to(&format!("http://{}", sink.address())).await;
        let counts = format!("{}/-/counts", link.url());
        for round in 0..3 {
            // A client whose connections stand while the link is cut, and one without any.
            let standing = Client::new(Duration::from_secs(5));
            assert_eq!(standing.get(&counts).await.unwrap().status, 200, "{round}");
            link.cut().await;
            for client in [&standing, &Client::new(Duration::from_secs(5))] {
                let cut = client.get(&counts).await;
                assert!(cut.is_err(), "{round}: {cut:?}");
            }
            link.mend();
        }
        assert_eq!(Client::new(Duration::from_secs(5)).get(&counts).await.unwrap().status, 200);
    }
}
