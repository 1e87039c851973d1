//! What part of a Redis Cluster a node is.

/// All slots of a cluster, over which keys are spread.
pub const SLOTS: u64 = 16384;

/// How many slots the node has that gave this list of nodes (`CLUSTER NODES`). `None` where the list does not tell.
pub fn own_slots(nodes: &str) -> Option<u64> {
    let own = nodes.lines().find(|line| {
        let mut flags = line.split_whitespace().nth(2).unwrap_or_default().split(',');
        flags.any(|flag| flag == "myself")
    })?;
    // Those in brackets are on their way to or from another node, and stand among the others as long as they are here.
    let ranges = own.split_whitespace().skip(8).filter(|range| !range.starts_with('['));
    let mut slots = 0;
    for range in ranges {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        slots += last.checked_sub(first)?.checked_add(1).filter(|slots| *slots <= SLOTS)?;
    }
    Some(slots.min(SLOTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_of_the_node_that_answers_are_counted() {
        let list = "a 10.0.0.1:7000@17000 master - 0 1 1 connected 0-8191\n\
                    b 10.0.0.2:7000@17000 myself,master - 0 2 2 connected 8192-16382 16383 [16383->-a]\n";
        assert_eq!(own_slots(list), Some(8192));
        assert_eq!(own_slots("b :0@0 myself,master - 0 0 0 connected"), Some(0));
        assert_eq!(own_slots("b :0@0 myself,master - 0 0 0 connected 0-16383"), Some(SLOTS));
        for nonsense in
            ["", "a", "b :0@0 myself,master - 0 0 0 connected 9-1", "b :0@0 myself - 0 0 0 c 0-99999999999999999999"]
        {
            assert_eq!(own_slots(nonsense), None, "{nonsense}");
        }
    }
}
