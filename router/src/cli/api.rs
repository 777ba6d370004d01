//! Calls of the admin API: what is sent, and what an error means for who sits at the command line.

use bytes::Bytes;
use router_http::{
    Secret,
    client::{Answer, Client, Error, Open},
};
use schemas::Code;
use serde::de::DeserializeOwned;

use super::{Admin, Exit, Failure};
use crate::{
    admin::{Operation, token},
    codes, explain,
};

/// The environment variable that holds the token.
pub const TOKEN_ENV: &str = "GOCOFFEE_ADMIN_TOKEN";

/// A way to one router.
pub struct Api {
    base: String,
    token: Secret,
    client: Client,
}

impl Api {
    pub fn new(admin: &Admin) -> Result<Self, Failure> {
        let base = admin.admin.trim_end_matches('/').to_owned();
        Ok(Api { base, token: read_token(admin)?, client: client()? })
    }

    /// Calls an operation that reads.
    pub async fn get<T: DeserializeOwned>(&self, op: Operation) -> Result<T, Failure> {
        self.get_at(op.path()).await
    }

    /// Calls one with a query.
    pub async fn query<T: DeserializeOwned>(&self, op: Operation, query: &[(&str, String)]) -> Result<T, Failure> {
        self.get_at(&asked(op, query)).await
    }

    /// Calls one with a query whose answer is read while it comes.
    pub async fn open(&self, op: Operation, query: &[(&str, String)]) -> Result<Open, Failure> {
        let opened = self.client.open(&format!("{}{}", self.base, asked(op, query)), Some(&self.token)).await;
        match opened {
            Ok(open) if open.status.is_success() => Ok(open),
            Ok(open) => Err(self.refused(&open.into_answer().await)),
            Err(e) => Err(unreachable_router(&e, "--admin")),
        }
    }

    /// Where the router is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Calls one about the thing with this id.
    pub async fn get_id<T: DeserializeOwned>(&self, op: Operation, id: &str) -> Result<T, Failure> {
        self.get_at(&op.path().replace("{id}", &query_value(id))).await
    }

    async fn get_at<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.client.get(&format!("{}{path}", self.base), Some(&self.token)).await;
        self.read(answer)
    }

    /// Calls an operation that acts.
    pub async fn post<T: DeserializeOwned>(&self, op: Operation, body: &impl serde::Serialize) -> Result<T, Failure> {
        let json = serde_json::to_vec(body).map_err(|e| Failure::new(Exit::Usage, codes::ARGUMENT, e.to_string()))?;
        let url = format!("{}{}", self.base, op.path());
        self.read(self.client.post_json(&url, Some(&self.token), Bytes::from(json)).await)
    }

    fn read<T: DeserializeOwned>(&self, answer: Result<Answer, Error>) -> Result<T, Failure> {
        let answer = answer.map_err(|e| unreachable_router(&e, "--admin"))?;
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|e| {
                let what = "its answer is not what this version expects";
                Failure::new(
                    Exit::Unavailable,
                    codes::FOREIGN_ANSWER,
                    format!("{}: {what}: {e}; is it a gocoffee of another version?", self.base),
                )
            });
        }
        Err(self.refused(&answer))
    }

    fn refused(&self, answer: &Answer) -> Failure {
        let detail = problem_detail(answer);
        let code = problem_code(answer);
        match answer.status.as_u16() {
            401 => Failure::new(
                Exit::Unavailable,
                codes::TOKEN_REFUSED,
                format!(
                    "{} does not know this token; give the right one by --token-file, {TOKEN_ENV}, or --data with the \
                     router's data folder",
                    self.base
                ),
            ),
            400 | 404 | 409 | 422 => Failure::new(Exit::No, code, detail),
            status => Failure::new(Exit::Unavailable, code, format!("{} answered {status}: {detail}", self.base)),
        }
    }
}

/// The path of an operation with a query.
fn asked(op: Operation, query: &[(&str, String)]) -> String {
    let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={}", query_value(value))).collect();
    format!("{}?{}", op.path(), query.join("&"))
}

/// Percent-encodes everything but letters, digits and `-`.
fn query_value(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The client of the command line.
pub fn client() -> Result<Client, Failure> {
    Client::new().map_err(|e| Failure::new(Exit::Unavailable, codes::TLS_SETUP, format!("TLS cannot be set up: {e}")))
}

/// The code of a problem, where this program has a page of it.
fn problem_code(answer: &Answer) -> Code {
    let problem: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let word = problem.as_ref().and_then(|p| p.get("code")).and_then(|c| c.as_str());
    word.and_then(explain::code).unwrap_or(codes::API_REFUSED)
}

/// What a problem says, or the beginning of what came instead of one.
pub fn problem_detail(answer: &Answer) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let detail = problem.as_ref().and_then(|p| p.get("detail")).and_then(|d| d.as_str());
    detail.map_or_else(|| String::from_utf8_lossy(&answer.body).chars().take(200).collect(), Into::into)
}

/// No answer: who must do what.
pub fn unreachable_router(e: &Error, option: &str) -> Failure {
    let message = match e {
        Error::Connect { .. } => {
            format!("{e}; does the router run? `gocoffee serve` starts it, {option} says where it is")
        }
        Error::Url(_) => return Failure::new(Exit::Usage, codes::ARGUMENT, format!("{option}: {e}")),
        other => other.to_string(),
    };
    Failure::new(Exit::Unavailable, codes::NO_ROUTER, message)
}

fn read_token(admin: &Admin) -> Result<Secret, Failure> {
    let unreadable = |path: &std::path::Path, e: std::io::Error, help: &str| {
        Failure::new(
            Exit::Unavailable,
            codes::TOKEN_UNREADABLE,
            format!("the token file `{}` cannot be read: {e}; {help}", path.display()),
        )
    };
    if let Some(path) = &admin.token_file {
        return token::read(path).map_err(|e| unreadable(path, e, "see --token-file"));
    }
    if let Some(text) = std::env::var(TOKEN_ENV).ok().filter(|t| !t.is_empty()) {
        return Ok(Secret::new(text));
    }
    let path = admin.data.join(token::FILE);
    let help = format!("give the router's data folder by --data, or the token by --token-file or {TOKEN_ENV}");
    token::read(&path).map_err(|e| unreadable(&path, e, &help))
}
