//! The steps of a run, in order. Each stands on what the ones before have left.

mod absence;
mod create;
mod faults;
mod install;
mod load;
mod neighbour;
mod node_loss;
mod operator;
mod plugin;
mod refusals;
pub mod removal;
mod reverse;
mod roll;
mod scale;
mod suspension;
mod volumes;

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::BoxFuture;

use crate::trial::Trial;

/// One named part of the run.
pub struct Step {
    pub name: &'static str,
    /// What it does, for the person who watches.
    pub about: &'static str,
    pub limit: Duration,
    pub run: for<'a> fn(&'a mut Trial) -> BoxFuture<'a, Result<()>>,
    /// Runs also where only a later step is asked for, which needs what it finds out.
    always: bool,
}

macro_rules! step {
    ($name:literal, $about:literal, $minutes:literal, $run:path) => {
        Step {
            name: $name,
            about: $about,
            limit: Duration::from_secs($minutes * 60),
            run: |trial| Box::pin($run(trial)),
            always: false,
        }
    };
}

pub const ALL: &[Step] = &[
    Step {
        always: true,
        ..step!("kubernetes", "three nodes Ready in three zones", 5, install::nodes)
    },
    Step {
        always: true,
        ..step!("images", "the images under test are on all nodes", 10, install::images)
    },
    step!(
        "install",
        "the operator by helm, under restricted Pod Security",
        5,
        install::operator
    ),
    step!(
        "helm-test",
        "helm test says that the installation works",
        5,
        install::helm_test
    ),
    step!("create", "a KotobaCluster of three becomes Ready", 6, create::create),
    step!("load", "the data set through the client service", 10, load::load),
    step!(
        "verify-load",
        "counts, nodes, edges and walks against the files",
        5,
        load::verify
    ),
    step!(
        "delete-pod-0",
        "the pod of slot 0, under a writer",
        8,
        faults::delete_first
    ),
    step!(
        "delete-pod-1",
        "the pod of slot 1, under a writer",
        8,
        faults::delete_second
    ),
    step!(
        "delete-pod-2",
        "the pod of slot 2, under a writer",
        8,
        faults::delete_third
    ),
    step!(
        "delete-all-pods",
        "all pods at once, under a writer",
        10,
        faults::delete_all
    ),
    step!(
        "scale-out",
        "three to five under a writer, the operator killed on the way",
        20,
        scale::out
    ),
    step!(
        "spread",
        "replicas over members and zones, each member with its share",
        3,
        scale::spread
    ),
    step!("verify-scaled", "everything is there after the moves", 5, load::verify),
    step!(
        "scale-in-refused",
        "five to two is refused and changes nothing",
        5,
        scale::in_refused
    ),
    step!(
        "plugin",
        "what kubectl kotoba shows; a drain by hand, and back",
        15,
        plugin::plugin
    ),
    step!(
        "reverse",
        "five to three, taken back while a member is drained",
        20,
        reverse::scale_in
    ),
    step!(
        "scale-in",
        "five to three under a writer; the disks stay",
        20,
        scale::scale_in
    ),
    step!(
        "verify-scaled-in",
        "everything is there after the drains",
        5,
        load::verify
    ),
    step!(
        "refused",
        "what the API server and the guard rails refuse, with their message",
        4,
        refusals::refused
    ),
    step!(
        "roll",
        "another pod template under a writer, the operator killed on the way",
        15,
        roll::roll
    ),
    step!(
        "bad-image",
        "a roll that stops at one pod, and is taken back",
        12,
        roll::bad_image
    ),
    step!(
        "lost-volume",
        "a disk is lost under a writer, and another member takes its place",
        15,
        volumes::lost
    ),
    step!(
        "replaced",
        "another disk is lost, and nobody needs to be asked",
        15,
        volumes::replaced
    ),
    step!(
        "operator-gone",
        "a failover without an operator; it comes back and touches nothing",
        12,
        absence::gone
    ),
    step!(
        "operator-upgrade",
        "an operator with another default image touches nothing",
        10,
        absence::upgraded
    ),
    step!(
        "suspend",
        "the pods go and come back, not while the operator is paused",
        12,
        suspension::suspend
    ),
    step!(
        "node-lost",
        "a Kubernetes node is lost under a writer, the operator killed meanwhile, and comes back",
        15,
        node_loss::node_lost
    ),
    step!("grow", "larger disks, around the pods", 10, volumes::grow),
    step!(
        "config-in-the-middle",
        "three to five, another processor request, and back to three, the disks deleted",
        25,
        reverse::config_in_the_middle
    ),
    step!(
        "namespace-deleted",
        "a second cluster: made again on its old disk, gone with its disk and with its namespace, and made again",
        20,
        neighbour::namespace_deleted
    ),
    step!(
        "delete-cluster",
        "without a quorum the resource goes with its pods, the disks stay",
        5,
        removal::cluster
    ),
    step!("uninstall", "the operator goes, the CRD stays", 4, removal::operator),
];

/// All steps, or these with what any step needs.
pub fn chosen(only: &[String]) -> Result<Vec<&'static Step>> {
    if only.is_empty() {
        return Ok(ALL.iter().collect());
    }
    for name in only {
        named(name)?;
    }
    let is_chosen = |step: &&Step| step.always || only.iter().any(|name| name == step.name);
    Ok(ALL.iter().filter(is_chosen).collect())
}

/// All steps up to one, with it.
pub fn until(last: &str) -> Result<Vec<&'static Step>> {
    named(last)?;
    let end = ALL.iter().position(|step| step.name == last).map_or(0, |at| at + 1);
    Ok(ALL[..end].iter().collect())
}

/// One step by its name.
pub fn named(name: &str) -> Result<&'static Step> {
    ALL.iter()
        .find(|step| step.name == name)
        .with_context(|| format!("there is no step {name}; `kind-test steps` lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_until_one_end_with_it() {
        let names: Vec<&str> = until("create").unwrap().iter().map(|step| step.name).collect();
        assert_eq!(names, ["kubernetes", "images", "install", "helm-test", "create"]);
        assert!(until("nothing").is_err());
    }

    #[test]
    fn steps_alone_come_in_order_after_what_they_need() {
        let only = ["load".to_owned(), "create".to_owned()];
        let names: Vec<&str> = chosen(&only).unwrap().iter().map(|step| step.name).collect();
        assert_eq!(names, ["kubernetes", "images", "create", "load"]);
        assert!(chosen(&["dance".to_owned()]).is_err());
        assert_eq!(chosen(&[]).unwrap().len(), ALL.len());
    }
}
