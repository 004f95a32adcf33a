//! How far long work is: a bar on stderr for a person who watches, nothing where nobody does.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Format;

/// Shown only on a terminal, and only where the output is for people. Gone when it is dropped.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
}

impl Bar {
    pub(super) fn start(format: Format, total: u64) -> Self {
        let is_watched = format == Format::Table && io::stderr().is_terminal();
        Bar {
            bar: is_watched.then(|| ProgressBar::new(total).with_style(style())),
        }
    }

    pub(super) fn advance(&self, position: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(message());
        }
    }

    /// For work whose end moves while it goes on.
    pub(super) fn set_total(&self, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    /// Says something that stays, also where no bar is shown.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("kotoba: {text}")),
            None => eprintln!("kotoba: {text}"),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{bar:30} {percent}%  {msg}  {elapsed} so far, {eta} to go");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}
