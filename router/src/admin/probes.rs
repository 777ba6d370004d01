//! A second way to what needs no token, for machines that watch: `admin.probes`. The API stays on loopback, and
//! Kubernetes and Prometheus reach health, readiness and figures from where they are.

use std::sync::Arc;

use axum::Router;

use super::{Api, Operation, Refusal, handler, wrong_method};
use crate::codes;

/// What is there: figures and no payload, reads and no writes.
const SERVED: [Operation; 3] = [Operation::Health, Operation::Ready, Operation::Metrics];

/// Those paths alone.
pub fn router(api: Arc<Api>) -> Router {
    let served = SERVED.iter().fold(Router::new(), |router, op| router.route(op.path(), handler(*op)));
    served
        .fallback(async || {
            let detail = "`/healthz`, `/readyz` and `/metrics` alone are here; the API is at `admin.listen`";
            Refusal::not_found(codes::NO_SUCH_PATH, detail)
        })
        .method_not_allowed_fallback(wrong_method)
        .with_state(api)
}
