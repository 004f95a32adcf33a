//! A cluster and what is observed of it, as text: one line per thing, `key=value` where something differs from the usual.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kotoba_operator::crd::{
    Bootstrap, BootstrapState, Config, Health, KotobaClusterStatus, MemberState, MemberSummary, PullPolicy, Reclaim,
    ReclaimPolicy, Replacement, ReplacementMode, Topology, Update, WhenUnsatisfiable,
};
use kotoba_operator::names::ClusterName;
use kotoba_operator::observe::{
    Catalogue, Claim, Database, Host, HostState, Identity, Member, Membership, NotedDisk, Observed, Pod, Process,
    Rebalance, RemovedMember, ResizeState, Slot, StatefulSet,
};
use kotoba_operator::recipe::{Compute, Recipe};
use kotoba_operator::validate::ValidatedCluster;

/// Uid of the resource, and so the id of its database.
pub const UID: &str = "uid-g";

pub struct Scene {
    pub cluster: ValidatedCluster,
    pub observed: Observed,
}

/// Words of a line after the first: bare ones, and `key=value` pairs.
struct Words<'a> {
    bare: Vec<&'a str>,
    pairs: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        let (pairs, bare): (Vec<&str>, Vec<&str>) = text.split_whitespace().partition(|word| word.contains('='));
        let pairs = pairs.into_iter().map(|word| word.split_once('=').unwrap()).collect();
        Words { bare, pairs }
    }

    fn has(&self, word: &str) -> bool {
        self.bare.contains(&word)
    }

    fn text(&self, key: &str, usual: &str) -> String {
        self.pairs.get(key).copied().unwrap_or(usual).to_owned()
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str, usual: T) -> T {
        self.pairs.get(key).map_or(usual, |value| value.parse().unwrap())
    }
}

pub fn cluster(replicas: u32) -> ValidatedCluster {
    ValidatedCluster {
        name: ClusterName {
            namespace: "graphs".into(),
            name: "g".into(),
        },
        uid: UID.into(),
        created: None,
        generation: 2,
        owner: OwnerReference {
            api_version: "kotoba.dev/v1alpha1".into(),
            kind: "KotobaCluster".into(),
            name: "g".into(),
            uid: UID.into(),
            controller: Some(true),
            block_owner_deletion: None,
        },
        image: "kotoba:1".into(),
        image_is_named: true,
        default_image: Some("kotoba:1".into()),
        image_pull_policy: PullPolicy::IfNotPresent,
        replicas,
        replication_factor: 0,
        partition_count: 0,
        storage_size: "10Gi".into(),
        storage_class: None,
        compute: Compute::default(),
        config: Config::default(),
        topology: Topology::default(),
        restart: None,
        reclaim: Reclaim::default(),
        update: Update::default(),
        replacement: Replacement::default(),
        replace: BTreeSet::new(),
        suspend: false,
        paused: false,
    }
}

/// Reads a scene; panics with the line that is not understood.
pub fn read(text: &str) -> Scene {
    let mut scene = Scene {
        cluster: cluster(3),
        observed: Observed {
            now: now(),
            ..Observed::default()
        },
    };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words = Words::of(rest);
        match what {
            "spec" => spec(&mut scene.cluster, &words),
            "latched" => scene.observed.recorded.cluster_id = Some(UID.into()),
            "bootstrap" => bootstrap(&mut scene.observed.recorded, &words),
            "leaving" => scene.observed.recorded.leaving.push(words.bare[0].parse().unwrap()),
            "removed" => removed(&mut scene.observed.database, &words),
            "remembered" => remembered(&mut scene.observed.recorded, &words),
            "statefulset" => scene.observed.stateful_set = Some(stateful_set(&words)),
            "slot" => slot(&mut scene.observed, &words),
            "kubernetes" => scene.observed.resizes_pods = words.has("resizes-pods"),
            "taken" => scene.observed.taken_names.push(rest.to_owned()),
            "database" => scene.observed.database = database(&words, rest),
            "member" => member(&mut scene.observed.database, &words),
            _ => panic!("not understood: {line}"),
        }
    }
    scene
}

fn spec(cluster: &mut ValidatedCluster, words: &Words<'_>) {
    cluster.replicas = words.number("replicas", 3);
    cluster.replication_factor = words.number("rf", 0);
    cluster.storage_size = words.text("size", "10Gi");
    if words.has("reclaims") {
        cluster.reclaim.on_scale_in = ReclaimPolicy::Delete;
    }
    cluster.paused = words.has("paused");
    cluster.suspend = words.has("suspended");
    cluster.update.paused = words.has("update-paused");
    cluster.image_is_named = !words.has("no-image");
    if words.has("automatic") {
        cluster.replacement.mode = ReplacementMode::Automatic;
    }
    cluster
        .replace
        .extend(words.pairs.get("replace").map(|id| id.parse::<u64>().unwrap()));
    if words.has("zones-are-a-rule") {
        cluster.topology.when_unsatisfiable = WhenUnsatisfiable::DoNotSchedule;
    }
}

fn bootstrap(recorded: &mut KotobaClusterStatus, words: &Words<'_>) {
    recorded.bootstrap = Some(Bootstrap {
        state: BootstrapState::Started,
        seed_pod_uid: words.text("seed", "pod-0"),
        cluster_id: words.text("cluster", UID),
    });
}

/// A member that the last status knew.
fn remembered(recorded: &mut KotobaClusterStatus, words: &Words<'_>) {
    let slot: u32 = words.bare[0].parse().unwrap();
    recorded.members.push(MemberSummary {
        slot: format!("g-{slot}"),
        member_id: Some(i64::from(slot) + 1),
        pod_uid: Some(format!("pod-{slot}")),
        disk_id: Some(format!("disk-{slot}")),
        zone: None,
        state: if words.has("lost") {
            MemberState::Lost
        } else {
            MemberState::Active
        },
        health: Health::Alive,
        resize_refused: words.has("resize-refused").then(|| "no".to_owned()),
        since: Some(Time(now() - SignedDuration::from_secs(words.number("for", 0)))),
        replicas: 0,
        leaders: 0,
    });
}

fn stateful_set(words: &Words<'_>) -> StatefulSet {
    StatefulSet {
        uid: "set-1".into(),
        image: Some(words.text("image", "kotoba:1")),
        replicas: words.number("replicas", 3),
        claim_size: Some(words.text("size", "10Gi")),
        seen: !words.has("unseen"),
        recipe: Some(recipe(words, "cpu")),
    }
}

fn slot(observed: &mut Observed, words: &Words<'_>) {
    let number: u32 = words.bare[0].parse().unwrap();
    let process = process(number, words);
    let running = !matches!(process, Process::NoPod);
    let pod = Pod {
        uid: words.text("pod", &format!("pod-{number}")),
        ip: Some(format!("10.0.0.{number}")),
        ready: (process.identity().is_some_and(|identity| identity.ready) || words.has("kubelet-ready"))
            && !words.has("unready"),
        deleting: words.has("stopping"),
        recipe: (!words.has("no-recipe")).then(|| recipe(words, "made-cpu")),
        compute: compute(&words.text("cpu", &words.text("made-cpu", "1"))),
        resized: words.has("resized"),
        resize: resize(words),
        created: Some(now() - SignedDuration::from_secs(words.number("age", 3600))),
        zone: (!words.has("unplaced")).then(|| words.text("zone", ["a", "b", "c"][number as usize % 3])),
        running: !words.has("not-running"),
        ready_since: Some(now() - SignedDuration::from_secs(words.number("ready-for", 3600))),
        host: host(words),
        trouble: words
            .has("not-running")
            .then(|| "ImagePullBackOff: no such image".into()),
    };
    let claim = Claim {
        uid: format!("claim-{number}"),
        version: "7".into(),
        bound: !words.has("unbound"),
        deleting: words.has("claim-deleting"),
        size: words.text("size", "10Gi"),
        capacity: Some(words.text("capacity", &words.text("size", "10Gi"))),
        resizing: words.pairs.get("resizing").map(|told| told.replace('_', " ")),
        lost_host: words.pairs.get("lost-host").map(|host| (*host).to_owned()),
        disk: noted(&process, words),
        began_empty: words.has("began-empty"),
    };
    let slot = Slot {
        pod: running.then_some(pod),
        claim: (!words.has("no-claim")).then_some(claim),
        process,
    };
    observed.slots.insert(number, slot);
}

/// A recipe that stands for the spec as it was once: another restart was asked for with each revision.
fn recipe(words: &Words<'_>, cpu: &str) -> Recipe {
    Recipe {
        restart: Some(words.text("revision", "r1")),
        compute: compute(&words.text(cpu, "1")),
        ..Recipe::default()
    }
}

fn compute(cpu: &str) -> Compute {
    Compute {
        requests: [("cpu".to_owned(), cpu.to_owned())].into(),
        limits: BTreeMap::new(),
    }
}

fn resize(words: &Words<'_>) -> Option<ResizeState> {
    match words.pairs.get("resize").copied() {
        Some("deferred") => Some(ResizeState::Pending("Deferred not enough cpu".into())),
        Some("infeasible") => Some(ResizeState::Infeasible("Infeasible more cpu than the node has".into())),
        Some(other) => panic!("no state of a resize: {other}"),
        None => None,
    }
}

/// When every scene is looked at.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn host(words: &Words<'_>) -> Option<Host> {
    let state = match words.pairs.get("host").copied() {
        Some("gone") => HostState::Gone,
        Some("not-ready") => HostState::NotReady,
        Some("unreachable") => HostState::Unreachable,
        Some("out-of-service") => HostState::OutOfService,
        Some("none") => return None,
        Some(other) => panic!("no state of a node: {other}"),
        None => HostState::Ready,
    };
    Some(Host {
        name: "node-1".into(),
        zone: "a".into(),
        state,
    })
}

/// What is noted on the claim: what the process says, unless the line says otherwise (`noted=disk-4/5`, `noted=disk-4`).
fn noted(process: &Process, words: &Words<'_>) -> Option<NotedDisk> {
    if let Some(noted) = words.pairs.get("noted") {
        let (disk, member) = noted
            .split_once('/')
            .map_or((*noted, None), |(disk, member)| (disk, Some(member)));
        return Some(NotedDisk {
            disk_id: disk.into(),
            member_id: member.map(|member| member.parse().unwrap()),
        });
    }
    let identity = process.identity().filter(|_| !words.has("not-noted"))?;
    Some(NotedDisk {
        disk_id: identity.disk_id.clone(),
        member_id: identity.membership.as_ref().map(|membership| membership.member_id),
    })
}

fn process(number: u32, words: &Words<'_>) -> Process {
    if words.has("no-pod") {
        return Process::NoPod;
    }
    if words.has("silent") || words.has("kubelet-ready") {
        return Process::Silent("did not answer within 5 s".into());
    }
    let membership = words.pairs.get("member").map(|member| Membership {
        cluster_id: words.text("cluster", UID),
        member_id: member.parse().unwrap(),
    });
    assert!(
        membership.is_some() || words.has("empty"),
        "what does the process in slot {number} say?"
    );
    Process::Answered(Identity {
        disk_id: words.text("disk", &format!("disk-{number}")),
        ready: membership.is_some() && !words.has("recovering"),
        membership,
        version: "1".into(),
    })
}

fn database(words: &Words<'_>, rest: &str) -> Database {
    if let Some(why) = rest.strip_prefix("silent ") {
        return Database::Silent(why.to_owned());
    }
    Database::Answered(Catalogue {
        answered_by: words.number("by", 0),
        cluster_id: UID.into(),
        linearizable: !words.has("no-quorum"),
        leader_member_id: Some(words.number("leader", 1)).filter(|leader| *leader != 0),
        members: Vec::new(),
        removed: Vec::new(),
        replication_factor: words.number("copies", 3),
        partitions: 16,
        under_replicated: words.number("under", 0),
        leaderless: words.number("leaderless", 0),
        quorum_critical: (0..words.number("critical", 0)).collect(),
        rebalance: Rebalance {
            balanced: !words.has("unbalanced"),
            moves_open: words.number("open", 0),
            moves_planned: words.number("planned", 0),
            moves_finished: words.number("finished", 0),
            waiting_for: String::new(),
        },
    })
}

fn member(database: &mut Database, words: &Words<'_>) {
    let Database::Answered(catalogue) = database else {
        panic!("a member needs a database line before it");
    };
    let id: u64 = words.bare[0].parse().unwrap();
    let slot = id - 1;
    catalogue.members.push(Member {
        id,
        name: words.text("name", &format!("g-{slot}")),
        disk_id: words.text("disk", &format!("disk-{slot}")),
        state: match words.text("state", "Active").as_str() {
            "Joining" => MemberState::Joining,
            "Draining" => MemberState::Draining,
            "Active" => MemberState::Active,
            other => panic!("no state: {other}"),
        },
        health: match words.text("health", "Alive").as_str() {
            "Alive" => Health::Alive,
            "Suspected" => Health::Suspected,
            "Failed" => Health::Failed,
            other => panic!("no health: {other}"),
        },
        zone: words.text("zone", ["a", "b", "c"][slot as usize % 3]),
        replicas: words.number("replicas", 16),
        leaders: words.number("leaders", 5),
        drained: words.has("drained"),
        waiting_for: words.text("waits", "").replace('_', " "),
        disk_full: words.has("full"),
        data_bytes: words.number("data-gib", 0) << 30,
        room_bytes: words.number("room-gib", 0) << 30,
    });
}

fn removed(database: &mut Database, words: &Words<'_>) {
    let Database::Answered(catalogue) = database else {
        panic!("a removed member needs a database line before it");
    };
    let id: u64 = words.bare[0].parse().unwrap();
    catalogue.removed.push(RemovedMember {
        id,
        disk_id: words.text("disk", &format!("disk-{}", id - 1)),
    });
}
