//! `lifeboat restore --to DIR --nodes NAME,…`: the databases of a CouchDB, or of all nodes of a cluster together, laid out
//! for exactly these nodes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use connectors::source::couchdb::{self, ClusterPlan, Contest};
use operations::in_place::host_paths;
use operations::manifest::SourceRecord;
use operations::{Fault, FaultKind, restore};
use repository::restore::Options;
use repository::{Clock as _, walk};

use super::{Chosen, incomplete};
use crate::output::{Outcome, count};

/// What is restored, and where to.
struct Layout<'a> {
    sources: Vec<(&'a str, &'a SourceRecord)>,
    /// The sources' names.
    names: Vec<&'a str>,
    plan: ClusterPlan,
    /// The data folder of the source whose shard map counts, below the root of a host.
    data: PathBuf,
}

impl Chosen<'_> {
    /// Restores into `target`, or into a folder for each node below it.
    pub(super) fn to_cluster(&self, target: &Path, copy: &str) -> Result<Outcome, Fault> {
        let app = self.app;
        let nodes: Vec<_> = self.arguments.couch_files.nodes.iter().map(|node| node.0.clone()).collect();
        if let Some(twice) = nodes.iter().enumerate().find(|(number, node)| nodes[..*number].contains(node)) {
            return Err(Fault::new(FaultKind::Usage, format!("{} is named twice", twice.1)));
        }
        let sources: Vec<_> = self.couchdb.sources().collect();
        let facts: Vec<_> = sources.iter().map(|(name, record)| (*name, &record.facts)).collect();
        let plan = couchdb::plan_cluster(&facts, &nodes)?;
        let data = couchdb::data_folder(facts[plan.first].1, Path::new(""));
        let data = data.ok_or_else(|| Fault::new(FaultKind::Unsupported, "the snapshot names no data folder"))?;
        let names = sources.iter().map(|(name, _)| *name).collect();
        let layout = Layout { sources, names, plan, data };
        let wanted = self.wanted(&layout)?;
        let (cx, tree) = (app.cx(), &self.snapshot.tree);
        if self.arguments.dry_run {
            let mut preview = restore::Preview::default();
            for (path, _) in &wanted {
                preview.add(restore::preview(&cx, self.repository, self.index, tree, path)?);
            }
            let to = format!("to {}, for {}", target.display(), count(nodes.len() as u64, "node"));
            return self.would_restore(target, copy, preview, &to, &layout.plan.problems(&layout.names));
        }
        let started = app.run.clock.now();
        let options = Options { keep_damaged: self.arguments.keep_damaged, ..Options::for_this_process() };
        let restored = restore::several_to_new_place(&cx, self.repository, self.index, tree, &wanted, target, options);
        app.run.progress.finish();
        let restored = restored.map_err(|error| incomplete(error, target))?;
        let problems = self.lay_out(&layout, target)?;
        self.report(target, copy, started, restored, problems, None)
    }

    /// The paths in the snapshot, each with its path below the target.
    fn wanted(&self, layout: &Layout<'_>) -> Result<Vec<(PathBuf, PathBuf)>, Fault> {
        let mut wanted = Vec::new();
        for (number, node) in layout.plan.nodes.iter().enumerate() {
            let data = layout.data_below(number);
            for (source, file) in &node.files {
                let (name, record) = layout.sources[*source];
                let from = couchdb::data_folder(&record.facts, Path::new(name)).unwrap_or_default();
                wanted.push((from.join(file), data.join(file)));
            }
        }
        for (source, file) in layout.plan.contests.iter().flat_map(|contest| &contest.copies) {
            let (name, record) = layout.sources[*source];
            let from = couchdb::data_folder(&record.facts, Path::new(name)).unwrap_or_default();
            wanted.push((from.join(file), Contest::place(name, file)));
        }
        // CouchDB's own configuration, each file of the host once: it stays with the first.
        let mut taken = BTreeSet::new();
        for (name, record) in &layout.sources {
            let data = couchdb::data_folder(&record.facts, Path::new("/")).unwrap_or_default();
            for host in host_paths(record) {
                if host.starts_with(&data) || data.starts_with(&host) || !taken.insert(host.clone()) {
                    continue;
                }
                let below = host.strip_prefix("/").unwrap_or(&host);
                let path = Path::new(name).join(below);
                if walk::find(self.repository, self.index, &self.snapshot.tree, &path)?.is_some() {
                    wanted.push((path, layout.root(0).join(below)));
                }
            }
        }
        Ok(wanted)
    }

    /// Takes the best of the copies that had to be read, reads everything back, and writes the shard maps for the nodes.
    /// Gives what is wrong, and what was decided.
    fn lay_out(&self, layout: &Layout<'_>, target: &Path) -> Result<Vec<String>, Fault> {
        let (app, plan) = (self.app, &layout.plan);
        let mut wrong = plan.missing();
        let mut decided = plan.left_out.clone();
        for contest in &plan.contests {
            let data = target.join(layout.data_below(contest.node));
            let settled = couchdb::settle(contest, &layout.names, target, &data, &app.run.cancel)?;
            if settled.is_usable { &mut decided } else { &mut wrong }.push(settled.told);
        }
        couchdb::tidy(target);
        if plan.differing > 0 {
            app.output().chat(format!(
                "of {} the copies differ: the one with the most documents was taken, and what only another had is not in it",
                count(plan.differing as u64, "shard")
            ));
        }
        let mut folders = Vec::new();
        for (number, node) in plan.nodes.iter().enumerate() {
            let folder = target.join(layout.data_below(number));
            for (source, (_, record)) in layout.sources.iter().enumerate() {
                let files = node.files.iter().filter(|(from, _)| *from == source).map(|(_, file)| file.clone());
                let found = couchdb::check_files(&folder, &files.collect::<Vec<_>>(), &record.facts, &app.run.cancel)?;
                wrong.extend(found.into_iter().map(|what| format!("{}: {what}", node.node)));
            }
            folders.push((node.node.clone(), folder));
        }
        let databases = match couchdb::write_cluster(&folders, &plan.lacking, &app.run.cancel) {
            Ok(databases) => databases,
            Err(repository::SourceError::Cancelled) => return Err(repository::SourceError::Cancelled.into()),
            Err(error) => {
                wrong.push(error.to_string());
                0
            }
        };
        for (node, folder) in &folders {
            app.output().text(format!("{node}: its data folder is {}", folder.display()));
        }
        app.output().chat(
            "left out: indexes of Nouveau and Clouseau, which are built anew; the nodes' vm.args have to name them",
        );
        if wrong.is_empty() {
            let of_nodes = count(folders.len() as u64, "node");
            let of_databases = count(databases as u64, "database");
            let read_back = match decided.is_empty() {
                true => "every document and attachment was read back",
                false => {
                    "what is told as a problem is not in them, or was decided for you: look at it before you start them"
                }
            };
            app.output().text(format!("{of_databases} laid out for {of_nodes}: {read_back}"));
            for (name, record) in &layout.sources {
                let (needed, why) = couchdb::needed_version(&record.facts);
                app.output().chat(format!("{name}: start CouchDB {needed} or newer on it: {why}"));
            }
        } else {
            app.output().text(super::couch_files::START_NONE);
        }
        wrong.append(&mut decided);
        Ok(wrong)
    }
}

impl Layout<'_> {
    /// Where what a host has lies below the target, for a node by its number.
    fn root(&self, node: usize) -> PathBuf {
        match &self.plan.nodes[..] {
            [_] => PathBuf::new(),
            nodes => PathBuf::from(&nodes[node].node),
        }
    }

    fn data_below(&self, node: usize) -> PathBuf {
        self.root(node).join(&self.data)
    }
}
