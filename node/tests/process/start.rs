//! What keeps the binary from starting: each is said with what to do, nothing is touched, and once it is put right all is there.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::graph::{create_node, find_nodes};
use crate::member::{Member, Ports};
use crate::wait::run;

/// The only segment of a small log.
const LOG: &str = "log/000000000001.segment";

/// Starts a process that must refuse to run; what it says.
async fn refusal(ports: Ports, data_dir: &Path) -> String {
    let mut member = Member::start(ports, data_dir, "");
    let (status, said) = member.ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_chooses_another() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        type OfPorts = fn(&Ports) -> SocketAddr;
        let cases: [(OfPorts, &str, &str); 3] = [
            (|ports: &Ports| ports.peer, "for members", "--peer-listen"),
            (|ports: &Ports| ports.client, "for clients", "--client-listen"),
            (|ports: &Ports| ports.http, "for probes and metrics", "--http-listen"),
        ];
        for (taken, purpose, flag) in cases {
            let ports = Ports::free();
            let _holder = TcpListener::bind(taken(&ports)).unwrap();
            let said = refusal(ports, &directory.path().join("data")).await;
            let address = taken(&ports).to_string();
            for words in [address.as_str(), purpose, "in use", flag] {
                assert!(said.contains(words), "no {words:?} in {said}");
            }
        }
        assert!(
            !directory.path().join("data").exists(),
            "nothing is created where nothing can be served"
        );
    });
}

#[test]
fn a_data_directory_of_another_process_is_refused_and_that_one_goes_on() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let first = Member::founded(directory.path(), "").await;
        first.client().execute_operation(create_node("Kept", [])).await.unwrap();
        let said = refusal(Ports::free(), directory.path()).await;
        assert!(said.contains("is in use by another process; stop that one"), "{said}");
        assert_eq!(first.client().count(find_nodes("Kept", [])).await.unwrap(), 1);
    });
}

/// All files of a data directory but those that every start touches.
fn content(data_dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![data_dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true => open.push(path),
                false if name == "lock" || name == "ballast" => {}
                false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
            }
        }
    }
    found
}

fn restore(data_dir: &Path, content: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in self::content(data_dir)
        .keys()
        .filter(|path| !content.contains_key(*path))
    {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in content {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn cut(path: &Path) {
    let whole = fs::read(path).unwrap();
    fs::write(path, &whole[..whole.len() / 2]).unwrap();
}

/// As a later version might have left it.
fn set_log_format(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[8] = 99;
    fs::write(path, bytes).unwrap();
}

/// Of the last bytes that were written.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The directory of the meta group's replica.
fn meta(data_dir: &Path) -> PathBuf {
    let replicas = fs::read_dir(data_dir.join("replicas")).unwrap();
    let mut paths = replicas.map(|entry| entry.unwrap().path());
    paths
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("0-"))
        .unwrap()
}

fn state_file(replica: &Path) -> PathBuf {
    let mut files = fs::read_dir(replica).unwrap().map(|entry| entry.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|extension| extension == "redb"))
        .unwrap()
}

type Damage = (&'static str, Box<dyn Fn(&Path)>, &'static [&'static str]);

fn damages(other: PathBuf) -> Vec<Damage> {
    let copied = other.clone();
    vec![
        (
            "the identity is cut",
            Box::new(|dir| cut(&dir.join("identity.json"))),
            &["identity.json is damaged", "not opened as an empty one"],
        ),
        (
            "the identity is missing",
            Box::new(|dir| fs::remove_file(dir.join("identity.json")).unwrap()),
            &["holds stores but no identity record", "restore the record"],
        ),
        (
            "the identity has a later format",
            Box::new(|dir| {
                let path = dir.join("identity.json");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(&path, text.replace("\"format\": 1", "\"format\": 99")).unwrap();
            }),
            &["has format 99", "start a newer build"],
        ),
        (
            "the log is missing",
            Box::new(|dir| fs::remove_file(dir.join(LOG)).unwrap()),
            &["it is missing", "join as a new member"],
        ),
        (
            "the log is empty",
            Box::new(|dir| fs::write(dir.join(LOG), []).unwrap()),
            &[LOG, "damaged"],
        ),
        ("the log is cut", Box::new(|dir| cut(&dir.join(LOG))), &[LOG, "damaged"]),
        (
            "a byte of the log is flipped",
            Box::new(|dir| flip(&dir.join(LOG))),
            &[LOG, "damaged"],
        ),
        (
            "the log has a later format",
            Box::new(|dir| set_log_format(&dir.join(LOG))),
            &["has format 99", "start the version that wrote it"],
        ),
        (
            "the log is that of another cluster",
            Box::new(move |dir| {
                fs::copy(other.join(LOG), dir.join(LOG)).unwrap();
            }),
            &[
                "belongs to member 1 of cluster other, not to member 1 of cluster test",
                "was a file copied?",
            ],
        ),
        (
            "the state of the meta group is cut",
            Box::new(|dir| cut(&state_file(&meta(dir)))),
            &["the state file", "damaged"],
        ),
        (
            "the state of the meta group is another replica's",
            Box::new(move |dir| {
                let of_partition = fs::read_dir(copied.join("replicas"))
                    .unwrap()
                    .map(|entry| entry.unwrap().path());
                let another = of_partition
                    .into_iter()
                    .find(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("0-"))
                    .unwrap();
                fs::copy(state_file(&another), state_file(&meta(dir))).unwrap();
            }),
            &["belongs to", "was a directory copied?"],
        ),
        (
            "what names the current state is noise",
            Box::new(|dir| fs::write(meta(dir).join("CURRENT"), "noise").unwrap()),
            &["CURRENT"],
        ),
    ]
}

#[test]
fn the_data_directory_of_another_cluster_than_the_peers_is_refused_and_with_the_right_peers_is_served() {
    run(async {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let member = Member::founded_as("first", first.path()).await;
        let exchanged = Member::founded_as("second", second.path()).await;
        let ports = exchanged.ports;
        exchanged.stop().await;

        let mut exchanged = Member::start_with_peers(ports, second.path(), &[ports.peer, member.ports.peer]);
        let (status, said) = exchanged.ended().await;
        assert_eq!(status.code(), Some(1), "{said}");
        let peer = member.ports.peer.to_string();
        for words in [
            "member of cluster second",
            peer.as_str(),
            "member of cluster first",
            "was the directory exchanged?",
        ] {
            assert!(said.contains(words), "no {words:?} in {said}");
        }
        member.ready().await;

        // Peers that do not answer prove nothing.
        member.stop().await;
        let alone = Member::start_with_peers(ports, second.path(), &[ports.peer]);
        alone.ready().await;
        alone.stop().await;
    });
}

#[test]
fn a_damaged_data_directory_is_refused_untouched_and_never_opened_as_an_empty_one() {
    run(async {
        let (directory, foreign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data_dir = directory.path().join("data");
        let other = Member::founded_as("other", foreign.path()).await;
        other.stop().await;
        let member = Member::founded(&data_dir, "").await;
        member
            .client()
            .execute_operation(create_node("Kept", []))
            .await
            .unwrap();
        let ports = member.ports;
        member.stop().await;
        let whole = content(&data_dir);
        for (name, damage, expected) in damages(foreign.path().to_owned()) {
            damage(&data_dir);
            let damaged = content(&data_dir);
            let said = refusal(ports, &data_dir).await;
            for words in expected {
                assert!(said.contains(words), "{name}: no {words:?} in {said}");
            }
            // A file that is whole is opened before it can be refused for what is in it, and redb notes in it that it is open.
            let is_whole = name.contains("later format") || name.contains("another");
            let changed: Vec<_> = content(&data_dir)
                .into_iter()
                .filter(|(path, bytes)| damaged.get(path) != Some(bytes))
                .map(|(path, _)| path)
                .filter(|path| !is_whole || path.extension().is_none_or(|extension| extension != "redb"))
                .collect();
            assert!(changed.is_empty(), "{name}: {changed:?} are not as they were found");
            restore(&data_dir, &whole);
        }
        let member = Member::start(ports, &data_dir, "");
        member.ready().await;
        assert_eq!(member.client().count(find_nodes("Kept", [])).await.unwrap(), 1);
        member.stop().await;
    });
}

/// One partition of many: the member says which, and does not call itself ready; the file stays for whoever looks at it.
#[test]
fn a_damaged_state_of_one_partition_is_told_and_keeps_the_member_from_being_ready() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let member = Member::founded(directory.path(), "").await;
        let ports = member.ports;
        member.stop().await;
        let replicas = fs::read_dir(directory.path().join("replicas")).unwrap();
        let partition = replicas
            .map(|entry| entry.unwrap().path())
            .find(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("0-"))
            .unwrap();
        let file = state_file(&partition);
        let whole = fs::read(&file).unwrap();
        cut(&file);
        let cut_bytes = fs::read(&file).unwrap();
        let member = Member::start(ports, directory.path(), "");
        crate::wait::until("a word on the damage", || async {
            let (log, ready) = (member.log(), member.probe("/readyz").await);
            let told = log.contains("damaged") && log.contains(file.to_str().unwrap());
            match told && ready.contains("503") && ready.contains("1 local replicas") {
                true => Ok(()),
                false => Err(format!("{ready} {log}")),
            }
        })
        .await;
        assert_eq!(fs::read(&file).unwrap(), cut_bytes, "the damaged file is left as it is");
        member.stop().await;
        fs::write(&file, &whole).unwrap();
        let member = Member::start(ports, directory.path(), "");
        member.ready().await;
    });
}
