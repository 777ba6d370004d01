//! Goal: names, packing and the catalogue of copies, against their own words; bytes that are not what they were are
//! found wherever they are.

use std::collections::BTreeMap;

use schemas::{Event, Form};

use super::*;
use crate::store::Chunk;

/// Objects in memory.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Bytes>>);

#[async_trait]
impl Objects for Kept {
    fn place(&self) -> &str {
        "memory"
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<(), Error> {
        let mut all = self.0.lock().unwrap();
        if all.contains_key(name) {
            return Err(Error::Exists { place: name.into() });
        }
        all.insert(name.into(), body);
        Ok(())
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let all = self.0.lock().unwrap();
        let body = all.get(name).ok_or(Error::NotFound { place: name.into() })?;
        let (start, end) = (range.start as usize, range.end as usize);
        let failed = Error::Failed { place: name.into(), why: "too short".into() };
        if end <= body.len() { Ok(body.slice(start..end)) } else { Err(failed) }
    }

    async fn length(&self, name: &str) -> Result<u64, Error> {
        let all = self.0.lock().unwrap();
        all.get(name).map(|body| body.len() as u64).ok_or(Error::NotFound { place: name.into() })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let all = self.0.lock().unwrap();
        let object = |(name, body): (&String, &Bytes)| Object { name: name.clone(), bytes: body.len() as u64 };
        Ok(all.iter().filter(|(name, _)| name.starts_with(prefix)).map(object).collect())
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
}

async fn loaded(kept: Arc<Kept>) -> Shelf {
    let shelf = Shelf::new(kept);
    shelf.load().await.unwrap();
    shelf
}

fn bus() -> BusName {
    BusName::new("orders-2").unwrap()
}

/// Events at every second offset, one a second, each of so many bytes that do not compress.
fn chunk(first: u64, count: u64, bytes: usize) -> Chunk {
    let (mut buffer, mut records) = (Vec::new(), Vec::new());
    for n in 0..count {
        let mut seed = first + n;
        let data: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        })
        .take(bytes)
        .collect();
        let event = Event::builder(&n.to_string(), "/till", "t").data(Form::Binary, data).build().unwrap();
        let at = buffer.len();
        buffer.extend_from_slice(event.body());
        records.push((Offset(first + 2 * n), Timestamp((first + 2 * n) * 1_000_000), at..buffer.len()));
    }
    Chunk { buffer: buffer.into(), records, next: Offset(first + 2 * count) }
}

fn packed(first: u64, count: u64, bytes: usize) -> pack::Packed {
    let range = (Offset(first), Offset(first + 2 * count));
    pack::pack(&bus(), Epoch(7), range, &[chunk(first, count, bytes)]).unwrap().unwrap()
}

#[test]
fn a_name_tells_all_and_another_name_is_none() {
    let copy = packed(11, 3, 10).copy;
    let name = copy.name(&bus());
    let object = Object { name: name.clone(), bytes: copy.bytes };
    assert_eq!(Copied::parse(&object), Some((bus(), copy)));
    for wrong in [
        name.replace("buses/", "bus/"),
        name.replace(".seg", ".tmp"),
        name.replacen("0000", "000", 1),
        name.to_uppercase(),
    ] {
        assert_eq!(Copied::parse(&Object { name: wrong, bytes: 1 }), None);
    }
}

#[tokio::test]
async fn what_is_packed_is_read_back_from_anywhere_in_it() {
    let shelf = loaded(Arc::new(Kept::default())).await;
    // Four blocks, so that blocks are skipped and fetched together.
    for first in [1, 2_001] {
        shelf.put(&bus(), packed(first, 1_000, 1_000)).await.unwrap();
    }
    let mut from = Offset(1);
    let mut seen = Vec::new();
    while from < Offset(4_001) {
        let chunk = shelf.read(&bus(), from, Offset(4_001)).await.unwrap();
        assert!(chunk.next > from);
        seen.extend(chunk.records().map(|r| r.unwrap()).map(|r| (r.offset, r.appended)));
        from = chunk.next;
    }
    let expected: Vec<_> = (0..2_000).map(|n| (Offset(1 + 2 * n), Timestamp((1 + 2 * n) * 1_000_000))).collect();
    assert_eq!(seen, expected);
    for offset in [1, 999, 1_999, 2_001, 3_999] {
        let record = shelf.record(&bus(), Offset(offset)).await.unwrap().unwrap();
        assert_eq!(record.offset, Offset(offset));
        assert_eq!(shelf.record(&bus(), Offset(offset + 1)).await.unwrap(), None, "a gap");
        assert_eq!(shelf.seek(&bus(), record.appended).await.unwrap(), Some(Offset(offset)));
    }
    assert_eq!(shelf.seek(&bus(), Timestamp(u64::MAX)).await.unwrap(), None);
    assert_eq!(shelf.verify(&bus()).await.unwrap().events, 2_000);
}

#[tokio::test]
async fn every_byte_that_is_not_what_it_was_is_found() {
    let packed = packed(1, 40, 300);
    let name = packed.copy.name(&bus());
    for at in (0..packed.body.len()).step_by(7).chain(packed.body.len() - 16..packed.body.len()) {
        let kept = Arc::new(Kept::default());
        let mut body = packed.body.to_vec();
        body[at] ^= 0x20;
        kept.create(&name, body.into()).await.unwrap();
        let shelf = Shelf::new(kept);
        shelf.load().await.unwrap();
        let verified = shelf.verify(&bus()).await.unwrap();
        assert_eq!((verified.copies, verified.damages.len()), (0, 1), "byte {at}");
        // Bytes of the inside and of the index are found by who reads, too.
        match shelf.read(&bus(), Offset(1), Offset(81)).await {
            Ok(chunk) => assert!(at < 16 && chunk.records.len() == 40, "byte {at}"),
            Err(store::Error::Lost { from, to, .. }) => assert_eq!((from, to), (Offset(1), Offset(81))),
            Err(e) => panic!("byte {at}: {e}"),
        }
    }
}

#[test]
fn a_block_takes_no_more_memory_than_its_bytes_can_be_inflated_to() {
    let bytes = [0x03, 0x00]; // Deflate's shortest: nothing.
    let block = |inside: u32| pack::Block {
        at: 12,
        bytes: 2,
        inside,
        crc: crc32c::crc32c(&bytes),
        first: 0,
        last: 0,
        oldest: 0,
        newest: 0,
        count: 1,
    };
    assert_eq!(pack::inside(&block(0), &bytes), Ok(vec![]));
    assert_eq!(pack::inside(&block(1), &bytes), Err("a block has another length than its index says"));
    let forged = pack::inside(&block(u32::MAX), &bytes);
    assert_eq!(forged, Err("a block says that it is longer than its bytes can be inflated to"));
}

#[tokio::test]
async fn what_is_covered_ends_at_the_first_gap() {
    let shelf = loaded(Arc::new(Kept::default())).await;
    assert_eq!(shelf.covered(&bus(), Offset(5)), Offset(5));
    for first in [11, 21, 41] {
        shelf.put(&bus(), packed(first, 5, 10)).await.unwrap();
    }
    for (first, end) in [(1, 1), (11, 31), (15, 31), (21, 31), (31, 31), (41, 51), (60, 60)] {
        assert_eq!(shelf.covered(&bus(), Offset(first)), Offset(end), "from {first}");
    }
    for (from, next) in [(1, Some(11)), (12, Some(12)), (31, Some(41)), (51, None)] {
        assert_eq!(shelf.next_copied(&bus(), Offset(from)), next.map(Offset), "from {from}");
    }
    assert_eq!(shelf.verify(&bus()).await.unwrap().gaps, [(Offset(31), Offset(41))]);
    assert_eq!(shelf.bounds(&bus()), Some((Offset(11), Offset(51))));
}

#[tokio::test]
async fn a_place_belongs_to_who_claimed_it_first() {
    let kept = Arc::new(Kept::default());
    let shelf = Shelf::new(kept.clone());
    let (ours, theirs) = (store_id(&[1; 16]), store_id(&[2; 16]));
    assert_ne!(ours, theirs);
    shelf.claim(&ours).await.unwrap();
    shelf.claim(&ours).await.unwrap();
    let refused = shelf.claim(&theirs).await.unwrap_err();
    assert!(matches!(refused, ClaimError::Foreign { .. }));
    assert!(refused.to_string().contains(&ours) && refused.to_string().contains("archive.to"), "{refused}");
    kept.0.lock().unwrap().insert(MARKER.into(), Bytes::from_static(b"{\"format\":9,\"store\":\"x\"}"));
    assert!(shelf.claim(&ours).await.unwrap_err().to_string().contains("format 9"));
}

#[tokio::test]
async fn a_copy_that_is_there_is_taken_if_it_is_whole_and_refused_by_name_if_not() {
    let kept = Arc::new(Kept::default());
    let packed = packed(1, 5, 10);
    let name = packed.copy.name(&bus());
    kept.create(&name, packed.body.clone()).await.unwrap();
    let shelf = Shelf::new(kept.clone());
    shelf.put(&bus(), packed.clone()).await.unwrap();
    assert_eq!(shelf.covered(&bus(), Offset(1)), Offset(11));
    kept.0.lock().unwrap().insert(name.clone(), packed.body.slice(..packed.body.len() - 1));
    let shelf = Shelf::new(kept);
    let refused = shelf.put(&bus(), packed).await.unwrap_err();
    assert!(refused.to_string().contains(&name), "{refused}");
    assert_eq!(shelf.covered(&bus(), Offset(1)), Offset(1), "what is damaged is no copy");
}
