//! Several stores in one config.

use super::*;

const ONE: &str = "  - url: s3://backups/etcd";

fn stores(lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("  - {{ {line} }}")).collect();
    smallest().replace(ONE, &lines.join("\n"))
}

fn refused(lines: &[&str]) -> String {
    bad(&stores(lines), &control_plane()).iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn several_stores_have_names_and_places_of_their_own() {
    let (config, _) = good(
        &stores(&["url: s3://one, name: a", "url: s3://two, name: b", "url: \"file:///c\", name: c"]),
        &control_plane(),
    );
    let names: Vec<&str> = config.stores.iter().map(|store| store.name.as_str()).collect();
    assert_eq!((names, config.write_quorum), (vec!["a", "b", "c"], 1));
    let text = refused(&["url: s3://one", "url: s3://two, name: b"]);
    holds(&text, &["stores[0].name: is missing", "name: frankfurt"]);
    holds(&refused(&["url: s3://one, name: b", "url: s3://two, name: b"]), &["two stores are called `b`"]);
    let text = refused(&["url: s3://one/, name: a", "url: s3://one, name: b"]);
    holds(&text, &["stores[1]: s3://one is the same place as `a`"]);
    // One bucket's name at two servers is two places.
    let at =
        |host: &str, name: &str| format!("url: s3://one, name: {name}, options: {{ endpoint: \"https://{host}\" }}");
    good(&stores(&[&at("x", "a"), &at("y", "b")]), &control_plane());
    holds(&refused(&[&at("x", "a"), &at("x", "b")]), &["the same place as `a`"]);
}

#[test]
fn the_write_quorum_is_one_up_to_the_number_of_stores() {
    let two = stores(&["url: s3://one, name: a", "url: s3://two, name: b"]);
    let with = |quorum: &str| two.replace("cluster:", &format!("write_quorum: {quorum}\ncluster:"));
    for quorum in [1, 2] {
        assert_eq!(good(&with(&quorum.to_string()), &control_plane()).0.write_quorum, quorum);
    }
    for (quorum, what) in [("0", "0 of 2 stores"), ("3", "3 of 2 stores"), ("many", "expected a whole number")] {
        let text: String = bad(&with(quorum), &control_plane()).iter().map(|finding| format!("{finding}\n")).collect();
        holds(&text, &["config.yaml:1:", "write_quorum: ", what]);
    }
    holds(&change("cluster:", "write_quorum: 2\ncluster:"), &["2 of one store is not possible"]);
}

#[test]
fn a_store_may_keep_by_rules_of_its_own() {
    let (config, _) = good(&full(), &control_plane());
    let [frankfurt, basement] = config.stores.as_slice() else { panic!("two stores") };
    assert_eq!(config.keep_in(frankfurt), config.keep.as_ref());
    assert_eq!(config.keep_in(basement).map(|keep| (keep.last, keep.daily)), Some((3, 0)));
    // Rules in a store alone are rules: the role prune has something to do.
    let own = smallest().replace(ONE, &format!("{ONE}\n    keep: {{ last: 2, min_proven: 1 }}"));
    let pruned = own.replace("\"*/30 * * * *\"", "\"*/30 * * * *\", prune: \"1 3 * * *\"");
    let pruned = pruned.replace("/run/secrets/backup.sign.key }", "/run/b.key, prune: /run/u.key }");
    let (config, warnings) = good(&pruned, &control_plane());
    assert!(config.keep.is_none() && config.roles.contains(&Role::Prune));
    holds(&warnings.join("\n"), &["stores[0].keep.min_proven: 1 is below the default of 2"]);
    let text = change("url: s3://backups/etcd", "url: s3://backups/etcd\n    keep: { hourly: many }");
    holds(&text, &["stores[0].keep.hourly: expected a whole number"]);
}

#[test]
fn a_slow_store_is_spooled_or_left_out() {
    let with = |word: &str| smallest().replace("cluster:", &format!("limits: {{ slow_store: {word} }}\ncluster:"));
    for (word, meant) in [("spool", SlowStore::Spool), ("fail", SlowStore::Fail)] {
        assert_eq!(good(&with(word), &control_plane()).0.limits.slow_store, meant);
    }
    holds(&bad(&with("wait"), &control_plane())[0].to_string(), &["limits.slow_store: unknown value `wait`"]);
}
