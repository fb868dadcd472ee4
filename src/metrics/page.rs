//! The whole page of `GET /metrics`, wherever it is asked for.

use super::{
    AdminMetrics, DeskMetrics, HookMetrics, Metrics, ProcessMetrics, StorageMetrics, render_tls_reloads,
};

/// What is on it: the sum of the shards, and what there is beside them.
pub struct Page<'a> {
    pub metrics: &'a Metrics,
    /// Of the storage, and whether it takes no writes.
    pub storage: Option<(&'a StorageMetrics, bool)>,
    pub desk: Option<&'a DeskMetrics>,
    /// How often certificates were read again and used, and could not be used.
    pub tls_reloads: Option<(u64, u64)>,
    pub hooks: Option<&'a HookMetrics>,
    pub admin: Option<&'a AdminMetrics>,
    pub process: ProcessMetrics,
    pub unix_ms: u64,
}

impl Page<'_> {
    /// In the Prometheus text format.
    pub fn render(&self) -> String {
        let mut page = String::new();
        self.metrics.render(&mut page);
        if let Some((storage, is_read_only)) = self.storage {
            storage.render(self.unix_ms, is_read_only, &mut page);
        }
        if let Some(desk) = self.desk {
            desk.render(&mut page);
        }
        if let Some(reloads) = self.tls_reloads {
            render_tls_reloads(reloads, &mut page);
        }
        if let Some(hooks) = self.hooks {
            hooks.render(self.unix_ms, &mut page);
        }
        if let Some(admin) = self.admin {
            admin.render(&mut page);
        }
        self.process.render(&mut page);
        page
    }
}
