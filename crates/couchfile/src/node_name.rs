//! Names of nodes, as `_nodes.couch` and shard maps have them.

/// Whether this is what a node of CouchDB may be called: `NAME@HOST`. As an atom of Erlang it has 255 bytes at most, and
/// Nouveau names folders after it.
pub fn is_node_name(text: &str) -> bool {
    let has_parts = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    has_parts && text.len() <= usize::from(u8::MAX) && !text.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_name_at_a_host_and_may_be_a_folder() {
        for name in ["couchdb@127.0.0.1", "couchdb@couchdb-1.local", "a@b"] {
            assert!(is_node_name(name), "{name}");
        }
        for other in ["", "@", "a@", "@b", "couchdb", "_design/a@b", "a\0@b", &format!("a@{}", "b".repeat(254))] {
            assert!(!is_node_name(other), "{other}");
        }
    }
}
