use std::{fs, path::Path, time::Duration};

use router_core::target::Scope;
use router_http::target::{SLOW, Verdict, verdict};

use super::{page, pages, quoted, root, rows};

/// Names in `names.rs`.
fn names() -> Vec<String> {
    let source = page("router/src/admin/names.rs");
    let mut names: Vec<String> =
        source.split("Name(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_metric_is_on_the_page_and_no_other() {
    let row = |row: Vec<String>| {
        let name = quoted(&row[0]).filter(|_| row.len() == 4)?.to_owned();
        Some(name.strip_suffix("_total").map(str::to_owned).unwrap_or(name))
    };
    let mut on_page: Vec<String> = rows(&page("docs/metrics.md")).into_iter().filter_map(row).collect();
    on_page.sort();
    assert_eq!(on_page, names());
}

#[test]
fn kinds_and_labels_of_the_page_are_those_of_the_exposition() {
    use router_core::{clock::Timestamp, id::BusName, id::RouteName, stats::Stats};
    let stats = std::sync::Arc::new(Stats::default());
    stats.bus(&BusName::new("default").unwrap()).refuse(schemas::Code::new("x"));
    stats.route(&RouteName::new("orders").unwrap());
    let text = gocoffee::admin::metrics::render(stats, None, std::sync::Arc::default(), Timestamp(0)).unwrap();
    let mut held = 0;
    for row in rows(&page("docs/metrics.md")).into_iter().filter(|row| row.len() == 4) {
        let (name, kind, labels) = (quoted(&row[0]).unwrap(), &row[1], &row[2]);
        let family = name.strip_suffix("_total").unwrap_or(name);
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        let Some(line) = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {family} "))) else {
            continue;
        };
        assert_eq!(line, kind, "{name}");
        let sample = text.lines().find(|line| !line.starts_with('#') && line.starts_with(&format!("{family}_")));
        let Some(sample) = sample else { continue };
        for label in labels.split(", ").filter(|label| !label.is_empty()) {
            assert!(sample.contains(&format!("{label}=\"")), "{name}: {sample}");
        }
        held += 1;
    }
    assert!(held >= 15, "{held} metrics");
}

/// A value as people write it: `1 MiB`, `1,000`, `30 s`; durations in milliseconds.
fn human(text: &str) -> Option<u128> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let number: u128 = number.replace(',', "").parse().ok()?;
    let factor = match unit {
        "" | "B" | "ms" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "s" => 1_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(number * factor)
}

/// A value as the code writes it.
fn code(text: &str) -> Option<u128> {
    let number = |text: &str| text.trim().replace('_', "").parse::<u128>().ok();
    let of_duration = |name: &str| text.strip_prefix(name)?.strip_suffix(')').and_then(number);
    if let Some(seconds) = of_duration("Duration::from_secs(") {
        return Some(seconds * 1_000);
    }
    if let Some(ms) = of_duration("Duration::from_millis(") {
        return Some(ms);
    }
    if let Some((left, right)) = text.split_once("<<") {
        return Some(number(left)? << number(right)?);
    }
    text.split('*').map(number).try_fold(1, |product, factor| Some(product * factor?))
}

/// The value of a constant, as it is written.
fn constant(source: &str, name: &str) -> Option<String> {
    let line = source.lines().find(|line| line.contains(&format!("const {name}: ")))?;
    Some(line.split_once(" = ")?.1.trim_end_matches(';').to_owned())
}

#[test]
fn every_limit_of_the_page_is_the_limit() {
    let rows = rows(&page("docs/limits.md"));
    assert!(rows.len() >= 40, "{} limits", rows.len());
    for row in &rows {
        let (value, name) = (&row[1], quoted(&row[2]).unwrap());
        let file = row[3].split("](../").nth(1).unwrap().trim_end_matches([')', ' ', '|']);
        let written = constant(&page(file), name).unwrap_or_else(|| panic!("{file} has no constant {name}"));
        assert_eq!(human(value), code(&written), "{name} in {file} is {written}");
        assert!(human(value).is_some(), "{name}: {value}");
    }
}

/// All sources of the crates that run in the router.
fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "conformance" && name != "tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Public limits with a value of their own that the page does not have to name: they are no limit of a router.
const NOT_OF_A_ROUTER: [&str; 1] = ["LAZY_COMMITS_MAX"];

#[test]
fn every_public_limit_is_on_the_page() {
    let (page, mut files, mut absent) = (page("docs/limits.md"), Vec::new(), Vec::new());
    for folder in
        ["schemas/src", "router/src", "router/core/src", "router/store/src", "router/http/src", "router/aws/src"]
    {
        sources(&root().join(folder), &mut files);
    }
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        for line in source.lines() {
            let Some((name, rest)) = line.strip_prefix("pub const ").and_then(|l| l.split_once(": ")) else { continue };
            let value = rest.split_once(" = ").and_then(|(_, value)| code(value.trim_end_matches(';')));
            let named = page.contains(&format!("`{name}`")) || NOT_OF_A_ROUTER.contains(&name);
            if name.ends_with("_MAX") && value.is_some() && !named {
                absent.push(format!("{name} in {}", file.display()));
            }
        }
    }
    assert!(absent.is_empty(), "docs/limits.md does not name {absent:#?}");
}

/// What the page says of a status.
fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Delivered => "delivered",
        Verdict::Retry { scope: Scope::Event, slow: false } => "tried again after its own delay",
        Verdict::Retry { scope: Scope::Event, slow: true } => "tried again, after a minute or more",
        Verdict::Retry { scope: Scope::Target, slow: false } => "tried again; the target's breaker opens",
        Verdict::Retry { scope: Scope::Target, slow: true } => "tried again, after a minute or more; the breaker opens",
        Verdict::Stop => "the route stops",
        Verdict::Refused => "refused for good",
    }
}

#[test]
fn statuses_of_targets_mean_what_the_page_says() {
    assert_eq!(SLOW, Duration::from_secs(60));
    let rows = rows(&page("docs/http.md"));
    let mut held = 0;
    for row in rows.iter().filter(|row| row.len() == 2) {
        let Some((first, _)) = row[0].split_once(['–', ',']).or(Some((&row[0], ""))) else { continue };
        let outbound = first.parse::<u16>().is_ok() && (row[1].starts_with(words(verdict(first.parse().unwrap()))));
        if !outbound {
            continue;
        }
        let listed = row[0].split([',', ' ']).filter_map(|word| {
            let (from, to) = word.split_once('–').unwrap_or((word, word));
            Some(from.parse::<u16>().ok()?..=to.parse::<u16>().ok()?)
        });
        for status in listed.flatten() {
            let wanted = words(verdict(status));
            assert!(row[1].starts_with(wanted), "{status}: {} is not {wanted}", row[1]);
            held += 1;
        }
    }
    assert_eq!(held, 220, "each status that the page lists, once");
    // "and other": what is listed nowhere.
    assert_eq!((words(verdict(511)), words(verdict(418))), ("tried again after its own delay", "refused for good"));
}

#[test]
fn links_lead_somewhere() {
    for name in pages() {
        let text = page(&name);
        let folder = root().join(&name).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let file = link.split('#').next().unwrap();
            if !link.contains("://") && !file.is_empty() {
                assert!(folder.join(file).exists(), "{name}: {link}");
            }
        }
    }
}
