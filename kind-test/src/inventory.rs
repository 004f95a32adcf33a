//! Who is there: pods by uid, members by disk, the StatefulSet by uid and generation. What a step may not touch is the
//! same before and after it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use kube::api::Api;

use crate::database::status::identities;
use crate::kubernetes::pods::uid;
use crate::trial::Trial;

/// Taken at one moment; two are equal where nothing was made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Uids by name.
    pub pods: BTreeMap<String, String>,
    /// Member id and disk id by pod.
    pub members: BTreeMap<String, (u64, String)>,
    /// Uid and generation: another generation is another template or number of pods.
    pub set: (String, i64),
}

impl Inventory {
    /// Sees that the members are those of an earlier moment, whatever became of their pods.
    pub fn has_members_of(&self, before: &Inventory) -> Result<()> {
        let (was, is) = (&before.members, &self.members);
        ensure!(was == is, "members were {was:?} and are {is:?}");
        Ok(())
    }
}

pub async fn take(trial: &mut Trial) -> Result<Inventory> {
    let pods = trial.pods().list().await?;
    let members = identities(&trial.status().await?);
    let sets: Api<StatefulSet> = Api::namespaced(trial.kube.clone(), trial.installation.namespace);
    let set = sets.get(trial.installation.cluster).await;
    let set = set.context("reading the StatefulSet")?;
    Ok(Inventory {
        pods: pods.iter().map(|(name, pod)| (name.clone(), uid(pod))).collect(),
        members,
        set: (
            set.uid().unwrap_or_default(),
            set.metadata.generation.unwrap_or_default(),
        ),
    })
}
