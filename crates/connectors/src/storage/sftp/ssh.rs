//! The system's `ssh`, which knows its user's keys, agent, configuration and known hosts, and what its words mean.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::SftpOptions;

/// Seconds to wait for a connection.
const CONNECT_SECONDS: u32 = 20;
/// Seconds of silence after which `ssh` asks whether the server is still there, and how often it asks in vain.
const ALIVE_SECONDS: u32 = 15;
const ALIVE_ASKED: u32 = 3;
/// More of what `ssh` says than this is not repeated.
const SAID_CHARS_MAX: usize = 300;

/// The command that connects to the server and speaks SFTP through its standard input and output.
pub(super) fn command(options: &SftpOptions) -> Command {
    let mut command = Command::new("ssh");
    // `ssh` takes the first value it gets, so that these win over its configuration files.
    for option in ["BatchMode=yes", "StrictHostKeyChecking=yes", "ControlPath=none", "ForwardAgent=no"] {
        command.arg("-o").arg(option);
    }
    command.arg("-o").arg(format!("ConnectTimeout={CONNECT_SECONDS}"));
    command.arg("-o").arg(format!("ServerAliveInterval={ALIVE_SECONDS}"));
    command.arg("-o").arg(format!("ServerAliveCountMax={ALIVE_ASKED}"));
    if let Some(file) = &options.known_hosts_file {
        // Quoted, since it may be a list of several.
        command.arg("-o").arg(format!("UserKnownHostsFile=\"{}\"", literal(file)));
        command.args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "UpdateHostKeys=no"]);
    }
    if let Some(file) = &options.private_key_file {
        command.arg("-i").arg(literal(file)).args(["-o", "IdentitiesOnly=yes"]);
    }
    if let Some(port) = options.port {
        command.arg("-p").arg(port.to_string());
    }
    if let Some(user) = &options.user {
        command.arg("-l").arg(user);
    }
    command.args(["-T", "-x", "-s", "--"]).arg(&options.host).arg("sftp");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Away from the terminal's group: it ends when we say so, and not at the first Ctrl-C, with a lock left to remove.
    command.process_group(0);
    command
}

/// A path as `ssh` takes it: it gives percent signs a meaning of its own.
fn literal(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

/// Why there is no connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Denied(String),
    MayPass(String),
    Final(String),
}

/// What it means that `ssh` ended with `said` on its standard error.
pub(super) fn reason(options: &SftpOptions, said: &str) -> Reason {
    let lines: Vec<&str> =
        said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('@')).collect();
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    let line = |text: &str| short(lines.iter().rev().find(|line| line.contains(text)).copied().unwrap_or_default());
    let (host, port) = (&options.host, options.port.unwrap_or(22));
    let file = options.known_hosts_file.as_ref();
    let file = file.map_or_else(|| "~/.ssh/known_hosts".to_owned(), |file| file.display().to_string());
    let name = if port == 22 { host.clone() } else { format!("[{host}]:{port}") };
    if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return Reason::Final(format!(
            "the host key of {host} has changed: the server was set up anew, or somebody is in between. Ask whoever runs \
             it. If all is well, remove the old key (ssh-keygen -f '{file}' -R '{name}') and add the new one"
        ));
    }
    if has("Host key verification failed") || has("host key is known") {
        return Reason::Final(format!(
            "the host key of {host} is not known. Compare what `ssh-keyscan -p {port} {host} | ssh-keygen -lf -` prints \
             with the server's own fingerprint, then add the key (ssh-keyscan -p {port} {host} >> '{file}')"
        ));
    }
    if has("Permission denied (") || has("Too many authentication failures") {
        // Why a key was not even offered stands before it.
        let before = lines.iter().find(|line| line.contains("Identity file") || line.starts_with("Load key"));
        let before = before.map(|line| format!(" ({})", short(line))).unwrap_or_default();
        let text = if has("Permission denied (") { "Permission denied (" } else { "Too many" };
        return Reason::Denied(format!("log in: {}{before}", line(text)));
    }
    if has("subsystem request failed") {
        return Reason::Final("the server offers no SFTP; switch its SFTP subsystem on".to_owned());
    }
    match lines.last() {
        // What stands in the command line or a configuration file will be wrong the next time, too.
        Some(last) if last.contains("Bad configuration option") || last.contains("terminating,") => {
            Reason::Final(format!("ssh: {}", short(last)))
        }
        Some(last) => Reason::MayPass(format!("ssh: {}", short(last))),
        None => Reason::MayPass("the connection ended".to_owned()),
    }
}

fn short(line: &str) -> String {
    line.chars().filter(|char| !char.is_control()).take(SAID_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> SftpOptions {
        SftpOptions {
            user: Some("me".into()),
            host: "nas".into(),
            port: Some(2222),
            path: "/backup".into(),
            private_key_file: Some("/etc/100%/key".into()),
            known_hosts_file: Some("/etc/known hosts".into()),
        }
    }

    #[test]
    fn the_key_and_the_known_hosts_are_those_that_were_given_and_nobody_is_asked() {
        let command = command(&options());
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_str().unwrap()).collect();
        let line = arguments.join(" ");
        for part in [
            "-o BatchMode=yes",
            "-o StrictHostKeyChecking=yes",
            "-o UserKnownHostsFile=\"/etc/known hosts\"",
            "-i /etc/100%%/key -o IdentitiesOnly=yes",
            "-p 2222 -l me",
            "-s -- nas sftp",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[test]
    fn what_ssh_says_becomes_what_to_do() {
        let reason = |said: &str| reason(&options(), said);
        let changed = "@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n@@@@@\r\nIT IS POSSIBLE\r\n\
                       Host key verification failed.\r\n";
        assert!(matches!(reason(changed), Reason::Final(what)
            if what.contains("has changed") && what.contains("ssh-keygen -f '/etc/known hosts' -R '[nas]:2222'")));
        let unknown = "No ED25519 host key is known for nas and you have requested strict checking.\r\n\
                       Host key verification failed.";
        assert!(matches!(reason(unknown), Reason::Final(what) if what.contains("ssh-keyscan -p 2222 nas")));
        let denied = "Warning: Identity file /etc/key not accessible: No such file or directory.\r\n\
                      me@nas: Permission denied (publickey).\r\n";
        assert_eq!(
            reason(denied),
            Reason::Denied(
                "log in: me@nas: Permission denied (publickey). (Warning: Identity file /etc/key not accessible: No such \
                 file or directory.)"
                    .into()
            )
        );
        let refused = "ssh: connect to host nas port 2222: Connection refused\r\n";
        assert!(matches!(reason(refused), Reason::MayPass(what) if what.contains("Connection refused")));
        assert!(matches!(reason("subsystem request failed on channel 0"), Reason::Final(_)));
        assert!(matches!(reason(""), Reason::MayPass(_)));
    }
}
