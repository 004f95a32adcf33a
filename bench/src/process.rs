//! Members of a peer as processes: started, asked what they cost, ended with their handle.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

/// One member.
pub struct Process {
    child: Child,
}

impl Process {
    /// What it prints goes to a file in its folder.
    pub fn start(program: &Path, args: &[String], folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let log = File::create(folder.join("log")).context("making a member's log")?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("sharing a member's log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Process { child })
    }

    /// Processor time until now.
    pub fn cpu(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).context("a member has ended")?;
        let ticks = ticks_of(&text).context("/proc/PID/stat has another form")?;
        Ok(Duration::from_secs_f64(
            ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        ))
    }
}

/// User and system time in clock ticks. The name before may hold anything, but ends with the last bracket.
fn ticks_of(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that were free just now.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_are_found_behind_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0";
        assert_eq!(ticks_of(stat), Some(300));
        assert_eq!(ticks_of("42 (x"), None);
    }

    #[test]
    fn a_process_that_works_costs_time() {
        let folder = tempfile::tempdir().unwrap();
        let busy = ["-c".to_owned(), "while :; do :; done".to_owned()];
        let process = Process::start(Path::new("/bin/sh"), &busy, folder.path()).unwrap();
        let begin = std::time::Instant::now();
        while process.cpu().unwrap() < Duration::from_millis(20) {
            assert!(begin.elapsed() < Duration::from_secs(20), "it costs nothing");
            std::thread::yield_now();
        }
    }
}
