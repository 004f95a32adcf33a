//! Members that join: the process is told who it is, then learns the catalogue, then is active.

use std::time::Duration;

use kotoba_proto::v1::{AssignRequest, PeerAddress};
use kotoba_state::meta::{Catalogue, Member, MemberState};
use tracing::{info, warn};

use super::Driver;
use crate::peer::clients::client_at;

/// A process that does not answer is asked again in the next pass.
const ASSIGN_TIMEOUT: Duration = Duration::from_secs(2);

impl Driver {
    /// Tells every joining process its identity; saying it again does no harm.
    pub(super) async fn assign_joiners(&self, catalogue: &Catalogue) {
        for member in catalogue
            .members
            .values()
            .filter(|member| member.state == MemberState::Joining)
        {
            match assign(catalogue, member).await {
                Ok(()) => info!(member = %member.id, address = member.peer_address, "joining member has its identity"),
                Err(reason) => {
                    warn!(member = %member.id, address = member.peer_address, reason, "joining member cannot be told its identity")
                }
            }
        }
    }
}

async fn assign(catalogue: &Catalogue, member: &Member) -> Result<(), String> {
    let settings = catalogue.settings.as_ref().ok_or("the cluster is not founded")?;
    let request = AssignRequest {
        cluster_id: settings.cluster_id.clone(),
        member_id: member.id.0,
        disk_id: member.disk_id.clone(),
        meta_replica_id: member.meta_replica.0,
        peers: addresses(catalogue),
    };
    let mut client = client_at(&member.peer_address, ASSIGN_TIMEOUT).map_err(|error| error.to_string())?;
    client
        .assign(request)
        .await
        .map_err(|status| status.message().to_owned())?;
    Ok(())
}

fn addresses(catalogue: &Catalogue) -> Vec<PeerAddress> {
    let current = catalogue
        .members
        .values()
        .filter(|member| member.state != MemberState::Removed);
    current
        .map(|member| PeerAddress {
            member_id: member.id.0,
            address: member.peer_address.clone(),
        })
        .collect()
}
