//! What a check found, in words that name what is lost rather than where a byte is wrong.

use std::fmt;

use crate::{Error, Revision};

/// Something that is wrong.
#[derive(Debug)]
pub struct Finding {
    /// What it is about.
    pub subject: Subject,
    /// What is wrong, with the place in the file.
    pub error: Error,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A tree as a whole.
    Tree(TreeName),
    /// Entries of a tree that cannot be reached: those after one key, up to and including another. `None` is the
    /// beginning, or the end.
    Entries {
        /// The tree.
        tree: TreeName,
        /// The last key before them.
        after: Option<String>,
        /// The last of them.
        up_to: Option<String>,
    },
    /// A document: what the trees say of it cannot be right, or it cannot be reached.
    Document {
        /// Its id.
        id: String,
    },
    /// The content of a revision is lost.
    Revision {
        /// The document.
        id: String,
        /// The revision.
        revision: Revision,
        /// Whether it is a deletion, with which usually nothing is lost.
        deleted: bool,
    },
    /// The content of an attachment is lost.
    Attachment {
        /// The document.
        id: String,
        /// The revision.
        revision: Revision,
        /// The attachment's name.
        name: String,
    },
    /// Who may read and administer the database.
    Security,
    /// The properties given at the database's creation.
    Properties,
}

/// The trees of database and view files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeName {
    /// Documents by their ids.
    ById,
    /// Documents by their last updates.
    BySeq,
    /// Local documents.
    Local,
    /// Purges by their ids.
    PurgesByUuid,
    /// Purges by their numbers.
    PurgesBySeq,
    /// In a view file: which rows a document gave.
    ViewById,
    /// In a view file: the rows of one of the views.
    View(u32),
}

impl Subject {
    /// The document it is about, if it is about one.
    pub fn document(&self) -> Option<&str> {
        match self {
            Self::Document { id } | Self::Revision { id, .. } | Self::Attachment { id, .. } => Some(id),
            Self::Tree(_) | Self::Entries { .. } | Self::Security | Self::Properties => None,
        }
    }
}

impl fmt::Display for TreeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ById => f.write_str("the tree of documents by id"),
            Self::BySeq => f.write_str("the tree of documents by update"),
            Self::Local => f.write_str("the tree of local documents"),
            Self::PurgesByUuid => f.write_str("the tree of purges by id"),
            Self::PurgesBySeq => f.write_str("the tree of purges by number"),
            Self::ViewById => f.write_str("the view's tree of documents"),
            Self::View(number) => write!(f, "the tree of view {number}"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(tree) => tree.fmt(f),
            Self::Entries { tree, after, up_to } => {
                write!(f, "{tree}")?;
                match after {
                    Some(after) => write!(f, ", after {after}")?,
                    None => f.write_str(", from the beginning")?,
                }
                match up_to {
                    Some(up_to) => write!(f, " up to {up_to}"),
                    None => f.write_str(" to the end"),
                }
            }
            Self::Document { id } => write!(f, "document {id:?}"),
            Self::Revision { id, revision, deleted: false } => write!(f, "document {id:?}, revision {revision}"),
            Self::Revision { id, revision, deleted: true } => {
                write!(f, "document {id:?}, deletion {revision}")
            }
            Self::Attachment { id, revision, name } => {
                write!(f, "document {id:?}, revision {revision}, attachment {name:?}")
            }
            Self::Security => f.write_str("the security object"),
            Self::Properties => f.write_str("the database's properties"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.error)
    }
}
