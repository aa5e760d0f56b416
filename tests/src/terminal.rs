//! A terminal with somebody at it, for programs that ask a person for what nobody else may see.

use std::path::Path;
use std::process::Command;

use crate::tools;

/// Each answer is typed once its question stands on the screen and what is typed is no longer shown.
const DRIVER: &str = r#"
import os, pty, select, sys, termios, time
program, answers = sys.argv[1:sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1:]
pid, screen = pty.fork()
if pid == 0:
    os.execv(program[0], program)
shown, seen, until = b"", 0, time.monotonic() + 60
while time.monotonic() < until:
    asked = answers and answers[0].encode() in shown[seen:]
    if asked and not termios.tcgetattr(screen)[3] & termios.ECHO:
        seen = len(shown)
        os.write(screen, answers[1].encode() + b"\n")
        answers = answers[2:]
    if select.select([screen], [], [], 0.1)[0]:
        try:
            more = os.read(screen, 4096)
        except OSError:
            more = b""
        if not more:
            break
        shown += more
else:
    os.kill(pid, 9)
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
"#;

/// Runs a program at a terminal of its own; `answers` are questions and what is typed after each. Its code and all it showed.
pub fn at_terminal(program: &Path, arguments: &[&str], answers: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(tools::python());
    command.args(["-c", DRIVER]).arg(program).args(arguments).arg("--");
    for (question, answer) in answers {
        command.args([question, answer]);
    }
    let output = command.env_clear().env("PATH", "/usr/bin:/bin").output().expect("python starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}
