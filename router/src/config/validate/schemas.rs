//! The catalogue of schemas, compiled as at a start.

use super::Cx;
use crate::{
    codes,
    config::{Config, Validate, report::Finding},
    connect,
};

/// Checks that the catalogue can be made, and that somebody asks for it.
pub(super) fn check(config: &Config, cx: &mut Cx<'_>) {
    let asked = config.sources.values().any(|source| source.validate() != Validate::Off);
    let written = cx.root.get(&["schemas"]).is_some();
    if written || asked {
        for error in connect::catalogue_of(config).err().unwrap_or_default() {
            let finding = Finding::error(cx.root.place(&["schemas", "path"]), error.to_string());
            let help = "see `gocoffee schemas ls` and docs/schemas.md; nothing is fetched";
            cx.findings.push(finding.code(codes::CATALOGUE_REFUSED).help(help));
        }
    }
    if written && !asked {
        let finding = Finding::warning(cx.root.place(&["schemas"]), "no source asks for schemas");
        cx.findings.push(finding.code(codes::UNUSED).help("write `validate: warn` or `validate: refuse` at a source"));
    }
}
