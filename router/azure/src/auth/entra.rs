//! Tokens of Microsoft Entra ID, on the way out. Three ways to show who asks:
//!
//! | identity | shown | source |
//! |---|---|---|
//! | a client with a secret | `client_secret`, OAuth 2.0 client credentials | learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow |
//! | a workload (Kubernetes) | `client_assertion`, from a file that is read anew each time since it is replaced | the same page, third case |
//! | the machine's own (managed identity) | being on that machine | learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token |
//!
//! Whoever waits, one request at a time is sent; a token is kept until shortly before its end
//! ([`router_http::target::Tokens`]).

use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use router_http::{
    Secret,
    client::{self, Client, Settings, USER_AGENT},
    secret,
    target::{Ask, ClientAuth, OAuth, Tokens, encoded},
};

use super::AuthError;

/// Where tokens are had, in Azure's public cloud.
pub const AUTHORITY: &str = "https://login.microsoftonline.com";
/// What a token for Event Grid is for.
pub const SCOPE: &str = "https://eventgrid.azure.net/.default";
/// Where a machine asks for its own tokens.
pub const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
/// Bytes of a workload's assertion that are read.
const ASSERTION_BYTES_MAX: u64 = 64 << 10;

/// Tokens as they are configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entra {
    /// Who asks.
    pub identity: Identity,
    /// Where: [`AUTHORITY`]; other clouds have their own.
    pub authority: String,
    /// For what: [`SCOPE`]; for a function, that of its app.
    pub scope: String,
}

/// Who asks for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A client with a secret.
    Client {
        /// The tenant's id or name.
        tenant: String,
        /// The application's id.
        client_id: String,
        /// What shows it.
        client_secret: Secret,
    },
    /// A workload whose token another issuer writes into a file.
    Workload {
        /// The tenant's id or name.
        tenant: String,
        /// The application's id.
        client_id: String,
        /// Where the token is: `AZURE_FEDERATED_TOKEN_FILE`.
        token_file: PathBuf,
    },
    /// The machine's own identity.
    Managed {
        /// Which, where the machine has several.
        client_id: Option<String>,
        /// Where App Service and Container Apps hand tokens out, and what they ask for: `IDENTITY_ENDPOINT` and
        /// `IDENTITY_HEADER`. `None`: the machine's metadata.
        endpoint: Option<(String, Secret)>,
    },
}

impl Entra {
    /// Where tokens are had; connects nowhere.
    pub(crate) fn tokens(&self, client: &Client) -> Result<Tokens, AuthError> {
        let refused = |why: String| AuthError::Entra(why);
        match &self.identity {
            Identity::Client { tenant, client_id, client_secret } => {
                let oauth = OAuth {
                    token_url: self.token_url(tenant)?,
                    client_id: client_id.clone(),
                    client_secret: client_secret.clone(),
                    scope: Some(self.scope.clone()),
                    audience: None,
                    client_auth: ClientAuth::Post,
                };
                Tokens::new(&oauth, client.clone()).map_err(|e| refused(e.to_string()))
            }
            Identity::Workload { tenant, client_id, token_file } => {
                let uri = url(&self.token_url(tenant)?)?;
                let ask = workload(uri.clone(), client_id.clone(), self.scope.clone(), token_file.clone());
                Ok(Tokens::asking(uri, ask, Vec::new(), client.clone()))
            }
            Identity::Managed { client_id, endpoint } => {
                let (uri, ask, secrets) = self.managed(client_id.as_deref(), endpoint.as_ref())?;
                // Metadata is where no event may go, so that targets' clients refuse it: this one sends none.
                let client = Client::with(&Settings::default()).map_err(|e| refused(e.to_string()))?;
                Ok(Tokens::asking(uri, ask, secrets, client))
            }
        }
    }

    fn token_url(&self, tenant: &str) -> Result<String, AuthError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
        if tenant.is_empty() || !tenant.bytes().all(plain) {
            return Err(AuthError::Entra("the tenant is an id, or a name such as contoso.onmicrosoft.com".into()));
        }
        Ok(format!("{}/{tenant}/oauth2/v2.0/token", self.authority.trim_end_matches('/')))
    }

    fn managed(
        &self,
        client_id: Option<&str>,
        endpoint: Option<&(String, Secret)>,
    ) -> Result<(Uri, Ask, Vec<Secret>), AuthError> {
        let (at, version) = endpoint.map_or((METADATA, "2018-02-01"), |(at, _)| (at.as_str(), "2019-08-01"));
        let resource = self.scope.trim_end_matches("/.default");
        let mut query = format!("{at}?api-version={version}&resource={}", encoded(resource));
        if let Some(client_id) = client_id {
            query.push_str(&format!("&client_id={}", encoded(client_id)));
        }
        let uri = url(&query)?;
        let (name, value) = match endpoint {
            None => (HeaderName::from_static("metadata"), HeaderValue::from_static("true")),
            Some((_, secret)) => {
                let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| AuthError::Key)?;
                value.set_sensitive(true);
                (HeaderName::from_static("x-identity-header"), value)
            }
        };
        let secrets = secret::echoes(endpoint.map(|(_, secret)| secret.expose().to_owned()));
        let to = uri.clone();
        let ask: Ask = Box::new(move || {
            let mut request = Request::new(Bytes::new());
            *request.method_mut() = Method::GET;
            *request.uri_mut() = to.clone();
            request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
            request.headers_mut().insert(name.clone(), value.clone());
            Ok(request)
        });
        Ok((uri, ask, secrets))
    }
}

fn url(text: &str) -> Result<Uri, AuthError> {
    client::url(text).map_err(|e| AuthError::Entra(e.to_string()))
}

fn workload(uri: Uri, client_id: String, scope: String, token_file: PathBuf) -> Ask {
    Box::new(move || {
        let assertion = read(&token_file).map_err(|e| {
            format!("the workload's token in `{}` cannot be read: {e}; is the file mounted?", token_file.display())
        })?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &client_id),
            ("scope", &scope),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.trim()),
        ];
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mut request = Request::new(Bytes::from(body.join("&")));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        Ok(request)
    })
}

/// Reads a file of a few hundred bytes, once an hour or less often.
fn read(file: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(file)?.take(ASSERTION_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
