//! The secret of a cluster, which CHT keeps on its first node alone: the others ask that one for it when they are made.

use repository::SourceError;

use super::CouchDbCapture;
use crate::source::couchdb::{CouchDbOptions, Peer, config, on_host, shard_map};

impl CouchDbCapture<'_> {
    /// Whether another source of the stack has the secret, and is a node of this cluster.
    pub(super) fn is_secret_on_another_node(&self, options: &CouchDbOptions) -> Result<bool, SourceError> {
        for peer in &options.peers {
            match self.has_secret_of_this_cluster(peer, options) {
                Ok(true) => return Ok(true),
                Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
                // What cannot be asked does not have it; its own source says why.
                Ok(false) | Err(_) => {}
            }
        }
        Ok(false)
    }

    fn has_secret_of_this_cluster(&self, peer: &Peer, options: &CouchDbOptions) -> Result<bool, SourceError> {
        let cancel = self.opener.cancel;
        let data = on_host("data", &peer.data, &options.engine, cancel)?;
        // Nodes that stand alone are all called the same, and are no cluster.
        let is_node = |owner: &String| self.counted.nodes.contains(owner) && self.owner.as_ref() != Some(owner);
        if !shard_map::owner_of_folder(&data.path).as_ref().is_some_and(is_node) {
            return Ok(false);
        }
        let own = on_host("config", &peer.config, &options.engine, cancel)?;
        Ok(config::find(&own.path, cancel)?.holds_secret)
    }
}
