//! State in the buckets of a cloud: an object for each key, written under conditions that the store itself holds
//! (S3 `If-None-Match` and `If-Match`, Google `ifGenerationMatch`, Azure `If-Match`).
//!
//! No store removes under a condition that all of them know; what is removed is written over with an entry that says so
//! ([`super::entry`]). A rule of the bucket that ends objects by their age keeps it small; its age must be longer than
//! repeats may come, mostly the `age_max` of the route.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use object_store::{
    Error as StoreError, GetOptions, ObjectStore, PutMode, PutOptions, PutResult, RetryConfig, UpdateVersion,
    client::{
        ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
        HttpResponseBody, HttpService,
    },
    path::Path,
};

use super::{
    Error, If, State, Stored, Version,
    entry::{Entry, Mark},
};
use crate::{http::Pool, settings::Settings};

/// How long one read or write may take, tries again included.
pub const STATE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a value.
pub const VALUE_BYTES_MAX: u64 = 8 << 20;

/// Bytes of an answer: a value with its line, or what a service says of itself.
const ANSWER_BYTES_MAX: usize = 9 << 20;

/// State in a bucket.
pub(super) struct Objects {
    store: Box<dyn ObjectStore>,
    prefix: Path,
}

/// Opens the store of a scheme.
///
/// # Errors
/// What is wrong, as a part of a sentence that begins with the setting's name.
pub(super) fn open(
    scheme: &str,
    bucket: &str,
    prefix: &str,
    settings: &Settings,
    pool: &Pool,
) -> Result<Arc<dyn State>, String> {
    let transport = Transport(pool.clone());
    #[cfg(not(all(feature = "state-s3", feature = "state-gs", feature = "state-az")))]
    let absent = || Err(format!("begins with {scheme}://, and this program is built without it"));
    let store: Result<Box<dyn ObjectStore>, StoreError> = match scheme {
        #[cfg(feature = "state-s3")]
        "s3" => s3(bucket, settings, transport),
        #[cfg(not(feature = "state-s3"))]
        "s3" => return absent(),
        #[cfg(feature = "state-gs")]
        "gs" => gs(bucket, settings, transport),
        #[cfg(not(feature = "state-gs"))]
        "gs" => return absent(),
        #[cfg(feature = "state-az")]
        "az" => az(bucket, settings, transport),
        #[cfg(not(feature = "state-az"))]
        "az" => return absent(),
        other => return Err(format!("begins with {other}://, which is none of file, s3, gs and az")),
    };
    let store = store.map_err(|e| format!("names a bucket that cannot be used: {e}"))?;
    let prefix = Path::parse(prefix.trim_matches('/')).map_err(|e| format!("has a prefix that cannot be: {e}"))?;
    Ok(Arc::new(Objects { store, prefix }))
}

/// Few tries, and soon: an attempt at an event has little time, and will be made again.
fn retry() -> RetryConfig {
    RetryConfig { max_retries: 2, retry_timeout: STATE_TIMEOUT / 2, ..RetryConfig::default() }
}

#[cfg(feature = "state-s3")]
fn s3(bucket: &str, settings: &Settings, transport: Transport) -> Result<Box<dyn ObjectStore>, StoreError> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    let keys =
        settings.named("AWS_").filter_map(|(name, value)| Some((name.parse::<AmazonS3ConfigKey>().ok()?, value)));
    let builder = keys.fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value));
    let plain = settings.get("AWS_ENDPOINT_URL").is_some_and(|url| url.starts_with("http://"));
    let builder = builder.with_bucket_name(bucket).with_allow_http(plain).with_retry(retry());
    Ok(Box::new(builder.with_http_connector(transport).build()?))
}

#[cfg(feature = "state-gs")]
fn gs(bucket: &str, settings: &Settings, transport: Transport) -> Result<Box<dyn ObjectStore>, StoreError> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
    let keys =
        settings.named("GOOGLE_").filter_map(|(name, value)| Some((name.parse::<GoogleConfigKey>().ok()?, value)));
    let builder = keys.fold(GoogleCloudStorageBuilder::new(), |builder, (key, value)| builder.with_config(key, value));
    let builder = builder.with_bucket_name(bucket).with_retry(retry());
    Ok(Box::new(builder.with_http_connector(transport).build()?))
}

#[cfg(feature = "state-az")]
fn az(container: &str, settings: &Settings, transport: Transport) -> Result<Box<dyn ObjectStore>, StoreError> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    let keys = settings.named("AZURE_").filter_map(|(name, value)| Some((name.parse::<AzureConfigKey>().ok()?, value)));
    let builder = keys.fold(MicrosoftAzureBuilder::new(), |builder, (key, value)| builder.with_config(key, value));
    let plain = settings.get("AZURE_STORAGE_ENDPOINT").is_some_and(|url| url.starts_with("http://"));
    // Where the platform gives identities.
    let identity = settings.get("IDENTITY_ENDPOINT");
    let builder = identity.into_iter().fold(builder, |builder, url| builder.with_msi_endpoint(url));
    let builder = builder.with_container_name(container).with_allow_http(plain).with_retry(retry());
    Ok(Box::new(builder.with_http_connector(transport).build()?))
}

/// What the store has under a key.
struct Found {
    entry: Entry,
    version: UpdateVersion,
}

impl Objects {
    fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    async fn find(&self, key: &str) -> Result<Option<Found>, Error> {
        let read = async {
            let result = self.store.get_opts(&self.path(key), GetOptions::default()).await?;
            let (size, meta) = (result.meta.size, result.meta.clone());
            // Its line comes on top; nothing is read of what nobody here wrote.
            let bytes = if size > VALUE_BYTES_MAX + 1_024 { Bytes::new() } else { result.bytes().await? };
            Ok::<_, StoreError>((bytes, UpdateVersion { e_tag: meta.e_tag, version: meta.version }))
        };
        match in_time(key, read).await? {
            Ok((bytes, version)) => Ok(Some(Found { entry: Entry::read(key, &bytes)?, version })),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(unavailable(key, &e)),
        }
    }

    async fn write(&self, key: &str, entry: &Entry, mode: PutMode) -> Result<UpdateVersion, Error> {
        let (path, payload) = (self.path(key), entry.write().into());
        let put = self.store.put_opts(&path, payload, PutOptions::from(mode));
        let failure = match in_time(key, put).await? {
            Ok(PutResult { e_tag, version, .. }) => return Ok(UpdateVersion { e_tag, version }),
            Err(e) => e,
        };
        match failure {
            // A try whose answer was lost may have been taken, and the next one fails over it.
            StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => match self.find(key).await? {
                Some(found) if found.entry.mark == entry.mark => Ok(found.version),
                _ => Err(Error::Conflict(key.into())),
            },
            // The object is gone: its version cannot be the one.
            StoreError::NotFound { .. } => Err(Error::Conflict(key.into())),
            e => Err(unavailable(key, &e)),
        }
    }
}

async fn in_time<T>(key: &str, work: impl Future<Output = T>) -> Result<T, Error> {
    let late = |_| Error::Unavailable(format!("{key}: no answer within {} s", STATE_TIMEOUT.as_secs()).into());
    tokio::time::timeout(STATE_TIMEOUT, work).await.map_err(late)
}

fn unavailable(key: &str, e: &StoreError) -> Error {
    Error::Unavailable(format!("{key}: {e}").into())
}

/// A version of the store as one word: its tag, and its number where it has one.
fn word(version: UpdateVersion) -> Version {
    let UpdateVersion { e_tag, version } = version;
    Version(format!("{}\n{}", e_tag.unwrap_or_default(), version.unwrap_or_default()).into())
}

fn of_word(Version(word): &Version) -> UpdateVersion {
    let (e_tag, version) = word.split_once('\n').unwrap_or((word, ""));
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    UpdateVersion { e_tag: some(e_tag), version: some(version) }
}

#[async_trait]
impl State for Objects {
    async fn get(&self, key: &str) -> Result<Option<Stored>, Error> {
        let found = self.find(key).await?;
        Ok(found.and_then(|found| Some(Stored { value: found.entry.value?, version: word(found.version) })))
    }

    async fn put(&self, key: &str, value: Bytes, condition: If) -> Result<Version, Error> {
        let bytes = u64::try_from(value.len()).unwrap_or(u64::MAX);
        if bytes > VALUE_BYTES_MAX {
            return Err(Error::TooLarge(key.into(), bytes));
        }
        let entry = Entry { mark: Mark::draw()?, value: Some(value) };
        let mode = match &condition {
            If::Absent => PutMode::Create,
            If::Version(version) => PutMode::Update(of_word(version)),
        };
        match self.write(key, &entry, mode).await {
            Err(Error::Conflict(_)) if condition == If::Absent => {}
            written => return written.map(word),
        }
        // What was removed counts as absent, and is written over.
        match self.find(key).await? {
            Some(Found { entry: Entry { value: None, .. }, version }) => {
                self.write(key, &entry, PutMode::Update(version)).await.map(word)
            }
            _ => Err(Error::Conflict(key.into())),
        }
    }

    async fn remove(&self, key: &str, version: &Version) -> Result<(), Error> {
        let gone = Entry { mark: Mark::draw()?, value: None };
        match self.write(key, &gone, PutMode::Update(of_word(version))).await {
            Err(Error::Conflict(_)) => match self.find(key).await? {
                None | Some(Found { entry: Entry { value: None, .. }, .. }) => Ok(()),
                Some(_) => Err(Error::Conflict(key.into())),
            },
            written => written.map(drop),
        }
    }
}

/// The function's own connections, as the stores use them: no second HTTP client is built in.
#[derive(Clone)]
struct Transport(Pool);

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        // A body of the store is in memory already.
        let body = body.collect().await?.to_bytes();
        let answer = self.0.raw(http::Request::from_parts(head, body)).await;
        let (head, body) = answer
            .map_err(|e| {
                let kind = if e.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
                HttpError::new(kind, e)
            })?
            .into_parts();
        let broke = |e| HttpError::new_boxed(HttpErrorKind::Interrupted, e);
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(broke)?.to_bytes();
        let body = Full::new(body).map_err(|never| match never {});
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}
