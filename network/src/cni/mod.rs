//! Namespaces that CNI plugins wire (rows CFG-09, FLG-13), by version 1.0 of their specification.
//!
//! For each namespace the plugins of the configuration are called one after another with `ADD`, each
//! with the result of the one before it; to take it down, in the opposite order with `DEL`.
//!
//! Plugins keep notes of their own, such as the addresses that they gave, and only a `DEL` ends them. So
//! each namespace has a file in the state directory from before its `ADD` until after its `DEL`, with
//! all that the calls need. The next process makes those calls that a killed one did not.

mod config;
mod plugin;
mod record;

use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

use crate::CniOptions;
use crate::NetworkError;
use crate::error::Doing;
use crate::links::STEP_INTERFACE;
use crate::namespace;
use crate::pool::Wired;
use crate::pool::Wiring;
use config::NetworkList;
use plugin::Call;
use record::Record;
use record::Records;

/// Why plugins did not wire a namespace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CniError {
    /// The configuration cannot be used.
    #[error("cniConfigPath {path}: {reason}")]
    Config {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration names a plugin that is not there.
    #[error("cni plugin {plugin:?} of {config}: not found in {directory}")]
    Missing {
        /// The plugin's type.
        plugin: String,
        /// The file that names it.
        config: String,
        /// Where it was looked for.
        directory: String,
    },
    /// A plugin failed.
    #[error("cni plugin {plugin:?} of {config}: {command} failed: {reason}")]
    Failed {
        /// The plugin's type.
        plugin: String,
        /// The file that names it.
        config: String,
        /// `ADD` or `DEL`.
        command: &'static str,
        /// What it said.
        reason: String,
    },
    /// A note of a namespace could not be kept.
    #[error("{path}: {reason}")]
    Record {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// The plugins of one configuration.
pub(crate) struct Cni {
    list: NetworkList,
    config: String,
    plugins: PathBuf,
    records: Records,
}

impl Cni {
    /// Reads the configuration, makes up for what a killed process did not take down, and tries the
    /// plugins once.
    pub(crate) fn start(options: &CniOptions, state_dir: &Path) -> Result<Self, NetworkError> {
        let config = options.config.display().to_string();
        let list = config::read(&options.config)?;
        let records = Records::open(&state_dir.join("cni"))?;
        let mut cni = Self {
            list,
            config,
            plugins: options.plugins.clone(),
            records,
        };
        cni.sweep();
        let tried = cni.make("")?;
        cni.unmake(&tried)?;
        tracing::info!(
            "steps are on the network {:?} of {}",
            cni.list.name,
            cni.config
        );
        Ok(cni)
    }

    fn sweep(&self) {
        for (id, record) in self.records.all() {
            tracing::info!("taking down the network of a step, which a killed process left");
            // Its namespace is gone, which plugins have to expect.
            if let Err(error) = self.delete(&id, &record, "") {
                tracing::warn!(%error, "the network of a step was not taken down");
            }
            self.records.remove(&id);
        }
    }

    fn add(&self, id: &str, record: &mut Record, netns: &str) -> Result<(), CniError> {
        for plugin in &record.list.plugins {
            let config = record.list.config_of(plugin, record.result.as_ref());
            let result = self.call("ADD", id, &record.args, netns, &config)?;
            record.result = Some(result).filter(|result| !result.is_null());
        }
        Ok(())
    }

    /// Calls all plugins, whatever the others say. Returns what the first that failed said.
    fn delete(&self, id: &str, record: &Record, netns: &str) -> Result<(), CniError> {
        let mut deleted = Ok(());
        for plugin in record.list.plugins.iter().rev() {
            let config = record.list.config_of(plugin, record.result.as_ref());
            let called = self.call("DEL", id, &record.args, netns, &config);
            deleted = deleted.and(called.map(drop));
        }
        deleted
    }

    fn call(
        &self,
        command: &'static str,
        id: &str,
        args: &str,
        netns: &str,
        config: &Value,
    ) -> Result<Value, CniError> {
        plugin::call(&Call {
            command,
            id,
            args,
            netns,
            interface: STEP_INTERFACE,
            config,
            file: &self.config,
            plugins: &self.plugins,
        })
    }
}

impl Wiring for Cni {
    fn make(&mut self, hostname: &str) -> Result<Wired, NetworkError> {
        let namespace = namespace::make().doing(|| "make a network namespace")?;
        let id = record::new_id().doing(|| "make an id")?;
        let netns = plugin::path_of(&namespace.fd);
        let mut record = Record {
            list: self.list.clone(),
            args: plugin::arguments(hostname),
            result: None,
        };
        self.records.write(&id, &record)?;
        let added = self
            .add(&id, &mut record, &netns)
            .and_then(|()| self.records.write(&id, &record));
        if let Err(error) = added {
            // What the first plugins did is undone; that the others did nothing is no matter.
            drop(self.delete(&id, &record, &netns));
            self.records.remove(&id);
            return Err(error.into());
        }
        Ok(Wired {
            namespace: namespace.fd,
            name: id,
        })
    }

    fn unmake(&mut self, wired: &Wired) -> Result<(), NetworkError> {
        let record = self.records.read(&wired.name)?;
        let netns = plugin::path_of(&wired.namespace);
        let deleted = self.delete(&wired.name, &record, &netns);
        self.records.remove(&wired.name);
        Ok(deleted?)
    }

    fn tells_hostname(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("by the CNI plugins of {}", self.config)
    }
}
