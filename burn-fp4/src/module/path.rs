//! Where a traversal is.

/// Names of the modules entered, outermost first.
#[derive(Debug, Default)]
pub(super) struct Path(Vec<String>);

impl Path {
    pub fn enter(&mut self, name: &str) {
        self.0.push(name.to_string());
    }

    pub fn exit(&mut self) {
        self.0.pop();
    }

    /// The names joined by dots, as parameter groups and records have them.
    pub fn joined(&self) -> String {
        self.0.join(".")
    }
}

/// Container type with which Burn enters a reparameterization.
pub(super) const REPARAMETERIZATION: &str = "Reparameterization";
