use super::*;

fn read(sim: &SimFiles, path: &str) -> Option<String> {
    sim.bytes(Path::new(path)).map(|b| String::from_utf8(b).unwrap())
}

#[test]
fn name_is_durable_only_after_its_folder_was_synced() {
    let sim = SimFiles::new();
    let (a, b) = (Path::new("/d/a"), Path::new("/d/b"));
    sim.create_dir(Path::new("/d")).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    let file = sim.create(a).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    let lost = sim.fork();
    lost.power_loss();
    sim.power_loss();
    assert_eq!(read(&sim, "/d/a"), None, "created, not synced");
    assert_eq!(read(&lost, "/d/a").as_deref(), Some("x"), "a fork has everything on disk");
    lost.rename(a, b).unwrap();
    lost.power_loss();
    assert_eq!((read(&lost, "/d/a").as_deref(), read(&lost, "/d/b")), (Some("x"), None), "renamed, not synced");
    lost.rename(a, b).unwrap();
    lost.sync_dir(Path::new("/d")).unwrap();
    lost.remove(b).unwrap();
    lost.power_loss();
    assert_eq!((read(&lost, "/d/a"), read(&lost, "/d/b").as_deref()), (None, Some("x")), "removed, not synced");
}

#[test]
fn failed_sync_forgets_what_it_did_not_write() {
    let sim = SimFiles::new();
    let file = sim.create(Path::new("/f")).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    file.write_at(b"one", 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(b"two", 0).unwrap();
    sim.fail(Call::Sync, 1, Fault::Io);
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(read(&sim, "/f").as_deref(), Some("two"));
    sim.power_loss();
    assert_eq!(read(&sim, "/f").as_deref(), Some("one"));
    assert!(file.len().is_err(), "handles die with the power");
}

#[test]
fn lying_sync_loses_what_it_promised() {
    let sim = SimFiles::new();
    sim.lying_sync(true);
    let file = sim.create(Path::new("/f")).unwrap();
    file.write_at(b"one", 0).unwrap();
    file.sync_data().unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    sim.power_loss();
    assert_eq!(read(&sim, "/f"), None);
}

#[test]
fn torn_loss_keeps_sectors_and_names_by_the_seed() {
    let sim = SimFiles::new();
    let file = sim.create(Path::new("/f")).unwrap();
    file.write_at(&[0; 8 * SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    file.write_at(&[1; 8 * SECTOR], 0).unwrap();
    sim.create(Path::new("/g")).unwrap();
    sim.power_loss_torn(3);
    let bytes = sim.bytes(Path::new("/f")).unwrap();
    let kept = bytes.chunks(SECTOR).filter(|sector| sector[0] == 1).count();
    assert!((1..8).contains(&kept), "{kept}");
    assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|b| *b == sector[0])));
}

#[test]
fn faults_come_at_the_call_that_was_named_and_the_power_goes_off_for_good() {
    let sim = SimFiles::new();
    let file = sim.create(Path::new("/f")).unwrap();
    sim.fail(Call::Write, 2, Fault::Short(1));
    sim.fail(Call::Write, 3, Fault::NoSpace);
    assert_eq!(file.write_at(b"abc", 0).unwrap(), 3);
    assert_eq!(file.write_at(b"xyz", 0).unwrap(), 1);
    assert_eq!(file.write_at(b"xyz", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(read(&sim, "/f").as_deref(), Some("xbc"));
    sim.power_off_after(1);
    file.write_at(b"q", 0).unwrap();
    assert!(file.write_at(b"r", 0).is_err());
    assert!(file.sync_data().is_err());
    assert_eq!(sim.changes(), 5);
}
