//! Which endpoint a request is for: the one at exactly its path, else the one at a beginning of it.

use std::collections::HashMap;

use http::{HeaderValue, StatusCode, header};

use super::{BindError, Mount, is_path};
use crate::{
    codes,
    endpoint::{PathSpec, Request},
    problem::Problem,
};

struct Route {
    spec: PathSpec,
    mount: Mount,
}

/// All endpoints by their paths.
pub(super) struct Routes {
    exact: HashMap<Box<str>, Route>,
    /// What is below a path, and nobody's own; none is below another.
    below: Vec<Route>,
}

impl Routes {
    /// Mounts endpoints.
    ///
    /// # Errors
    /// [`BindError`], for a path that cannot be, or that two of them claim.
    pub(super) fn new(mounts: Vec<Mount>) -> Result<Self, BindError> {
        let mut routes = Routes { exact: HashMap::new(), below: Vec::new() };
        for mount in mounts {
            for spec in mount.endpoint.paths() {
                routes.add(spec, &mount)?;
            }
            for spec in mount.endpoint.below() {
                routes.add_below(spec, &mount)?;
            }
        }
        Ok(routes)
    }

    fn add(&mut self, spec: &PathSpec, mount: &Mount) -> Result<(), BindError> {
        if !is_path(&spec.path) {
            return Err(BindError::Path(spec.path.clone()));
        }
        let route = Route { spec: spec.clone(), mount: mount.clone() };
        match self.exact.insert(spec.path.clone(), route) {
            None => Ok(()),
            Some(_) => Err(BindError::PathTaken(spec.path.clone())),
        }
    }

    fn add_below(&mut self, spec: &PathSpec, mount: &Mount) -> Result<(), BindError> {
        if !is_path(&spec.path) || !spec.path.ends_with('/') {
            return Err(BindError::Path(spec.path.clone()));
        }
        let meets =
            |other: &Route| spec.path.starts_with(&*other.spec.path) || other.spec.path.starts_with(&*spec.path);
        if self.below.iter().any(meets) {
            return Err(BindError::PathTaken(spec.path.clone()));
        }
        self.below.push(Route { spec: spec.clone(), mount: mount.clone() });
        Ok(())
    }

    /// The endpoint for a request.
    ///
    /// # Errors
    /// 404 and 405.
    pub(super) fn find(&self, req: &Request) -> Result<&Mount, Problem> {
        let path = req.uri().path();
        let below = || self.below.iter().find(|route| path.starts_with(&*route.spec.path));
        let Some(route) = self.exact.get(path).or_else(below) else {
            let all = self.exact.values().chain(&self.below);
            let mut paths: Vec<&str> = all.map(|route| &*route.spec.path).collect();
            paths.sort_unstable();
            let detail = format!("nothing listens on this path; there is {}", paths.join(", "));
            return Err(Problem::new(StatusCode::NOT_FOUND, codes::NO_SUCH_PATH, detail));
        };
        if !route.spec.methods.contains(req.method()) {
            let methods: Vec<&str> = route.spec.methods.iter().map(|method| method.as_str()).collect();
            let allow = methods.join(", ");
            let detail = format!("this path takes {allow}");
            let value = HeaderValue::from_str(&allow).unwrap_or(HeaderValue::from_static(""));
            return Err(
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, codes::METHOD, detail).header(header::ALLOW, value)
            );
        }
        Ok(&route.mount)
    }
}
