//! The same suite over a folder, S3 as moto plays it, Google's XML API over that, and Azure Blob Storage as Azurite plays it. Goal: an object is
//! written once, is durable and whole, is listed in order, and the copies above it are what they were.

use std::{collections::BTreeMap, sync::Arc};

use router_core::shelf::{ClaimError, Error, Objects, Shelf, store_id};
use router_objects::{Bucket, Place};

use super::{buckets, google::Google};

/// What a place is told besides its address.
type Told = BTreeMap<String, String>;

fn told(options: &[(&str, &str)]) -> Told {
    options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn open(place: &str, options: &Told) -> Arc<Bucket> {
    let place: Place = place.parse().unwrap();
    Arc::new(Bucket::open(&place, options, &|_| None).unwrap())
}

/// Every promise of the port, below a prefix beside another one.
async fn holds(base: &str, options: &Told) {
    let (ours, other) = (open(&format!("{base}/a/b"), options), open(&format!("{base}/a/bc"), options));
    assert_eq!(ours.place(), format!("{base}/a/b"));
    assert_eq!(ours.list("").await.unwrap(), vec![], "nothing yet");
    for name in ["x/2", "x/1", "x/10", "y/1"] {
        ours.create(name, format!("of {name}").into()).await.unwrap();
    }
    other.create("x/1", "another".into()).await.unwrap();
    assert!(matches!(ours.create("x/1", "again".into()).await, Err(Error::Exists { .. })));
    assert_eq!(ours.read("x/1", 0..6).await.unwrap(), "of x/1");
    assert_eq!(ours.read("x/10", 3..5).await.unwrap(), "x/");
    assert_eq!(ours.length("x/10").await.unwrap(), 7);
    assert!(matches!(ours.read("x/1", 2..99).await, Err(Error::Failed { .. })), "a part is none");
    assert!(matches!(ours.read("x/3", 0..1).await, Err(Error::NotFound { .. })));
    assert!(matches!(ours.length("x/3").await, Err(Error::NotFound { .. })));
    let names =
        |objects: Vec<router_core::shelf::Object>| objects.into_iter().map(|o| (o.name, o.bytes)).collect::<Vec<_>>();
    let listed = names(ours.list("x/").await.unwrap());
    assert_eq!(listed, [("x/1".into(), 6), ("x/10".into(), 7), ("x/2".into(), 6)]);
    assert_eq!(ours.list("").await.unwrap().len(), 4);
    ours.remove("x/1").await.unwrap();
    ours.remove("x/1").await.unwrap();
    assert_eq!(ours.list("x/").await.unwrap().len(), 2);
    ours.create("x/1", "anew".into()).await.unwrap();
    // Larger than one request of a reader, and than a body that a client might cut.
    let large: Vec<u8> = (0..5u32 << 20).map(|n| (n % 251) as u8).collect();
    ours.create("large", large.clone().into()).await.unwrap();
    assert_eq!(ours.read("large", 1_000_000..4_000_000).await.unwrap(), large[1_000_000..4_000_000]);

    Shelf::new(ours.clone()).probe().await.unwrap();
    assert_eq!(ours.list("").await.unwrap().len(), 5, "the probe leaves nothing");
    // Two at once: one has it.
    let claims = (0..8u8).map(|n| {
        let shelf = Shelf::new(open(&format!("{base}/claimed"), options));
        async move { shelf.claim(&store_id(&[n; 16])).await }
    });
    let mut tasks = tokio::task::JoinSet::new();
    claims.for_each(|claim| drop(tasks.spawn(claim)));
    let claimed = tasks.join_all().await;
    let refused = claimed.iter().filter(|c| matches!(c, Err(ClaimError::Foreign { .. }))).count();
    assert_eq!((claimed.iter().filter(|c| c.is_ok()).count(), refused), (1, 7), "{claimed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_holds_what_the_port_promises() {
    let home = tempfile::tempdir().unwrap();
    holds(&home.path().join("archive").display().to_string(), &Told::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_holds_what_the_port_promises() {
    let Some(peer) = buckets::s3().await else { return };
    let options = told(&[
        ("aws_endpoint", &peer.url),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("storage_class", "STANDARD_IA"),
        ("aws_server_side_encryption", "AES256"),
    ]);
    holds("s3://coffee/router-1", &options).await;
    let missing = Shelf::new(open("s3://nowhere/x", &options)).probe().await.unwrap_err().to_string();
    assert!(missing.contains("s3://nowhere/x"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn google_holds_what_the_port_promises() {
    let Some(peer) = Google::start().await else { return };
    let options = told(&[("google_service_account_key", &peer.key())]);
    holds("gs://coffee/router-1", &options).await;
    let missing = Shelf::new(open("gs://nowhere/x", &options)).probe().await.unwrap_err().to_string();
    assert!(missing.contains("gs://nowhere/x"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_holds_what_the_port_promises() {
    let Some(peer) = buckets::azure().await else { return };
    let options = told(&[
        ("azure_storage_account_name", buckets::AZURE_ACCOUNT),
        ("azure_storage_account_key", buckets::AZURE_KEY),
        ("azure_storage_endpoint", &peer.url),
    ]);
    holds("az://coffee/router-1", &options).await;
}
