//! The HTTP server of the platforms that call a port: bounded in connections, bytes and time, and it ends on
//! SIGTERM after what it has begun.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use crate::{
    function::Failure,
    wire::{self, BODY_BYTES_MAX},
};

/// Connections at a time; further ones wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 1_024;
/// How long a request's head may take, and its body.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way may take after SIGTERM: Google allows ten seconds.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(9);
/// How long it waits after the system refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers requests until `stop`, then ends what was begun.
///
/// # Errors
/// None after the start: a connection that fails ends alone.
pub async fn serve<A, R>(listener: TcpListener, answer: A, stop: impl Future<Output = ()>)
where
    A: Fn(Request<Bytes>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Bytes>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stopping, _) = watch::channel(());
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, slot))
        };
        let (accepted, slot) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => match accepted { Some(accepted) => accepted, None => break },
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Small answers must not wait for an acknowledgement; a socket that refuses this still works.
        let _set = stream.set_nodelay(true);
        let answer = answer.clone();
        let service = service_fn(move |request| respond(answer.clone(), request));
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT);
        let connection = server.serve_connection(TokioIo::new(stream), service);
        let mut stop = stopping.subscribe();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            // A client that goes away is no event of ours.
            tokio::select! {
                _ended = connection.as_mut() => {}
                _stopping = stop.changed() => {
                    // An idle connection ends at once, any other after its answer.
                    connection.as_mut().graceful_shutdown();
                    let _ended = connection.await;
                }
            }
            drop(slot);
        });
    }
    drop((listener, stopping));
    // Each connection holds a slot until it has ended.
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _done = tokio::time::timeout(STOP_TIMEOUT, slots.acquire_many(all)).await;
}

async fn respond<A, R>(answer: A, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible>
where
    A: Fn(Request<Bytes>) -> R,
    R: Future<Output = Response<Bytes>>,
{
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(READ_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let response = match read {
        Ok(Ok(body)) => answer(Request::from_parts(head, body.to_bytes())).await,
        Ok(Err(e)) if e.is::<LengthLimitError>() => {
            let message = format!("the request is larger than {BODY_BYTES_MAX} bytes; send fewer events at a time");
            wire::problem(&Failure::refuse("body-too-large", message))
        }
        Ok(Err(_)) | Err(_) => {
            let message = format!("the request's body broke off, or took longer than {READ_TIMEOUT:?}");
            wire::problem(&Failure::retry("body-incomplete", message))
        }
    };
    Ok(response.map(Full::from))
}

/// Listens.
///
/// # Errors
/// What the system says, with the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|e| format!("cannot listen on {address}: {e}"))
}

/// Resolves at SIGTERM or SIGINT.
pub async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        // Without a handler the signal ends the process by itself.
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
}
