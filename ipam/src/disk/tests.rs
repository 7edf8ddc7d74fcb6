//! Folders, modes, and what lies in them that is not ours.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::fixture::{Fixture, NETWORK, NODE};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn everything_is_readable_by_the_owner_alone() {
    let fixture = Fixture::new(&["10.1.0.0/29", "fd00:0:0::/64"]);
    fixture.add("c1", &[]).unwrap();
    let folder = fixture.folder();
    for path in [&folder, &folder.join("leases"), &folder.join("addresses")] {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    assert_eq!(mode(folder.parent().unwrap()), 0o700);
    let files = [
        folder.join("lock"),
        fixture.lease_path("c1"),
        fixture.address_path("10.1.0.1"),
        fixture.address_path("fd00::1"),
    ];
    for path in &files {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_folder_that_is_no_folder_of_ours_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    for level in [NETWORK, "pods/node-a", "pods/node-a/leases", "pods/node-a/addresses"] {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(level);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(outside.path(), &path).unwrap();
        for error in [
            Disk::create(state.path(), NETWORK, NODE).unwrap_err(),
            Disk::existing(state.path(), NETWORK, NODE).unwrap_err(),
        ] {
            let text = format!(
                "will not keep leases in {}: it is a symbolic link; remove it, or set another \
                 stateDir or dataDir",
                path.display()
            );
            assert_eq!((error.code(), error.to_string()), (5, text));
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        let error = Disk::create(state.path(), NETWORK, NODE).unwrap_err();
        assert!(error.to_string().contains("it is not a folder"), "{error}");
    }
    assert_eq!(names(outside.path()).unwrap(), Vec::<String>::new());
}

#[test]
fn what_does_not_exist_is_not_made_by_looking() {
    let state = tempfile::tempdir().unwrap();
    assert!(Disk::existing(&state.path().join("none"), NETWORK, NODE).unwrap().is_none());
    assert!(Disk::existing(state.path(), NETWORK, NODE).unwrap().is_none());
    assert_eq!(names(state.path()).unwrap(), Vec::<String>::new());
}

#[test]
fn a_folder_that_was_not_finished_is_completed() {
    let state = tempfile::tempdir().unwrap();
    fs::create_dir_all(state.path().join("pods/node-a")).unwrap();
    let disk = Disk::existing(state.path(), NETWORK, NODE).unwrap().unwrap();
    assert_eq!(disk.lock().unwrap().held().unwrap(), Vec::<IpAddr>::new());
}

#[test]
fn the_cursor_is_replaced_as_a_whole_and_damage_counts_as_none() {
    let fixture = Fixture::after_a_reboot(&["10.1.0.0/29"]);
    let disk = Disk::existing(fixture.state.path(), NETWORK, NODE).unwrap().unwrap();
    let read = |text: &str| serde_json::from_str::<Cursor>(text).unwrap();
    let long = read(r#"{"4":"255.255.255.255","6":"fd00:1111:2222:3333:4444:5555:6666:7777"}"#);
    let short = read(r#"{"4":"10.0.0.1"}"#);
    let mut locked = disk.lock().unwrap();
    assert_eq!(locked.cursor(), Cursor::default());
    for cursor in [long, short, long, Cursor::default()] {
        locked.set_cursor(&cursor).unwrap();
        assert_eq!(locked.cursor(), cursor);
        assert_eq!(fs::read(fixture.folder().join("lock")).unwrap().len(), CURSOR_ROOM);
    }
    let endless = vec![b'7'; 1 << 20];
    let damaged: [&[u8]; 11] = [
        b"",
        b"\0\0\0",
        b"\xff\xfe{\"4\":\"10.0.0.1\"}",
        b"{\"4\":\"10.0.0.1",
        b"[]",
        b"-1",
        b"99999999999999999999999999",
        b"{\"4\":7}",
        b"{\"4\":\"999.0.0.1\"}",
        b"{\"4\":\"fd00::1\"}",
        &endless,
    ];
    for damage in damaged {
        let shown = &damage[..damage.len().min(30)];
        fs::write(fixture.folder().join("lock"), damage).unwrap();
        assert_eq!(locked.cursor(), Cursor::default(), "{shown:?}");
        locked.set_cursor(&short).unwrap();
        assert_eq!(locked.cursor(), short, "{shown:?}");
    }
}

#[test]
fn an_unfinished_lease_of_a_killed_add_hinders_no_other() {
    for content in ["", "{\"containerID\":\"c1\",\"ifn"] {
        let fixture = Fixture::new(&["10.1.0.0/29"]);
        let unfinished = fixture.lease_path("c1").with_extension("new");
        fs::write(&unfinished, content).unwrap();
        assert_eq!(fixture.leases.list().unwrap().leases, []);
        fixture.add("c1", &[]).unwrap();
        assert!(!unfinished.exists());
        fs::write(&unfinished, content).unwrap();
        let reclaimed = fixture.leases.reclaim(&mut |_| true).unwrap();
        assert!(reclaimed.removed.is_empty() && reclaimed.errors.is_empty(), "{reclaimed:?}");
        assert!(!unfinished.exists());
        assert_eq!(fixture.audit().len(), 1);
    }
}

#[test]
fn a_folder_where_nothing_can_be_written_says_so() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    fs::remove_dir(fixture.folder().join("leases")).unwrap();
    let error = fixture.begin("c1", &[]).unwrap_err();
    let path = fixture.lease_path("c1").with_extension("new");
    let text =
        format!("cannot write the lease {}: it vanished in between: try again", path.display());
    assert_eq!((error.code(), error.to_string()), (5, text));
}
