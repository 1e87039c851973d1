//! What the snapshot's entry and the host's, of one name, ask for. Pure: the rules of a restore in place at a glance.

use repository::NodeKind;

/// What a snapshot's entry and the one on this host, of the same name, ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Nothing,
    /// Not in the snapshot, and left alone.
    LeaveExtra,
    Create,
    /// Both are folders: what they hold decides.
    Merge,
    /// Of one kind: replaced where they differ.
    Compare,
    ReplaceKind(NodeKind),
    MoveAway,
}

pub(super) fn decide(snapshot: Option<NodeKind>, live: Option<NodeKind>, delete: bool, privileged: bool) -> Decision {
    match (snapshot, live) {
        // No restore makes these, so what is there stays.
        (Some(NodeKind::Socket | NodeKind::Unknown), _) => Decision::Nothing,
        (Some(NodeKind::BlockDevice | NodeKind::CharDevice), _) if !privileged => Decision::Nothing,
        (None, None) => Decision::Nothing,
        (None, Some(_)) => {
            if delete {
                Decision::MoveAway
            } else {
                Decision::LeaveExtra
            }
        }
        (Some(_), None) => Decision::Create,
        (Some(NodeKind::Dir), Some(NodeKind::Dir)) => Decision::Merge,
        (Some(snapshot), Some(live)) if snapshot == live => Decision::Compare,
        (Some(_), Some(live)) => Decision::ReplaceKind(live),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeKind::{CharDevice, Dir, File, Socket};

    #[test]
    fn each_pair_of_sides_has_its_decision() {
        let of = |snapshot, live| decide(snapshot, live, false, true);
        assert_eq!(of(Some(File), None), Decision::Create);
        assert_eq!(of(Some(File), Some(File)), Decision::Compare);
        assert_eq!(of(Some(Dir), Some(Dir)), Decision::Merge);
        assert_eq!(of(Some(Dir), Some(File)), Decision::ReplaceKind(File));
        assert_eq!(of(Some(File), Some(Dir)), Decision::ReplaceKind(Dir));
        assert_eq!(of(None, Some(File)), Decision::LeaveExtra);
        assert_eq!(decide(None, Some(File), true, true), Decision::MoveAway);
    }

    #[test]
    fn what_no_restore_makes_leaves_the_host_alone() {
        assert_eq!(decide(Some(Socket), Some(File), true, true), Decision::Nothing);
        assert_eq!(decide(Some(CharDevice), Some(File), true, false), Decision::Nothing);
        assert_eq!(decide(Some(CharDevice), Some(File), true, true), Decision::ReplaceKind(File));
    }
}
