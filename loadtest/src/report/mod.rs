//! What a run found: figures, their medians over several runs, a page for people and a file for programs.

pub mod figures;
pub mod file;
mod lines;
pub mod page;
pub mod table;
