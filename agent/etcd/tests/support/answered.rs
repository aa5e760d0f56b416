//! Histories that five versions of etcd were given, and what each of them answered to HashKV.

use super::builder::{Items, del, put};

/// Where HashKV was asked (revision, compact revision), and the hash that came back. The compactions are simulated: the
/// records are all there.
pub type Answers = Vec<((i64, i64), u32)>;

/// Keys that come, change and go, until none is alive, and then one again.
pub fn come_and_gone() -> (Items, Answers) {
    let records = vec![
        put(2, 0, "k1", 2, 1, b"a", 0),
        put(3, 0, "k2", 3, 1, b"b", 0),
        put(4, 0, "k1", 2, 2, b"c", 0),
        del(5, 0, "k2"),
        put(6, 0, "k3", 6, 1, b"d", 0),
        put(7, 0, "k4", 7, 1, b"x", 0),
        put(7, 1, "k5", 7, 1, b"y", 0),
        del(7, 2, "k1"),
        put(8, 0, "k4", 7, 2, b"z", 0),
        del(9, 0, "k3"),
        del(9, 1, "k4"),
        del(9, 2, "k5"),
        put(10, 0, "k1", 10, 1, b"new", 0),
    ];
    let answers = vec![
        ((2, -1), 1141488549),
        ((3, -1), 1806474732),
        ((4, -1), 3484838887),
        ((5, -1), 1370012667),
        ((5, 3), 1750800432),
        ((4, 3), 1935297270),
        ((6, 5), 1942218451),
        ((7, 5), 3711966364),
        ((8, 5), 1331485444),
        // Nothing is alive at 9: what the compaction left is hashed.
        ((9, 5), 232803010),
        ((9, 8), 4261291858),
        ((9, 9), 1084519789),
        ((10, 9), 4162214610),
    ];
    (records, answers)
}

/// A lease, and a transaction of several changes; never compacted.
pub fn leased() -> (Items, Answers) {
    let records = vec![
        put(2, 0, "foo", 2, 1, b"bar", 0),
        put(3, 0, "foo", 2, 2, b"bar2", 0),
        put(4, 0, "a", 4, 1, b"1", 0),
        del(5, 0, "foo"),
        put(6, 0, "leased", 6, 1, b"v", 1234567),
        put(7, 0, "x", 7, 1, b"1", 0),
        put(7, 1, "y", 7, 1, b"2", 0),
        del(7, 2, "a"),
        put(8, 0, "foo", 8, 1, b"again", 0),
    ];
    let hashes = [3305255506, 3581052765, 2499341612, 3966920819, 2938082371, 2100707660, 743227460];
    (records, (2..).map(|at| (at, -1)).zip(hashes).collect())
}

/// A database without a record.
pub fn empty() -> (Items, Answers) {
    (vec![], vec![((1, -1), 1084519789)])
}
