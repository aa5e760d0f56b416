//! Keys and values like those of Kubernetes' objects. Everything follows from a number alone, so two makers make the same.

use std::fmt::Write as _;

/// Puts of one transaction; etcd takes 128 at most.
pub const PUTS: u64 = 100;

/// One put in so many writes an existing key again, as status updates do.
const UPDATE_EVERY: u64 = 8;

/// What objects are made of: the parts that repeat, with places for those that do not: 16 hex digits, a small number,
/// a key or certificate. Together they compress to about a third.
const PARTS: [&str; 12] = [
    "\"metadata\":{\"name\":\"web-@\",\"namespace\":\"team-#\",\"uid\":\"@-@\",\"resourceVersion\":\"#\",\"generation\":1,",
    "\"labels\":{\"app.kubernetes.io/name\":\"web\",\"app.kubernetes.io/instance\":\"web-#\",\"pod-template-hash\":\"@\"},",
    "\"ownerReferences\":[{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\"web-@\",\"uid\":\"@-@\"}],",
    "\"managedFields\":[{\"manager\":\"kube-controller-manager\",\"operation\":\"Update\",\"fieldsType\":\"FieldsV1\",",
    "\"fieldsV1\":{\"f:metadata\":{\"f:generateName\":{},\"f:labels\":{\".\":{},\"f:app\":{},\"f:pod-template-hash\":{}}}}}],",
    "\"containers\":[{\"name\":\"web\",\"image\":\"registry.example/team-#/web@sha256:@@@@\",\"ports\":[{\"containerPort\":80#}],",
    "\"resources\":{\"limits\":{\"cpu\":\"#m\",\"memory\":\"#Mi\"},\"requests\":{\"cpu\":\"#m\",\"memory\":\"#Mi\"}},",
    "\"env\":[{\"name\":\"POD_IP\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIP\"}}},{\"name\":\"TOKEN\",\"value\":\"@@@\"}],",
    "\"tolerations\":[{\"key\":\"node.kubernetes.io/not-ready\",\"operator\":\"Exists\",\"effect\":\"NoExecute\"}],",
    "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"2026-11-23T02:#:#Z\",\"observedGeneration\":#}],",
    "\"containerStatuses\":[{\"containerID\":\"containerd://@@@@\",\"imageID\":\"sha256:@@@@\",\"ready\":true,\"restartCount\":#}],",
    "\"data\":{\"ca.crt\":\"$$\",\"tls.key\":\"$$$$$\"},",
];

/// The number of the object that the put with this number writes: its own, or, for an update, an older one's.
///
/// Within a transaction no key may come twice: an update takes the key of the transaction before.
pub fn object(put: u64) -> u64 {
    if put >= PUTS && put.is_multiple_of(UPDATE_EVERY) { put - PUTS } else { put }
}

/// An object's key.
pub fn key(object: u64) -> String {
    format!("/registry/pods/team-{}/web-{object:08x}", object % 97)
}

/// The value that the put with this number writes: 200 bytes to 8 KiB, small ones more often than large ones.
pub fn value(put: u64) -> String {
    let random = &mut Random::of(put);
    let large = 200 + random.below((8 << 10) - 200);
    let length = 200 + usize::try_from(random.below(large)).unwrap_or(0);
    let mut text = String::with_capacity(length + 256);
    text.push_str("{\"kind\":\"Pod\",\"apiVersion\":\"v1\",");
    while text.len() < length {
        let part = PARTS[usize::try_from(random.below(12)).unwrap_or(0)];
        for letter in part.chars() {
            // Writing to a String cannot fail.
            let _ = match letter {
                '@' => write!(text, "{:016x}", random.next()),
                '$' => (0..20).try_for_each(|_| write!(text, "{:016x}", random.next())),
                '#' => write!(text, "{}", random.below(1000)),
                other => text.write_char(other),
            };
        }
    }
    text.truncate(length);
    text
}

/// splitmix64.
struct Random(u64);

impl Random {
    /// A sequence of its own for every number: neighbours must share nothing that a compressor could find.
    fn of(number: u64) -> Self {
        Random(Random(number).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}
