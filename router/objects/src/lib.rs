//! Where copies of sealed segments lie: [`Objects`] over the crate `object_store`, for S3, Google Cloud Storage, Azure
//! Blob Storage and folders. Its requests go through the router's own HTTP client: no second one is built in.
//!
//! | address | what | options and environment |
//! |---|---|---|
//! | `/FOLDER`, `./FOLDER`, `file:///FOLDER` | a folder, synced at each copy | |
//! | `s3://BUCKET/PREFIX` | S3, and what speaks like it | `aws_…` |
//! | `gs://BUCKET/PREFIX` | Google Cloud Storage | `google_…` |
//! | `az://CONTAINER/PREFIX` | Azure Blob Storage | `azure_…` |
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use router_core::shelf::{Objects, Error};
//! use router_objects::{Bucket, Place};
//!
//! let home = tempfile::tempdir().unwrap();
//! let place: Place = home.path().join("archive").display().to_string().parse().unwrap();
//! let bucket = Bucket::open(&place, &Default::default(), &|_| None).unwrap();
//! bucket.create("a/b", "x".into()).await.unwrap();
//! assert!(matches!(bucket.create("a/b", "y".into()).await, Err(Error::Exists { .. })));
//! assert_eq!(bucket.read("a/b", 0..1).await.unwrap(), "x");
//! # });
//! ```

use std::{collections::BTreeMap, fmt, ops::Range, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{
    Attribute, Attributes, Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    local::LocalFileSystem, path::Path,
};
use router_core::shelf::{Error, Object, Objects};

/// The router's own connections.
#[cfg(any(feature = "s3", feature = "gs", feature = "az"))]
mod transport;

/// How long one object may take to be written or read, tries again included.
pub const OBJECT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a listing may take.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(300);
/// The option that is none of a store's: the class in which copies are kept.
pub const STORAGE_CLASS: &str = "storage_class";

/// An address of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket, or a container, and the prefix in it.
    Bucket {
        /// Which store.
        scheme: Scheme,
        /// The bucket or container.
        bucket: String,
        /// Empty, or without slashes at its ends.
        prefix: String,
    },
}

/// A store of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Amazon's.
    S3,
    /// Google's.
    Gs,
    /// Azure's.
    Az,
}

impl Scheme {
    /// As an address begins.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::S3 => "s3",
            Scheme::Gs => "gs",
            Scheme::Az => "az",
        }
    }

    /// How the names of its options begin, in the environment in capitals.
    pub fn options(self) -> &'static str {
        match self {
            Scheme::S3 => "aws_",
            Scheme::Gs => "google_",
            Scheme::Az => "azure_",
        }
    }

    /// The feature that it is built with.
    pub fn feature(self) -> &'static str {
        match self {
            Scheme::S3 => "aws",
            Scheme::Gs => "gcp",
            Scheme::Az => "azure",
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let folder = text.starts_with(['/', '.']).then(|| Place::Folder(text.into()));
            return folder.ok_or_else(|| format!("`{text}` is no place for an archive: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, or a folder that begins with / or ."));
        };
        let scheme = match scheme {
            "file" if rest.starts_with('/') => return Ok(Place::Folder(rest.into())),
            "s3" => Scheme::S3,
            "gs" => Scheme::Gs,
            "az" => Scheme::Az,
            other => return Err(format!("`{other}://` is none of s3://, gs://, az:// and file:///")),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || bucket.contains(['@', '?', '#', ':']) {
            return Err(format!(
                "`{text}` names no bucket: {}://BUCKET/PREFIX, without host, user or port",
                scheme.as_str()
            ));
        }
        let prefix = prefix.trim_matches('/');
        Path::parse(prefix).map_err(|e| format!("`{prefix}` can be no prefix: {e}"))?;
        Ok(Place::Bucket { scheme, bucket: bucket.into(), prefix: prefix.into() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Folder(path) => write!(f, "{}", path.display()),
            Place::Bucket { scheme, bucket, prefix } if prefix.is_empty() => {
                write!(f, "{}://{bucket}", scheme.as_str())
            }
            Place::Bucket { scheme, bucket, prefix } => write!(f, "{}://{bucket}/{prefix}", scheme.as_str()),
        }
    }
}

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An option.
    #[error(
        "`{0}` is no option of {1}://; its options begin with `{2}` and are those of the crate object_store, e.g. `{3}`"
    )]
    Option(String, &'static str, &'static str, &'static str),
    /// An option of a folder.
    #[error("a folder has no options")]
    Folder,
    /// The store does not take it.
    #[error("{0}")]
    Store(String),
    /// This program cannot.
    #[error("this gocoffee was built without {0}; use one that was built with `--features {0}`, as by default")]
    BuiltWithout(&'static str),
}

/// Whether a place takes options of these names; nothing is opened or made.
///
/// # Errors
/// [`OpenError`].
pub fn check(place: &Place, options: &BTreeMap<String, String>) -> Result<(), OpenError> {
    match place {
        Place::Folder(_) if options.is_empty() => Ok(()),
        Place::Folder(_) => Err(OpenError::Folder),
        Place::Bucket { scheme, .. } => {
            let mut known = options.clone();
            known.remove(STORAGE_CLASS);
            known_options(*scheme, &known)
        }
    }
}

#[cfg_attr(not(any(feature = "s3", feature = "gs", feature = "az")), expect(unused_variables))]
fn known_options(scheme: Scheme, options: &BTreeMap<String, String>) -> Result<(), OpenError> {
    match scheme {
        #[cfg(feature = "s3")]
        Scheme::S3 => keys::<object_store::aws::AmazonS3ConfigKey>(scheme, "aws_region", options, options).map(drop),
        #[cfg(feature = "gs")]
        Scheme::Gs => {
            keys::<object_store::gcp::GoogleConfigKey>(scheme, "google_service_account", options, options).map(drop)
        }
        #[cfg(feature = "az")]
        Scheme::Az => {
            let example = "azure_storage_account_name";
            keys::<object_store::azure::AzureConfigKey>(scheme, example, options, options).map(drop)
        }
        #[cfg(not(all(feature = "s3", feature = "gs", feature = "az")))]
        absent => Err(OpenError::BuiltWithout(absent.feature())),
    }
}

/// What an environment says.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// A prefix of a bucket, or a folder.
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    place: String,
    attributes: Attributes,
}

/// Names of the environment that are looked at, beside the options: credentials, as each cloud's own tools take them.
/// Without these, the identity of the machine, container or workload is asked for.
const ENVIRONMENT: [&str; 32] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BASE_URL",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_TENANT_ID",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
];

impl Bucket {
    /// Opens a place; nothing is asked of it yet, but a folder is made where there is none.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        place: &Place,
        options: &BTreeMap<String, String>,
        environment: Environment<'_>,
    ) -> Result<Self, OpenError> {
        let mut attributes = Attributes::new();
        let (store, prefix) = match place {
            Place::Folder(_) if !options.is_empty() => return Err(OpenError::Folder),
            Place::Folder(folder) => {
                let cannot = |e: &dyn fmt::Display| {
                    OpenError::Store(format!("{}: {e}; it must be writable for this user", folder.display()))
                };
                std::fs::create_dir_all(folder).map_err(|e| cannot(&e))?;
                let store = LocalFileSystem::new_with_prefix(folder).map_err(|e| cannot(&e))?.with_fsync(true);
                (Arc::new(store) as Arc<dyn ObjectStore>, Path::default())
            }
            Place::Bucket { scheme, bucket, prefix } => {
                let named = ENVIRONMENT.iter().filter(|name| name.to_ascii_lowercase().starts_with(scheme.options()));
                let mut all: BTreeMap<String, String> =
                    named.filter_map(|name| Some((name.to_ascii_lowercase(), environment(name)?))).collect();
                for (name, value) in options {
                    if name == STORAGE_CLASS {
                        attributes.insert(Attribute::StorageClass, value.clone().into());
                    } else {
                        all.insert(name.clone(), value.clone());
                    }
                }
                let store = open(*scheme, bucket, &all, options)?;
                (store, Path::parse(prefix).map_err(|e| OpenError::Store(e.to_string()))?)
            }
        };
        Ok(Bucket { store, prefix, place: place.to_string(), attributes })
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn error(&self, name: &str, e: StoreError) -> Error {
        let place = if name.is_empty() { self.place.as_str().into() } else { format!("{}/{name}", self.place).into() };
        match e {
            StoreError::NotFound { .. } => Error::NotFound { place },
            StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => Error::Exists { place },
            StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => Error::Failed {
                place,
                why: format!("it takes no conditional writes, without which two routers could write over each other: use a store that does ({e})").into(),
            },
            e => Error::Failed { place, why: e.to_string().into() },
        }
    }

    async fn in_time<T>(
        &self,
        name: &str,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done.map_err(|e| self.error(name, e)),
            Err(_) => Err(Error::Failed {
                place: format!("{}/{name}", self.place).into(),
                why: format!("no answer within {} s", limit.as_secs()).into(),
            }),
        }
    }
}

/// Few tries, and soon: whoever copies tries again.
#[cfg(any(feature = "s3", feature = "gs", feature = "az"))]
fn retry() -> object_store::RetryConfig {
    object_store::RetryConfig {
        max_retries: 3,
        retry_timeout: OBJECT_TIMEOUT / 2,
        ..object_store::RetryConfig::default()
    }
}

/// Each key that the store knows; of the options, one that it does not know is an error.
#[cfg(any(feature = "s3", feature = "gs", feature = "az"))]
fn keys<K: FromStr>(
    scheme: Scheme,
    example: &'static str,
    all: &BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
) -> Result<Vec<(K, String)>, OpenError> {
    let mut keys = Vec::new();
    for (name, value) in all {
        match name.parse() {
            Ok(key) if name.starts_with(scheme.options()) => keys.push((key, value.clone())),
            _ if given.contains_key(name) => {
                return Err(OpenError::Option(name.clone(), scheme.as_str(), scheme.options(), example));
            }
            _ => {}
        }
    }
    Ok(keys)
}

#[cfg_attr(not(any(feature = "s3", feature = "gs", feature = "az")), expect(unused_variables))]
fn open(
    scheme: Scheme,
    bucket: &str,
    all: &BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>, OpenError> {
    #[cfg(any(feature = "s3", feature = "gs", feature = "az"))]
    let (refused, transport) = (
        |e: StoreError| OpenError::Store(e.to_string()),
        transport::Transport::new().map_err(|e| OpenError::Store(e.to_string()))?,
    );
    match scheme {
        #[cfg(feature = "s3")]
        Scheme::S3 => {
            use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
            let keys = keys::<AmazonS3ConfigKey>(scheme, "aws_region", all, given)?;
            let plain = all.values().any(|value| value.starts_with("http://"));
            let builder = keys.into_iter().fold(AmazonS3Builder::new(), |b, (key, value)| b.with_config(key, value));
            let builder = builder.with_bucket_name(bucket).with_allow_http(plain).with_retry(retry());
            Ok(Arc::new(builder.with_http_connector(transport).build().map_err(refused)?))
        }
        #[cfg(feature = "gs")]
        Scheme::Gs => {
            use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
            let keys = keys::<GoogleConfigKey>(scheme, "google_service_account", all, given)?;
            let builder =
                keys.into_iter().fold(GoogleCloudStorageBuilder::new(), |b, (key, value)| b.with_config(key, value));
            let builder = builder.with_bucket_name(bucket).with_retry(retry());
            Ok(Arc::new(builder.with_http_connector(transport).build().map_err(refused)?))
        }
        #[cfg(feature = "az")]
        Scheme::Az => {
            use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
            let keys = keys::<AzureConfigKey>(scheme, "azure_storage_account_name", all, given)?;
            let plain = all.values().any(|value| value.starts_with("http://"));
            let builder =
                keys.into_iter().fold(MicrosoftAzureBuilder::new(), |b, (key, value)| b.with_config(key, value));
            let builder = builder.with_container_name(bucket).with_allow_http(plain).with_retry(retry());
            Ok(Arc::new(builder.with_http_connector(transport).build().map_err(refused)?))
        }
        #[cfg(not(all(feature = "s3", feature = "gs", feature = "az")))]
        absent => Err(OpenError::BuiltWithout(absent.feature())),
    }
}

#[async_trait]
impl Objects for Bucket {
    fn place(&self) -> &str {
        &self.place
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<(), Error> {
        let options =
            PutOptions { mode: PutMode::Create, attributes: self.attributes.clone(), ..PutOptions::default() };
        let path = self.path(name);
        let put = self.store.put_opts(&path, body.into(), options);
        self.in_time(name, OBJECT_TIMEOUT, put).await.map(drop)
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let want = range.end.saturating_sub(range.start);
        let path = self.path(name);
        let bytes = self.in_time(name, OBJECT_TIMEOUT, self.store.get_range(&path, range)).await?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) != want {
            let why = format!("{} bytes were asked for and {} came", want, bytes.len());
            return Err(Error::Failed { place: format!("{}/{name}", self.place).into(), why: why.into() });
        }
        Ok(bytes)
    }

    async fn length(&self, name: &str) -> Result<u64, Error> {
        let path = self.path(name);
        Ok(self.in_time(name, OBJECT_TIMEOUT, self.store.head(&path)).await?.size)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let path = self.path(prefix);
        let all = self.in_time(prefix, LIST_TIMEOUT, self.store.list(Some(&path)).try_collect::<Vec<_>>()).await?;
        let below = if self.prefix.as_ref().is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let object = |meta: object_store::ObjectMeta| {
            let name = meta.location.as_ref().strip_prefix(below.as_str())?;
            Some(Object { name: name.to_owned(), bytes: meta.size })
        };
        let mut objects: Vec<Object> = all.into_iter().filter_map(object).collect();
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        match self.in_time(name, OBJECT_TIMEOUT, self.store.delete(&path)).await {
            Err(Error::NotFound { .. }) => Ok(()),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written_alike() {
        for (text, shown) in [
            ("/var/lib/archive", "/var/lib/archive"),
            ("./archive", "./archive"),
            ("file:///var/x", "/var/x"),
            ("s3://coffee", "s3://coffee"),
            ("s3://coffee/a/b/", "s3://coffee/a/b"),
            ("gs://coffee/x", "gs://coffee/x"),
            ("az://events/x", "az://events/x"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), shown);
        }
        for (text, says) in [
            ("archive", "begins with / or ."),
            ("ftp://x/y", "none of s3://"),
            ("s3:///y", "names no bucket"),
            ("s3://user@host/y", "names no bucket"),
            ("s3://b/a//b", "can be no prefix"),
        ] {
            let error = text.parse::<Place>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn an_option_that_the_store_does_not_have_is_refused_by_name() {
        let folder = Place::Folder("/tmp".into());
        let options = BTreeMap::from([("aws_region".to_owned(), "x".to_owned())]);
        assert!(matches!(Bucket::open(&folder, &options, &|_| None), Err(OpenError::Folder)));
        #[cfg(feature = "s3")]
        {
            let place: Place = "s3://coffee/x".parse().unwrap();
            let wrong = BTreeMap::from([("aws_regoin".to_owned(), "x".to_owned())]);
            let refused = Bucket::open(&place, &wrong, &|_| None).err().unwrap().to_string();
            assert!(refused.contains("aws_regoin") && refused.contains("aws_region"), "{refused}");
            Bucket::open(&place, &options, &|_| None).unwrap();
        }
    }
}
