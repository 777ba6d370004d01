//! Google Cloud Storage, as far as it can be had here: its XML API has the requests of S3 for all that an archive does
//! (docs.cloud.google.com/storage/docs/interoperability), so that moto serves them, behind a forwarder that calls the one
//! condition, "only if there is none", by S3's name. What moto cannot show are Google's tokens and generations.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use router_tests::world::client::Client;
use tokio::{net::TcpListener, task::JoinHandle};

use super::buckets::{self, Peer};

/// Google's name for the condition; no generation of an object is 0.
const CONDITION: &str = "x-goog-if-generation-match";

/// A forwarder that runs until it is dropped, and moto behind it.
pub struct Google {
    url: String,
    _moto: Peer,
    task: JoinHandle<()>,
}

impl Drop for Google {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Google {
    /// With an empty bucket `coffee`; `None`, and one line, where moto is not there.
    pub async fn start() -> Option<Google> {
        let moto = buckets::s3().await?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (url, to) = (format!("http://{}", listener.local_addr().unwrap()), moto.url.clone());
        let task = tokio::spawn(async move {
            let client = Client::new(Duration::from_secs(30));
            while let Ok((stream, _)) = listener.accept().await {
                let (client, to) = (client.clone(), to.clone());
                let service = service_fn(move |request| pass(request, client.clone(), to.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Some(Google { url, _moto: moto, task })
    }

    /// A service account's key, which says where its storage is and that no token is to be had.
    pub fn key(&self) -> String {
        serde_json::json!({
            "gcs_base_url": self.url, "disable_oauth": true,
            "client_email": "", "private_key": "", "private_key_id": "",
        })
        .to_string()
    }
}

async fn pass(request: Request<Incoming>, client: Client, to: String) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    // moto shows an object to somebody who says who he is, whoever that be.
    head.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer somebody"));
    if let Some(generation) = head.headers.remove(CONDITION) {
        assert_eq!((&head.method, generation.as_bytes()), (&Method::PUT, &b"0"[..]), "what is there stays as it is");
        head.headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    for gone in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        head.headers.remove(gone);
    }
    let path = head.uri.path_and_query().unwrap().as_str();
    let length = head.method == Method::HEAD;
    let got = client.send(head.method, &format!("{to}{path}"), head.headers, body).await.unwrap();
    let mut response = Response::new(Full::new(got.body));
    *response.status_mut() = got.status.try_into().unwrap();
    *response.headers_mut() = got.headers;
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    if !length {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    Ok(response)
}
