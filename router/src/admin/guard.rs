//! Who may call the admin API.
//!
//! | path | `Host` | token | writes |
//! |---|---|---|---|
//! | `/healthz`, `/readyz`, `/metrics` | any | no | none |
//! | everything else | one of `admin.hosts` | always | `Content-Type: application/json`, own `Origin` when there is one |
//!
//! The first row is for probes and scrapers, which call a machine by whatever address they know it by, and
//! which learn figures and no payload. The second keeps a web page that an operator happens to open from
//! reaching the API by a name of its own (DNS rebinding) or by a form; no CORS header is ever sent.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use router_http::{Secret, problem::Problem};
use subtle::ConstantTimeEq;

use super::answer;
use crate::codes;

/// Paths that need neither token nor host.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// What is compared with.
pub struct Guard {
    /// The token.
    pub token: Secret,
    /// Values of `Host`, without or with a port.
    pub hosts: Vec<String>,
}

/// The middleware in front of every path.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response<Body> {
    if !OPEN.contains(&request.uri().path())
        && let Err(problem) = guard.judge(request.method(), request.headers())
    {
        return answer(problem.into_response());
    }
    next.run(request).await
}

impl Guard {
    fn judge(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
        if !self
            .hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(bare(host)))
        {
            let detail = "the Host header is none of `admin.hosts`; add the name that this router is called by there";
            return Err(Problem::new(StatusCode::FORBIDDEN, codes::HOST_NOT_ALLOWED, detail).at("header host"));
        }
        let shown = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        if !self.knows(shown) {
            let detail = "send `Authorization: Bearer TOKEN`; the token is `admin.token` of the configuration, \
                          or stands in the file `admin.token` of the router's data folder";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, codes::TOKEN_MISSING_OR_WRONG, detail)
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        if method == Method::GET || method == Method::HEAD {
            return Ok(());
        }
        let origin = headers.get(header::ORIGIN).map(|o| o.to_str().unwrap_or_default());
        if origin.is_some_and(|o| !o.strip_prefix("http://").is_some_and(|o| o.eq_ignore_ascii_case(host))) {
            let detail = "a page of another origin may not write here";
            return Err(Problem::new(StatusCode::FORBIDDEN, codes::FOREIGN_ORIGIN, detail).at("header origin"));
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|c| c.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            let detail = "send `Content-Type: application/json`";
            return Err(
                Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::NOT_JSON, detail).at("header content-type")
            );
        }
        Ok(())
    }

    /// Compares in a time that does not tell how much of the token was right. Its length may be told: a
    /// drawn token always has the same.
    fn knows(&self, shown: &[u8]) -> bool {
        let scheme = shown.get(..7).is_some_and(|s| s.eq_ignore_ascii_case(b"bearer "));
        let token = shown.get(7..).unwrap_or_default();
        scheme && bool::from(token.ct_eq(self.token.expose().as_bytes()))
    }
}

/// A host without its port.
fn bare(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(method: Method, headers: &[(&'static str, &'static str)]) -> u16 {
        let guard = Guard { token: Secret::new("t0ken"), hosts: vec!["localhost".into(), "[::1]".into()] };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        guard.judge(&method, &map).map_or_else(|p| p.status().as_u16(), |()| 200)
    }

    #[test]
    fn host_token_origin_and_content_type_are_asked_for() {
        let (host, token) = (("host", "localhost:8081"), ("authorization", "Bearer t0ken"));
        let (json, origin) = (("content-type", "application/json; charset=utf-8"), ("origin", "http://localhost:8081"));
        assert_eq!(judge(Method::GET, &[host, token]), 200);
        assert_eq!(judge(Method::GET, &[("host", "[::1]:9"), token]), 200);
        assert_eq!(judge(Method::GET, &[("host", "LOCALHOST"), token]), 200);
        assert_eq!(judge(Method::GET, &[("host", "evil.example:8081"), token]), 403);
        assert_eq!(judge(Method::GET, &[token]), 403);
        assert_eq!(judge(Method::GET, &[host]), 401);
        assert_eq!(judge(Method::GET, &[host, ("authorization", "Bearer t0keN")]), 401);
        assert_eq!(judge(Method::GET, &[host, ("authorization", "Bearer t0ken ")]), 401);
        assert_eq!(judge(Method::GET, &[host, ("authorization", "Bearer ")]), 401);
        assert_eq!(judge(Method::POST, &[host, token]), 415);
        assert_eq!(judge(Method::POST, &[host, token, json]), 200);
        assert_eq!(judge(Method::POST, &[host, token, json, origin]), 200);
        assert_eq!(judge(Method::POST, &[host, token, json, ("origin", "http://evil.example")]), 403);
        assert_eq!(judge(Method::POST, &[host, token, json, ("origin", "null")]), 403);
        assert_eq!(judge(Method::POST, &[host, token, ("content-type", "text/plain")]), 415);
    }
}
