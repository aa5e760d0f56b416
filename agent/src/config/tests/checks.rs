use super::*;

#[test]
fn stores_are_checked() {
    let url = |text: &str| change("s3://backups/etcd", text);
    holds(&url("s3://Bad_Bucket"), &["a bucket's name has 3 to 63"]);
    holds(&url("\"s3://key:secret@bucket\""), &["carries no credentials", "options_file"]);
    assert!(!url("\"s3://key:hunter2@bucket\"").contains("hunter2"));
    holds(&url("s3://backups/a//b"), &["not a prefix"]);
    holds(&url("file://relative"), &["three slashes"]);
    holds(&url("file:///"), &["root of this machine"]);
    holds(&url("https://store.example.org/bucket"), &["by an option"]);
    holds(&url("ftp://x"), &["unknown scheme `ftp`"]);
    let with = |text: &str| change("s3://backups/etcd", &format!("s3://backups/etcd\n    {text}"));
    holds(
        &with("options: { regoin: x }"),
        &["config.yaml:5:24: stores[0].options.regoin: unknown option", "did you mean `region`?"],
    );
    holds(&with("options: { region: x, aws_region: y }"), &["are the same option"]);
    holds(&with("options: { bucket: x }"), &["the bucket is named by `url`"]);
    holds(&with("options: { timeout: 5s }"), &["the store's own `timeout`"]);
    holds(&with("options: { region: [x] }"), &["expected one value, found a list"]);
    holds(&with("options_file: s3.yaml"), &["expected an absolute path"]);
    holds(&with("timeout: 0s"), &["zero leaves no time"]);
    holds(&with("name: Main Store"), &["a store's name has"]);
    holds(&with("lock: { mode: complience, days: 0 }"), &["did you mean `compliance`?", "1 to 36500 days"]);
    holds(&with("lock: { days: 1 }"), &["stores[0].lock.mode: is missing"]);
    holds(&with("bandwidth: 20"), &["a size like 12GiB"]);
    holds(&with("bandwidth: 0MiB"), &["zero bytes a second"]);
    holds(&with("read_back: no"), &["one of full, head"]);
    let other = |url: &str, text: &str| change("s3://backups/etcd", &format!("{url}\n    {text}"));
    holds(&other("gs://backups", "lock: { mode: governance, days: 1 }"), &["can be sent to S3 only"]);
    holds(
        &other("gs://backups", "options: { service_acount: /x }"),
        &["did you mean `service_account`?", "GCS option"],
    );
    holds(&other("az://backups", "options: { acount_name: x }"), &["did you mean `account_name`?", "Azure option"]);
    holds(&other("az://backups", "options: { container_name: x }"), &["the bucket is named by `url`"]);
    holds(&other("az://backups", "options: { sas_token: hunter2 }"), &["secrets are never written into the config"]);
    let file = "file:///var/backups\n    options: { region: x }\n    options_file: /x";
    holds(
        &change("s3://backups/etcd", file),
        &["stores[0].options: a file:// store takes no", "stores[0].options_file: a file://"],
    );
}

#[test]
fn secrets_inline_are_refused_and_never_repeated() {
    let secrets =
        ["secret_access_key", "aws_secret_access_key", "token", "aws_session_token", "sse_customer_key_base64"];
    for name in secrets {
        let text = change("s3://backups/etcd", &format!("s3://backups/etcd\n    options: {{ {name}: hunter2 }}"));
        holds(&text, &["secrets are never written into the config", "put it into options_file"]);
        assert!(!text.contains("hunter2"), "{text}");
    }
    let text = change("s3://backups/etcd", "s3://backups/etcd\n    options: { proxy_url: \"http://u:hunter2@p\" }");
    holds(&text, &["carries a password"]);
    assert!(!text.contains("hunter2"));
    let text = change(RECIPIENT, "AGE-SECRET-KEY-1QQQ");
    holds(&text, &["this is an identity, the secret half"]);
    assert!(!text.contains("QQQ"));
}

#[test]
fn locations_are_taken_apart() {
    let of = |provider, prefix: &str| Ok(Location::Bucket { provider, prefix: prefix.into() });
    for (url, provider, prefix) in [
        ("s3://backups", Provider::S3, ""),
        ("s3://backups/a/b/", Provider::S3, "a/b"),
        ("s3a://backups/a", Provider::S3, "a"),
        ("gs://backups.example.org/a", Provider::Gcs, "a"),
        ("az://backups/a", Provider::Azure, "a"),
        ("azure://backups", Provider::Azure, ""),
        ("abfss://backups@account.dfs.core.windows.net/a/b", Provider::Azure, "a/b"),
        ("https://account.blob.core.windows.net/backups/a/b", Provider::Azure, "a/b"),
        ("https://s3.eu-central-1.amazonaws.com/backups/a", Provider::S3, "a"),
        ("https://backups.s3.eu-central-1.amazonaws.com/a", Provider::S3, "a"),
    ] {
        assert_eq!(Location::parse(url), of(provider, prefix), "{url}");
    }
    for (url, what) in [
        ("gcs://backups", "gs://"),
        ("az://Backups", "a container's name"),
        ("az://account:key@backups", "carries no credentials"),
        ("abfss://backups@account/a", "the account's host"),
        ("https://key:secret@account.blob.core.windows.net/backups", "carries no credentials"),
        ("https://store.example.org/backups", "by an option"),
        ("memory:///", "unknown scheme"),
    ] {
        assert!(
            Location::parse(url).unwrap_err().0.contains(what) || Location::parse(url).unwrap_err().1.contains(what),
            "{url}"
        );
    }
    assert_eq!(Location::parse("file:///var/my%20backups"), Ok(Location::File("/var/my backups".into())));
    let (config, _) = good(&smallest().replace("s3://backups/etcd", "file:///var/backups/"), &control_plane());
    assert_eq!(config.stores[0].url, "file:///var/backups");
    assert_eq!(config.stores[0].location().unwrap(), Location::File("/var/backups".into()));
}

#[test]
fn an_options_file_adds_secrets_and_wins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s3.yaml");
    let lines = format!("s3://backups/etcd\n    options: {{ region: a }}\n    options_file: {}", path.display());
    let (config, _) = good(&smallest().replace("s3://backups/etcd", &lines), &control_plane());
    let store = &config.stores[0];
    assert_eq!(store.all_options().unwrap_err().reason, Reason::HostIo);
    std::fs::write(&path, "secret_access_key: hunter2\nregion: b\n").unwrap();
    let options = store.all_options().unwrap();
    assert_eq!(options["secret_access_key"], "hunter2");
    assert_eq!(options["region"], "b");
    std::fs::write(&path, "secret_acces_key: hunter2\n").unwrap();
    let error = store.all_options().unwrap_err();
    assert_eq!(error.reason, Reason::Config);
    holds(&error.message, &["s3.yaml:1:19: secret_acces_key: unknown option", "did you mean `secret_access_key`?"]);
    assert!(!error.message.contains("hunter2"));
    std::fs::write(&path, "").unwrap();
    holds(&store.all_options().unwrap_err().message, &["the file is empty", "write options"]);
}

#[test]
fn a_store_from_flags_is_checked_like_one_from_a_file() {
    let pair = |key: &str, value: &str| (key.to_string(), value.to_string());
    let store =
        StoreConfig::from_options("s3://backups", &[pair("secret_access_key", "x"), pair("allow_http", "true")])
            .unwrap();
    assert_eq!(store.options["allow_http"], "true");
    assert_eq!(store.name, "main");
    let error = StoreConfig::from_options("s3://B", &[pair("regoin", "x")]).unwrap_err();
    assert_eq!(error.reason, Reason::Usage);
    holds(&error.message, &["command line: --store: a bucket's name", "--store-option.regoin: unknown option"]);
    assert!(StoreConfig::from_options("file:///var/b", &[]).is_ok());
}

#[test]
fn keys_are_checked() {
    holds(&change(RECIPIENT, "age1abc"), &["keys.recipients[0]: `age1abc` is no recipient"]);
    holds(&change(RECIPIENT, "recovery.pub"), &["`recovery.pub` is no recipient", "absolute path"]);
    let signing = |text: &str| change("{ backup: /run/secrets/backup.sign.key }", text);
    holds(&signing("{ backup: /k, prove: /k }"), &["the roles backup and prove share one signing key"]);
    holds(&signing("{ bakcup: /k }"), &["unknown role `bakcup`: did you mean `backup`?", "has no key to sign with"]);
    holds(&signing("{ backup: k }"), &["expected an absolute path"]);
    let trusted = |text: &str| change("keys:\n", &format!("keys:\n  trusted_keys: {text}\n"));
    holds(&trusted("{ operator: [RWxyz] }"), &["keys.trusted_keys.operator[0]: not a minisign public key"]);
    holds(
        &trusted("{ operator: [/a], prove: [/b, /a] }"),
        &["keys.trusted_keys.prove[1]: this key is trusted for operator"],
    );
    holds(&trusted(&format!("{{ operator: [{PUBLIC}], prove: [{PUBLIC}] }}")), &["one key under two roles"]);
    holds(&trusted("{ operator: /a }"), &["expected a list of public keys, found text"]);
}

#[test]
fn roles_have_what_they_need() {
    let (config, _) = good("cluster: a\nstores: [{ url: \"file:///b\" }]\nroles: []\n", &MapEnv::default());
    assert!(config.roles.is_empty() && config.etcd.is_none());
    holds(&change("cluster:", "roles: [operator]\ncluster:"), &["the operator is a person"]);
    holds(&change("cluster:", "roles: [backup, prov]\ncluster:"), &["did you mean `prove`?"]);
    let prove = change("cluster:", "roles: [prove]\ncluster:");
    holds(&prove, &["keys.signing_keys.prove: the role prove runs here", "keys.identity_file: is missing"]);
    let prune = change("cluster:", "roles: [prune]\ncluster:");
    holds(&prune, &["keep: is missing", "schedule.prune: is missing", "no key is trusted for prove"]);
    let by_default = smallest()
        .replace("keys:\n", "keep: { daily: 3 }\nkeys:\n  identity_file: /i\n")
        .replace("{ backup: /run", "{ prove: /p, prune: /u, backup: /run")
        .replace("schedule: { ", "schedule: { prune: \"17 3 * * *\", ");
    let (config, warnings) = good(&by_default, &control_plane());
    assert_eq!(config.roles, BTreeSet::from([Role::Backup, Role::Prove, Role::Prune]));
    assert_eq!(warnings, Vec::<String>::new());
    let (_, warnings) = good(&by_default.replace("cluster:", "roles: [backup]\ncluster:"), &control_plane());
    holds(
        &warnings.join("\n"),
        &["keys.identity_file: this agent does not prove", "schedule.prune: has no effect: prune is not among"],
    );
}

#[test]
fn booted_needs_an_etcd() {
    let text = full().replace("etcd: { \"3.5\": /opt/etcd-3.5/etcd, \"3.6\": /opt/etcd-3.6/etcd }", "");
    let findings = bad(&text, &control_plane());
    holds(&findings[0].to_string(), &["proof.level: booted needs an etcd to boot", "put etcd on PATH"]);
    let mut env = control_plane();
    env.programs.insert("etcd".into(), "/usr/bin/etcd".into());
    good(&text, &env);
    good(&text.replace("level: booted", "level: sound"), &control_plane());
    let mut gone = control_plane();
    gone.files.remove(Path::new("/opt/etcd-3.5/etcd"));
    let (_, warnings) = good(&full(), &gone);
    holds(&warnings.join("\n"), &["proof.etcd[\"3.5\"]: /opt/etcd-3.5/etcd is not there"]);
    holds(&change("cluster:", "proof: { etcd: { v3: /e } }\ncluster:"), &["`v3` is no minor version"]);
    holds(
        &change(
            "cluster:",
            "proof: { level: deep, scratch: { dir: x, max: 12GB }, reread: 0s, sample: 101% }\ncluster:",
        ),
        &[
            "proof.level: unknown value `deep`",
            "proof.scratch.dir: expected an absolute path",
            "proof.scratch.max: expected a size like 12GiB, found `12GB`",
            "proof.reread: ",
            "proof.sample: expected a share from 0% to 100%, found `101%`",
        ],
    );
}

#[test]
fn lower_floors_and_idle_rules_are_allowed_with_a_warning() {
    let text = full()
        .replace("within: 48h, daily: 14, weekly: 8, monthly: 12, min_proven: 2", "last: 2, hourly: 0, min_proven: 1")
        .replace("grace: 24h, min_age: 72h", "grace: 5s, min_age: 0s");
    let (config, warnings) = good(&text, &control_plane());
    assert_eq!(config.prune.grace, Duration::from_secs(5));
    holds(
        &warnings.join("\n"),
        &[
            "warning: keep.hourly: 0 keeps nothing: this rule has no effect",
            "warning: keep.min_proven: 1 is below the default of 2",
            "warning: prune.grace: 5s is below the default of 24h",
            "warning: prune.min_age: 0s is below the default of 72h",
        ],
    );
    assert_eq!(warnings.len(), 4);
    let rules = "within: 48h, daily: 14, weekly: 8, monthly: 12, min_proven: 2";
    let findings = bad(&full().replace(rules, "min_proven: 3"), &control_plane());
    holds(&findings[0].to_string(), &["keep: no rule keeps anything"]);
    let findings = bad(&full().replace(rules, "daily: -1, within: 1h30m"), &control_plane());
    assert_eq!(findings.len(), 2, "{findings:?}");
    holds(&change("cluster:", "prune: { max_deletions: 0 }\ncluster:"), &["with 0 nothing is ever deleted"]);
}

#[test]
fn a_wrong_zone_and_address_are_explained() {
    holds(&change("cluster:", "time_zone: Europe/Berlni\ncluster:"), &["did you mean `Europe/Berlin`?"]);
    holds(&change("cluster:", "http: { listen: \":9797\" }\ncluster:"), &["`:9797` is no address", "0.0.0.0:9797"]);
    let (_, warnings) = good(&smallest().replace("cluster:", "limits: { stall: 20m }\ncluster:"), &control_plane());
    holds(&warnings.join("\n"), &["limits.stall: has no effect: limits.backup ends the run after 10m"]);
}

#[test]
fn a_blackout_moves_every_schedule_and_its_windows_are_explained() {
    let with = |blackout: &str| smallest().replace("schedule: { ", &format!("schedule: {{ blackout: {blackout}, "));
    let (config, warnings) = good(&with("[\"22:00-04:00\", sat 00:00-24:00]"), &control_plane());
    assert_eq!(warnings, Vec::<String>::new());
    let monday = chrono::DateTime::parse_from_rfc3339("2026-11-23T21:40:00Z").unwrap().to_utc();
    let next = config.schedule.backup.as_ref().unwrap().next_after(monday).unwrap();
    assert_eq!(next.to_rfc3339(), "2026-11-24T04:00:00+00:00");
    assert_eq!(config.schedule.blackout.texts(), ["22:00-04:00", "sat 00:00-24:00"]);
    let told = |blackout: &str| {
        let findings = bad(&with(blackout), &control_plane());
        findings.iter().map(|finding| format!("{finding}\n")).collect::<String>()
    };
    holds(&told("22:00-04:00"), &["schedule.blackout: expected a list of windows, found text"]);
    holds(
        &told("[\"22:00-04:00\", caturday 22:00-04:00]"),
        &["schedule.blackout[1]: `caturday 22:00-04:00` is no window"],
    );
    holds(&told("[00:00-24:00]"), &["schedule.blackout: the windows cover the whole week: nothing would ever run"]);
    let nightly = with("[\"22:00-04:00\"]").replace("*/30 * * * *", "0 2 * * *");
    let (_, warnings) = good(&nightly, &control_plane());
    let moved = "schedule.blackout: every time of schedule.backup falls into it: backup runs only when a window ends";
    holds(&warnings.join("\n"), &[moved]);
}

#[test]
fn the_environment_overrides_single_fields() {
    let env = vars(&[
        ("LIFEBOAT_CLUSTER", "other"),
        ("LIFEBOAT_HTTP_LISTEN", "0.0.0.0:1"),
        ("LIFEBOAT_LOG_LEVEL", "trace"),
        ("LIFEBOAT_SCRATCH_DIR", "/s"),
        ("LIFEBOAT_IDENTITY_FILE", "/i"),
        ("LIFEBOAT_SIGNING_KEY_BACKUP", "/b"),
        ("LIFEBOAT_SIGNING_KEY_PROVE", "/p"),
        ("LIFEBOAT_SIGNING_KEY_PRUNE", "/u"),
        ("LIFEBOAT_ETCD_CA_FILE", "/ca"),
        ("LIFEBOAT_ETCD_CERT_FILE", "/cert"),
        ("LIFEBOAT_ETCD_KEY_FILE", "/key"),
        ("LIFEBOAT_OPTIONS_FILE", "/o"),
    ]);
    assert_eq!(env.vars.len(), OVERRIDES.len(), "every variable is tried");
    let (config, _) = good(&smallest().replace("http://", "https://"), &env);
    assert_eq!(config.cluster.as_str(), "other");
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:1");
    assert_eq!(config.log.level, "trace");
    assert_eq!(config.proof.scratch_dir, Path::new("/s"));
    assert_eq!(config.keys.identity_file.as_deref(), Some(Path::new("/i")));
    let keys: Vec<_> = config.keys.signing_keys.values().map(|path| path.display().to_string()).collect();
    assert_eq!(keys, ["/b", "/p", "/u"]);
    let file = |path: &str| Some(PathBuf::from(path));
    let tls = Tls { ca_file: file("/ca"), cert_file: file("/cert"), key_file: file("/key") };
    assert_eq!(config.etcd.unwrap().tls, Some(tls));
    assert_eq!(config.stores[0].options_file, file("/o"));
    assert!(config.roles.contains(&Role::Prove));
}

#[test]
fn a_wrong_variable_is_named_and_dollar_braces_are_plain_text() {
    let findings = bad(&smallest(), &vars(&[("LIFEBOAT_HTTP_LISTEN", "nine"), ("LIFEBOAT_CLUSTER", "")]));
    let all: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    holds(
        &all,
        &[
            "LIFEBOAT_HTTP_LISTEN: http.listen: `nine` is no address",
            "LIFEBOAT_CLUSTER: cluster: `` is no cluster name",
        ],
    );
    let env = vars(&[("NAME", "prod")]);
    let findings = bad(&smallest().replace("prod-eu-1", "${NAME}"), &env);
    holds(&findings[0].to_string(), &["`${NAME}` is no cluster name"]);
}

#[test]
fn the_config_is_found_in_a_fixed_order() {
    let mut env = MapEnv::default();
    assert_eq!(find(None, &env).unwrap(), None);
    env.files.insert("/etc/lifeboat/rescue.yaml".into());
    assert_eq!(find(None, &env).unwrap(), Some("/etc/lifeboat/rescue.yaml".into()));
    env.files.insert("/etc/lifeboat/config.yaml".into());
    assert_eq!(find(None, &env).unwrap(), Some("/etc/lifeboat/config.yaml".into()));
    env.vars.insert(CONFIG_VAR.into(), "/there".into());
    assert_eq!(find(None, &env).unwrap(), Some("/there".into()));
    assert_eq!(find(Some(Path::new("/here")), &env).unwrap(), Some("/here".into()));
    env.vars.insert(CONFIG_VAR.into(), String::new());
    assert_eq!(find(None, &env).unwrap_err().reason, Reason::Config);
}

#[test]
fn this_process_finds_programs_and_files() {
    let shell = ProcessEnv.on_path("sh").expect("every machine has a shell");
    assert!(ProcessEnv.is_file(&shell));
    assert_eq!(ProcessEnv.on_path("no-such-program-here"), None);
    assert!(ProcessEnv.var("PATH").is_some());
}

/// Bits of YAML that together reach most corners of both parsers.
const BITS: &[&str] = &[
    "cluster",
    "etcd",
    "stores",
    "keys",
    "schedule",
    "keep",
    "proof",
    "roles",
    "http",
    "log",
    "url",
    "endpoints",
    "a",
    "0",
    ": ",
    ":",
    "- ",
    "-",
    "\n",
    "\n  ",
    "\n    ",
    "[",
    "]",
    "{",
    "}",
    ",",
    ", ",
    "? ",
    "|",
    ">",
    "|2-\n",
    "\"",
    "'",
    "\\",
    "\\x4",
    "&a",
    "*a",
    "!",
    "!!str ",
    "!<x>",
    "%",
    "%YAML 1.2\n",
    "---",
    "...",
    "\n---\n",
    "\n...\n",
    "#",
    " #c\n",
    "\t",
    " ",
    "~",
    "null",
    "@",
    "`",
    "<<",
    "\u{feff}",
    "\u{e9}",
    "\u{2028}",
    "\0",
    "\r",
    "\r\n",
    "s3://b",
    "*/5 * * * *",
];

fn yaml_bits() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(BITS), 0..40).prop_map(|bits| bits.concat())
}

/// A correct config with one stretch of it replaced.
fn damaged() -> impl Strategy<Value = String> {
    let whole = full();
    (0..whole.len(), 0..40usize, yaml_bits()).prop_map(move |(at, length, bits)| {
        let end = (at + length).min(whole.len());
        format!("{}{bits}{}", &whole[..at], &whole[end..])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        prop_assert!(told(&text));
    }

    #[test]
    fn no_yaml_panics(text in yaml_bits()) {
        prop_assert!(told(&text));
    }

    #[test]
    fn no_damage_panics(text in damaged()) {
        prop_assert!(told(&text));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(utf8(&bytes, "x").map(told).unwrap_or(true));
    }
}

/// Either a config, or at least one error that says what to do.
fn told(text: &str) -> bool {
    match Config::parse(text, "x", &control_plane()) {
        Ok((config, _)) => !effective(&config).is_empty(),
        Err(findings) => {
            findings.iter().any(Finding::is_error) && findings.iter().all(|f| !f.what.is_empty() && !f.fix.is_empty())
        }
    }
}
