//! `kotoba completion`: what a shell needs to complete this command.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CliError};

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kotoba completion bash     to be sourced: source <(...), in .bashrc for good
  kotoba completion zsh      to a file _kotoba on the fpath
  kotoba completion fish     to a file ~/.config/fish/completions/kotoba.fish")]
pub struct CompletionArgs {
    shell: Shell,
}

pub(super) fn run(args: CompletionArgs) -> Result<(), CliError> {
    Ok(io::stdout().write_all(&script(args.shell))?)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kotoba", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).unwrap();
            assert!(script.contains("traverse") && script.contains("drain"), "{shell}");
        }
    }
}
