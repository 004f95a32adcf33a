//! Members of a peer as processes: started, killed and started again, asked what they cost, ended with their handle.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};

/// Below those that the system gives to connections: a member that is down would lose its port to one of them.
const PORTS: Range<u16> = 10_000..32_000;
const PORT_ATTEMPTS: u32 = 1_000;

/// One member.
pub struct Process {
    program: PathBuf,
    args: Vec<String>,
    folder: PathBuf,
    child: Child,
}

impl Process {
    /// What it prints goes to a file in its folder.
    pub fn start(program: &Path, args: &[String], folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Process {
            child: spawn(program, args, folder)?,
            program: program.to_owned(),
            args: args.to_owned(),
            folder: folder.to_owned(),
        })
    }

    /// As a power failure would, but for what the system still holds for the disk.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("killing a member")?;
        self.child.wait().context("waiting for the end of a member")?;
        Ok(())
    }

    /// As Kubernetes ends a pod: it may do what it has to do first.
    pub fn terminate(&self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("asking a member to end")
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        let ended = self.child.try_wait().context("asking whether a member has ended")?;
        Ok(ended.is_some())
    }

    /// Starts it again after its end.
    pub fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.program, &self.args, &self.folder)?;
        Ok(())
    }

    /// Where all is that is its own.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Processor time until now.
    pub fn cpu(&self) -> Result<Duration> {
        let ticks = ticks_of(&self.read("stat")?).context("/proc/PID/stat has another form")?;
        Ok(Duration::from_secs_f64(
            ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        ))
    }

    /// Memory that it has in use.
    pub fn memory_mib(&self) -> Result<f64> {
        mib_of(&self.read("status")?, "VmRSS").context("a member has ended")
    }

    /// The most that it had in use.
    pub fn peak_memory_mib(&self) -> Result<f64> {
        mib_of(&self.read("status")?, "VmHWM").context("a member has ended")
    }

    fn read(&self, file: &str) -> Result<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).context("a member has ended")
    }
}

fn spawn(program: &Path, args: &[String], folder: &Path) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log"));
    let log = log.context("making a member's log")?;
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("sharing a member's log")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))
}

/// User and system time in clock ticks. The name before may hold anything, but ends with the last bracket.
fn ticks_of(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// A line of /proc/PID/status that is in KiB.
pub fn mib_of(status: &str, name: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
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
    let mut attempts = 0;
    while held.len() < N {
        let port = rand::rng().random_range(PORTS);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            ports[held.len()] = port;
            held.push(listener);
        }
        attempts += 1;
        ensure!(attempts < PORT_ATTEMPTS, "no port is free");
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
    fn memory_is_found_by_its_name() {
        let status = "Name:\tVmRSS\nVmHWM:\t    4096 kB\nVmRSS:\t    1536 kB\n";
        assert_eq!(mib_of(status, "VmRSS"), Some(1.5));
        assert_eq!(mib_of(status, "VmHWM"), Some(4.0));
        assert_eq!(mib_of("", "VmRSS"), None);
    }

    #[test]
    fn a_process_that_works_costs_time_also_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let busy = ["-c".to_owned(), "while :; do :; done".to_owned()];
        let mut process = Process::start(Path::new("/bin/sh"), &busy, folder.path()).unwrap();
        process.kill().unwrap();
        process.restart().unwrap();
        let begin = std::time::Instant::now();
        while process.cpu().unwrap() < Duration::from_millis(20) {
            assert!(begin.elapsed() < Duration::from_secs(20), "it costs nothing");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_process_that_is_asked_to_end_may_do_something_first() {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let script = format!(
            "trap 'echo handed over; exit' TERM; : > {}; while :; do :; done",
            ready.display()
        );
        let mut process = Process::start(Path::new("/bin/sh"), &["-c".to_owned(), script], folder.path()).unwrap();
        let begin = std::time::Instant::now();
        let wait = |is_over: &mut dyn FnMut() -> bool| {
            while !is_over() {
                assert!(begin.elapsed() < Duration::from_secs(20), "it does not get on");
                std::thread::yield_now();
            }
        };
        wait(&mut || ready.exists());
        assert!(!process.has_ended().unwrap());
        process.terminate().unwrap();
        wait(&mut || process.has_ended().unwrap());
        let said = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(said, "handed over\n");
    }

    #[test]
    fn a_panic_leaves_no_process_behind() {
        let folder = tempfile::tempdir().unwrap();
        let waits = ["-c".to_owned(), "read line".to_owned()];
        let process = Process::start(Path::new("/bin/sh"), &waits, folder.path()).unwrap();
        let here = PathBuf::from(format!("/proc/{}", process.child.id()));
        assert!(here.exists());
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _process = process;
            panic!("on purpose");
        }));
        assert!(panics.is_err() && !here.exists());
    }
}
