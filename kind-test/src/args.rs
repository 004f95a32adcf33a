//! What a person types.

use clap::{Parser, Subcommand};

const ENVIRONMENT: &str = "\
Environment:
  KOTOBA_TEST_KUBECONFIG   use this cluster (three zones, a default storage class) and leave it up
  KOTOBA_TEST_LOAD_IMAGE   command that gives an image to its nodes; gets ARCHIVE and TAG as arguments
  KOTOBA_TEST_LDBC         folder of the LDBC mini data; a graph of its size is made up where it is absent
  KOTOBA_TEST_ARTIFACTS    where a failed step leaves what there was to see (default target/kind-test/artifacts)
  KOTOBA_CACHE             programs and state of the self-made Kubernetes (default ~/.cache/kotoba)
  KOTOBA_KEEP              true: as --keep

Without KOTOBA_TEST_KUBECONFIG, kind is used where it and a Docker engine are there, else kind-test/cluster (root).";

#[derive(Parser, Debug)]
#[command(
    name = "kind-test",
    about = "End-to-end tests of KotobaDB on a real Kubernetes",
    after_help = ENVIRONMENT
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs all steps in order; exits 77 where no Kubernetes can be had
    Run(RunArgs),
    /// Lists the steps
    Steps,
    /// Leaves a Kubernetes with the operator and the sample cluster running
    Up,
    /// Removes what `up` made
    Down,
}

#[derive(Parser, Debug, Default)]
pub struct RunArgs {
    /// Leave everything running afterwards, also after a failure
    #[arg(long, env = "KOTOBA_KEEP", value_parser = clap::builder::FalseyValueParser::new(), num_args = 0..=1, default_missing_value = "true")]
    pub keep: bool,
    /// Run this step alone, or these, with commas, in the order of a run, on what an earlier run with --keep has left
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Stop after this step
    #[arg(long, value_name = "STEP", env = "KOTOBA_TEST_UNTIL", conflicts_with = "only")]
    pub until: Option<String>,
}
