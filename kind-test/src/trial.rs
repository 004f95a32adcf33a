//! What the steps of one run share: the Kubernetes, the images, the data set, the ledger, and a way to the database.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use kotoba_proto::v1::GetStatusResponse;
use kube::Client;

use crate::database::member::Member;
use crate::database::{Database, status};
use crate::graph::compare::compare;
use crate::graph::mapping::Mapping;
use crate::graph::sample::Walk;
use crate::graph::{Graph, files, generated};
use crate::helm::Helm;
use crate::images::Images;
use crate::kubernetes::events::Events;
use crate::kubernetes::pods::Pods;
use crate::kubernetes::reach::{self, Reach};
use crate::kubernetes::resource::Resource;
use crate::platform::Platform;
use crate::say::say;
use crate::settings::{Installation, Settings};
use crate::wait::{self, until};
use crate::writer::{self, Ledger, Writer};

/// The label of a cluster's pods, as documented.
pub const CLUSTER_LABEL: &str = "kotoba.dev/cluster";

/// The data set that is loaded, and what it must become.
#[derive(Debug)]
pub struct DataSet {
    pub folder: std::path::PathBuf,
    pub mapping: std::path::PathBuf,
    pub graph: Graph,
}

pub struct Trial {
    pub settings: Settings,
    pub installation: Installation,
    pub platform: Platform,
    pub kube: Client,
    pub images: Option<Images>,
    pub ledger: Ledger,
    /// Lines of the summary.
    pub figures: Vec<String>,
    reach: Option<Reach>,
    data: Option<Arc<DataSet>>,
}

impl Trial {
    pub fn new(settings: Settings, installation: Installation, platform: Platform, kube: Client) -> Self {
        Trial {
            settings,
            installation,
            platform,
            kube,
            images: None,
            ledger: Ledger::default(),
            figures: Vec::new(),
            reach: None,
            data: None,
        }
    }

    pub fn resource(&self) -> Resource {
        Resource::new(&self.kube, self.installation.namespace, self.installation.cluster)
    }

    /// The members' pods.
    pub fn pods(&self) -> Pods {
        let selector = format!("{CLUSTER_LABEL}={}", self.installation.cluster);
        Pods::new(&self.kube, self.installation.namespace, &selector)
    }

    pub fn events(&self) -> Events {
        Events::new(&self.kube, self.installation.namespace, self.installation.cluster)
    }

    pub fn operator_pods(&self) -> Pods {
        Pods::new(&self.kube, self.installation.operator_namespace, "")
    }

    pub fn helm(&self) -> Helm<'_> {
        Helm::new(&self.settings, &self.platform.kubeconfig, self.installation)
    }

    /// host:port of the client service, reachable from here.
    pub async fn address(&mut self) -> Result<String> {
        if let Some(reach) = &self.reach {
            return Ok(reach.address.clone());
        }
        let namespace = self.installation.namespace;
        let service = reach::find_service(&self.kube, namespace).await?;
        let kubeconfig = &self.platform.kubeconfig;
        let reach = reach::open(&self.settings, kubeconfig, namespace, &service).await?;
        Ok(self.reach.insert(reach).address.clone())
    }

    /// A new connection, which may reach another member than the last one.
    pub async fn database(&mut self) -> Result<Member> {
        Member::connect(&self.address().await?)
    }

    pub async fn status(&mut self) -> Result<GetStatusResponse> {
        Ok(self.database().await?.status().await?)
    }

    /// The LDBC mini data, or a made-up graph of its size.
    pub fn data(&mut self) -> Result<Arc<DataSet>> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let mapping = self.settings.repository.join("docs/examples/ldbc-mini.toml");
        let folder = match &self.settings.ldbc {
            Some(ldbc) => ldbc.join("data"),
            None => self.generate()?,
        };
        let graph = files::read(&folder, &Mapping::read(&mapping)?)?;
        say(format!(
            "{} has {} nodes and {} edges",
            folder.display(),
            graph.nodes.len(),
            graph.edges.len()
        ));
        let data = Arc::new(DataSet { folder, mapping, graph });
        Ok(self.data.insert(data).clone())
    }

    fn generate(&self) -> Result<std::path::PathBuf> {
        let folder = self.settings.scratch.join("generated");
        say("the LDBC mini data is absent: making up a graph of its size");
        generated::write(&folder)?;
        Ok(folder)
    }

    /// Starts the writer on connections of its own.
    pub async fn writer(&mut self) -> Result<Writer> {
        let address = self.address().await?;
        Writer::start(&self.ledger, || Member::connect(&address)).await
    }

    /// Ends the writer and keeps its figures.
    pub async fn finish(&mut self, writer: Writer, during: &str) -> Result<writer::Report> {
        let report = writer.finish().await?;
        self.figures.push(format!("{during}: {report}"));
        Ok(report)
    }

    /// The same, where no client may have seen anything of it.
    pub async fn finish_unharmed(&mut self, writer: Writer, during: &str) -> Result<writer::Report> {
        let report = self.finish(writer, during).await?;
        ensure!(
            report.failed() == 0,
            "{} requests failed during {during}:{}",
            report.failed(),
            writer::lines(&report.failures)
        );
        Ok(report)
    }

    /// Waits till the resource is Ready and every member, partition and voter is in place.
    pub async fn wait_until_whole(&mut self, members: usize, limit: Duration) -> Result<GetStatusResponse> {
        let resource = self.resource();
        let address = self.address().await?;
        let status = until("whole cluster", limit, || async {
            let status = Member::connect(&address)?.status().await?;
            Ok(match status::not_whole(&status, members) {
                None => wait::Seen::Done(status),
                Some(reason) => wait::Seen::Waiting(reason),
            })
        })
        .await?;
        resource.wait_for("Ready", "True", limit).await?;
        Ok(status)
    }

    /// Everything that must be in the database is there: the loaded graph, and every acknowledged write.
    pub async fn verify(&mut self) -> Result<()> {
        let data = self.data()?;
        let database = self.database().await?;
        let walk = Walk {
            space: "Person".to_owned(),
            kind: friendship(&data.graph)?,
        };
        compare(&database, &data.graph, &walk).await?;
        writer::check::check(&database, &self.ledger).await
    }

    /// Every acknowledged write is there. After a step that moves no data: reading the whole graph takes longer than most.
    pub async fn verify_writes(&mut self) -> Result<()> {
        writer::check::check(&self.database().await?, &self.ledger).await
    }

    /// Closes the way to a service that is about to go.
    pub fn close_reach(&mut self) {
        self.reach = None;
    }

    pub fn images(&self) -> Result<&Images> {
        self.images.as_ref().context("the step `images` has not run")
    }
}

/// The type of the edges between persons: there is one such file in the data set.
fn friendship(graph: &Graph) -> Result<String> {
    let between = |edge: &&crate::graph::EdgeRecord| edge.source.space == "Person" && edge.target.space == "Person";
    let edge = graph.edges.iter().find(between);
    let edge = edge.ok_or_else(|| anyhow!("the data set has no edges between persons"))?;
    Ok(edge.kind.clone())
}
