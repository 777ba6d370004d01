//! The pages of all codes: what `gocoffee explain` shows. They are the sections of the files in `docs/errors`,
//! compiled in, so that the pages are those of this very program.
//!
//! A section is
//! ```text
//! ## CODE: what it is
//!
//! **Cause.** …
//!
//! **Check.** …
//!
//! **Fix.** …
//! ```

use schemas::Code;
use serde::Serialize;

/// The files, in the order in which the pages are listed.
const FILES: [&str; 6] = [
    include_str!("../../docs/errors/configuration.md"),
    include_str!("../../docs/errors/running.md"),
    include_str!("../../docs/errors/commands.md"),
    include_str!("../../docs/errors/admin.md"),
    include_str!("../../docs/errors/intake.md"),
    include_str!("../../docs/errors/deliveries.md"),
];

/// The page of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The code.
    pub code: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// Why it comes.
    pub cause: &'static str,
    /// How to see what it is this time.
    pub check: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// Every code that this program can print, each once, in the order of their crates.
pub fn codes() -> Vec<Code> {
    let crates = [
        crate::codes::ALL,
        router_core::codes::ALL,
        router_store::codes::ALL,
        router_http::codes::ALL,
        #[cfg(feature = "aws")]
        router_aws::codes::ALL,
        #[cfg(feature = "azure")]
        router_azure::codes::ALL,
        #[cfg(feature = "gcp")]
        router_gcp::codes::ALL,
        schemas::codes::ALL,
    ];
    let mut codes: Vec<Code> = Vec::new();
    for code in crates.into_iter().flatten() {
        if !codes.contains(code) {
            codes.push(*code);
        }
    }
    codes
}

/// A code by what is written of it; the case does not matter.
pub fn code(written: &str) -> Option<Code> {
    codes().into_iter().find(|code| code.0.eq_ignore_ascii_case(written))
}

/// Every page, in the order of the files.
pub fn pages() -> impl Iterator<Item = Page> {
    FILES.iter().flat_map(|file| file.split("\n## ").skip(1)).map(page)
}

fn page(section: &'static str) -> Page {
    let (head, body) = section.split_once('\n').unwrap_or((section, ""));
    let (code, title) = head.split_once(": ").unwrap_or((head, ""));
    let part = |name: &str| {
        let from = body.split_once(name).map_or("", |(_, rest)| rest);
        from.split_once("\n**").map_or(from, |(part, _)| part).trim()
    };
    Page { code, title, cause: part("**Cause.**"), check: part("**Check.**"), fix: part("**Fix.**") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: whoever is shown a code finds its page, and no page is of a code that nobody can meet.
    #[test]
    fn every_code_has_one_whole_page_and_every_page_a_code() {
        let mut codes: Vec<&str> = codes().iter().map(|code| code.0).collect();
        let mut of_pages: Vec<&str> = pages().map(|page| page.code).collect();
        codes.sort_unstable();
        of_pages.sort_unstable();
        let absent: Vec<_> = codes.iter().filter(|code| !of_pages.contains(code)).collect();
        let idle: Vec<_> = of_pages.iter().filter(|code| !codes.contains(code)).collect();
        assert!(absent.is_empty() && idle.is_empty(), "without a page: {absent:?}; of no code: {idle:?}");
        assert_eq!(codes, of_pages, "one page has a code twice");
        for page in pages() {
            let parts = [page.title, page.cause, page.check, page.fix];
            assert!(parts.iter().all(|part| part.len() >= 8 && !part.contains("**")), "{page:?}");
        }
    }
}
