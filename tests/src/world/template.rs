//! One store with backups in it, made once for all tests that need no live etcd; each test takes a copy.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::{World, copy_dir, keyspace};
use crate::real_etcd::Etcd;
use crate::server::Server;

#[derive(Debug)]
struct Template {
    dir: PathBuf,
    /// A process that does nothing: its leash removes the folder when the tests have ended.
    _keeper: Server,
}

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let made = World::new(Etcd::V3_6);
        made.run(&["backup", "--wait-proven", "2m"]).expect_code(0);
        keyspace::put(made.etcd(), "/registry/configmaps/default/newer", "written after the proven backup");
        made.run(&["backup"]).expect_code(0);
        let dir = tempfile::Builder::new().prefix("lifeboat-template-").tempdir().expect("a temporary folder").keep();
        for name in ["keys", "store"] {
            copy_dir(&made.path(name), &dir.join(name));
        }
        let keeper = Server::start_owning(Command::new("/bin/sleep").arg("100000"), &dir.join("log"), &dir);
        Template { dir, _keeper: keeper }
    })
}

pub(super) fn copy() -> World {
    let dir = tempfile::Builder::new().prefix("lifeboat-world-").tempdir().expect("a temporary folder");
    for name in ["keys", "store"] {
        copy_dir(&template().dir.join(name), &dir.path().join(name));
    }
    World::with_keys(dir, None, None)
}
