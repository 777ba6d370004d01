//! The catalogue of schemas as the configuration names it: a folder on disk beside what is built in. Read once, at the
//! start; nothing is fetched, then or later.

use std::{fs, io, path::Path};

use router_core::admit::Judge;
use schemas::{
    Event, Invalid,
    catalogue::{Catalogue, Document, Error},
};

/// Schemas in the folder.
pub const FILES_MAX: usize = 1_000;
/// Bytes of one of them.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// How the name of a file with a schema ends; what stands before it is the type of event.
const ENDING: &str = ".schema.json";

/// Reads and compiles the catalogue. A file goes before what is built in for the same type.
///
/// # Errors
/// Everything that is wrong with it, each with its file and place.
pub fn load(folder: Option<&Path>, built_in: bool) -> Result<Catalogue, Vec<Error>> {
    let mut documents = if built_in { Document::built_in() } else { Vec::new() };
    if let Some(folder) = folder {
        documents.extend(files(folder)?);
    }
    Catalogue::new(documents)
}

fn wrong(path: &Path, message: impl Into<Box<str>>) -> Error {
    Error { origin: path.display().to_string().into(), pointer: "".into(), message: message.into() }
}

/// The schemas of a folder, in the order of their names.
fn files(folder: &Path) -> Result<Vec<Document>, Vec<Error>> {
    let unreadable = |e: io::Error| vec![wrong(folder, format!("the folder of schemas cannot be read: {e}"))];
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING)) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(vec![wrong(folder, format!("no file of the folder is called TYPE{ENDING}"))]);
    }
    if paths.len() > FILES_MAX {
        return Err(vec![wrong(folder, format!("{} schemas; at most {FILES_MAX} are read", paths.len()))]);
    }
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match document(&path) {
            Ok(document) => documents.push(document),
            Err(message) => errors.push(wrong(&path, message)),
        }
    }
    if errors.is_empty() { Ok(documents) } else { Err(errors) }
}

fn document(path: &Path) -> Result<Document, String> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("the name of the file is not UTF-8")?;
    let kind = name.strip_suffix(ENDING).filter(|kind| !kind.is_empty()).ok_or("the name of the file names no type")?;
    let bytes = fs::metadata(path).map_err(|e| format!("it cannot be read: {e}"))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("{bytes} bytes; at most {FILE_BYTES_MAX} are read"));
    }
    let text = fs::read_to_string(path).map_err(|e| format!("it cannot be read: {e}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).into();
    Ok(Document { origin: path.display().to_string().into(), kind: kind.into(), text })
}

/// The catalogue as the intake asks it.
pub struct Known(pub Catalogue);

impl Judge for Known {
    fn judge(&self, event: &Event) -> Vec<Invalid> {
        self.0.judge(event).into_iter().map(|found| Invalid::new(found.code, found.place, found.message)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(folder: &Path) -> Vec<String> {
        load(Some(folder), true).map(drop).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_folder_goes_before_what_is_built_in() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert!(said(dir.path())[0].contains("no file of the folder is called TYPE.schema.json"));
        file("inventory.low.schema.json", "\u{feff}{\"$id\": \"urn:mine\", \"title\": \"Mine\"}");
        file("shop.opened.schema.json", "true");
        file("README.md", "no schema");
        let catalogue = load(Some(dir.path()), true).unwrap();
        assert_eq!(catalogue.find("inventory.low").unwrap().title.as_deref(), Some("Mine"));
        assert!(catalogue.find("shop.opened").unwrap().document.origin.ends_with("shop.opened.schema.json"));
        assert_eq!(&*catalogue.find("alert.trigger").unwrap().document.origin, "built in");
        assert_eq!(load(Some(dir.path()), false).unwrap().entries().count(), 2);
    }

    #[test]
    fn everything_that_is_wrong_with_a_folder_is_told_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(said(&dir.path().join("none"))[0].contains("the folder of schemas cannot be read"));
        for (name, text) in [("a.schema.json", "{"), ("b.schema.json", "{\"$ref\": \"urn:c\"}"), (".schema.json", "{}")]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        assert!(said(dir.path())[0].ends_with("/.schema.json: the name of the file names no type"));
        fs::remove_file(dir.path().join(".schema.json")).unwrap();
        assert!(said(dir.path())[0].contains("a.schema.json: this is not JSON"));
        fs::write(dir.path().join("a.schema.json"), "{}").unwrap();
        assert!(said(dir.path())[0].contains("b.schema.json: /$ref: urn:c is not in the catalogue"));
        let long = fs::File::create(dir.path().join("a.schema.json")).unwrap();
        long.set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(said(dir.path())[0].contains("at most 1048576 are read"));
    }
}
