//! Looking at the side files of a log: each against its own checksums, and against its segment.

use std::path::Path;

use router_core::store::Error;

use super::{
    super::{
        files::Files,
        recover::segment_path,
        segment::{Head, unusable},
        side::Side,
    },
    Damage, names, survey,
};

/// What is wrong with the side files of a log, and how many there are. What is wrong here loses nothing: a side
/// file is made again out of its segment.
///
/// # Errors
/// [`Error::Damaged`] for a file that the system does not let us read.
pub fn inspect_sides(files: &dyn Files, dir: &Path) -> Result<(u64, Vec<Damage>), Error> {
    let (mut count, mut damages) = (0, Vec::new());
    for base in names(files, dir, ".idx")? {
        count += 1;
        let segment = segment_path(dir, base);
        let path = segment.with_extension("idx");
        let length = files.open(&path).and_then(|f| f.len()).map_err(|e| unusable(&path, "open the side file", &e))?;
        let mut damage = |bytes, what: &str| {
            damages.push(Damage { path: path.clone(), bytes, offsets: None, what: what.into() });
        };
        let Some(side) = Side::read(files, &path) else {
            damage(0..length, "the head of the side file is damaged");
            continue;
        };
        let bad = side.damages();
        if let Some((bytes, what)) = bad.into_iter().next() {
            damage(bytes, what);
            continue;
        }
        // A segment whose own head is damaged is named by the look at the segments.
        let Ok(file) = files.open(&segment) else {
            damage(0..length, "its segment is missing");
            continue;
        };
        let Ok(head) = Head::read(&*file, &segment) else { continue };
        let end = side.summary.end;
        if (side.summary.base, side.summary.seed) != (head.base, head.seed) {
            damage(0..length, "it belongs to another segment");
            continue;
        }
        let (found, gaps) = survey(&*file, &head, end, end, &mut |_, _| Ok(()))
            .map_err(|e| unusable(&segment, "read the segment", &e))?;
        let keys = side.keys(router_core::clock::Timestamp(0), usize::MAX);
        if gaps.is_empty() && (side.index().as_ref(), keys.as_ref()) != (Some(&found.index), Some(&found.keys)) {
            damage(0..length, "it does not say what its segment holds");
        }
    }
    Ok((count, damages))
}
