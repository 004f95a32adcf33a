//! `--if-cid`: a change that is made only where the entity is still at the version that was seen.

use bytes::Bytes;
use clap::Args;
use kotoba_proto::ContentId;

#[derive(Clone, Debug, Default, Args)]
pub(super) struct Expected {
    /// Change it only if this is still its version; `get -o json` prints it in full
    #[arg(long = "if-cid", value_name = "CID")]
    cid: Option<ContentId>,
}

impl Expected {
    /// As it is sent; empty for any version.
    pub(super) fn bytes(self) -> Bytes {
        self.cid.map(ContentId::into_bytes).unwrap_or_default()
    }
}
