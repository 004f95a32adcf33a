//! Leader election by a Lease, with client-go's rules: one replica of the operator works, the others wait.
//!
//! Own code, because kube-lease-manager keeps telling its user "you lead" while renewals fail: it reports a failed
//! call and not that the lease has run out meanwhile. Here the right to work has an end in time that a renewal must
//! move on. A lease is no fence: every write is safe to repeat besides.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as KubeLease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;

/// After so long without a renewal others may take over.
const DURATION: Duration = Duration::from_secs(15);
/// After so long without a renewal the holder stops, well before others begin.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries, of the holder and of those who wait. Several fit into the deadline.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// One call of the API; below the deadline, so that one that hangs is tried again in time.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// Until when this process may work; none: it may not.
pub type Leadership = watch::Receiver<Option<Instant>>;

/// Whether this process may work now.
pub fn held(leadership: &Leadership) -> bool {
    leadership.borrow().is_some_and(|until| Instant::now() < until)
}

/// The right of one process among several to work.
pub struct Lease {
    api: Api<KubeLease>,
    name: String,
    identity: String,
    /// What was last seen in another's hand, and since when by this process' clock: clocks of others are not trusted.
    seen: Option<(String, Instant)>,
    until: watch::Sender<Option<Instant>>,
}

/// How a try to get or keep the lease went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    Held,
    HeldByOther,
}

/// The renewals stopped, or another process has the lease: this one must stop.
#[derive(Debug, thiserror::Error)]
#[error("the lease {0} is lost: this process stops, another one works on")]
pub struct Lost(String);

impl Lease {
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Lease {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            seen: None,
            until: watch::Sender::new(None),
        }
    }

    pub fn leadership(&self) -> Leadership {
        self.until.subscribe()
    }

    /// Waits until this process has the lease.
    pub async fn acquire(&mut self) {
        while self.attempt().await != Some(Try::Held) {
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        tracing::info!(lease = self.name, identity = self.identity, "leading");
    }

    /// Renews the lease, and returns only when it is lost.
    pub async fn keep(&mut self) -> Lost {
        loop {
            tokio::time::sleep(RETRY_INTERVAL).await;
            let outcome = self.attempt().await;
            let expired = self.until.borrow().is_none_or(|until| Instant::now() >= until);
            if outcome == Some(Try::HeldByOther) || expired {
                self.until.send_replace(None);
                return Lost(self.name.clone());
            }
        }
    }

    /// Gives the lease back, so that another replica need not wait until it runs out.
    pub async fn release(&mut self) {
        self.until.send_replace(None);
        let release = async {
            let mut lease = self.api.get(&self.name).await?;
            if holder(&lease) == Some(self.identity.as_str()) {
                lease.spec.get_or_insert_default().holder_identity = None;
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match tokio::time::timeout(CALL_TIMEOUT, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease is not released; others wait until it runs out")
            }
            Err(_) => {
                tracing::warn!("the lease is not released in time; others wait until it runs out")
            }
        }
    }

    /// One try; none: the API did not answer, or somebody else wrote at the same moment.
    async fn attempt(&mut self) -> Option<Try> {
        // Counted from before the call: the others count from when the write was made, which is later.
        let asked_at = Instant::now();
        let outcome = match tokio::time::timeout(CALL_TIMEOUT, self.try_to_hold()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                tracing::warn!(lease = self.name, %error, "the lease could not be read or written");
                return None;
            }
            Err(_) => {
                tracing::warn!(lease = self.name, "the lease could not be read or written in time");
                return None;
            }
        };
        if outcome == Try::Held {
            self.until.send_replace(Some(asked_at + RENEW_DEADLINE));
        }
        Some(outcome)
    }

    async fn try_to_hold(&mut self) -> Result<Try, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let new = self.taken(None);
            self.api.create(&PostParams::default(), &new).await?;
            return Ok(Try::Held);
        };
        if self.is_others(&lease) {
            return Ok(Try::HeldByOther);
        }
        // Carries the resource version that was read: of two that try at once, one is refused.
        let mine = self.taken(Some(lease));
        self.api.replace(&self.name, &PostParams::default(), &mine).await?;
        Ok(Try::Held)
    }

    /// Whether another process has it and may still be working.
    fn is_others(&mut self, lease: &KubeLease) -> bool {
        match holder(lease) {
            None => return false,
            Some(holder) if holder == self.identity => return false,
            Some(_) => {}
        }
        let version = lease.resource_version().unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() < DURATION,
            Some(_) | None => {
                self.seen = Some((version, Instant::now()));
                true
            }
        }
    }

    /// The lease in this process' hand.
    fn taken(&self, before: Option<KubeLease>) -> KubeLease {
        let now = MicroTime(Timestamp::now());
        let mut lease = before.unwrap_or_else(|| KubeLease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            let transitions = spec.lease_transitions.unwrap_or(0);
            *spec = LeaseSpec {
                acquire_time: Some(now.clone()),
                lease_transitions: Some(transitions + 1),
                ..LeaseSpec::default()
            };
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }
}

fn holder(lease: &KubeLease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}
