//! Who a client is and what it may do. This version of the server takes no tokens, so that everybody is anonymous and may
//! do everything; whoever lets tokens in decides in here.

use super::frame::Fields;
use super::refusal::Refusal;
use crate::wire::json::write_string;

/// What may be done to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// A client that has said who it is, or need not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    can_read: Documents,
    can_write: Documents,
    is_admin: bool,
}

/// Some documents, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Documents {
    All,
    #[cfg_attr(not(test), expect(dead_code, reason = "tokens name them"))]
    Some(Vec<String>),
}

impl Identity {
    /// Whoever comes to a server that asks nobody.
    pub fn anonymous() -> Self {
        Self {
            user: "anonymous".to_owned(),
            can_read: Documents::All,
            can_write: Documents::All,
            is_admin: false,
        }
    }

    /// Appends what `auth_success` says.
    pub fn write_to(&self, fields: &mut Fields<'_>) {
        fields.text("userId", &self.user);
        let out = fields.begin("permissions");
        out.extend_from_slice(b"{\"canRead\":");
        self.can_read.write_to(out);
        out.extend_from_slice(b",\"canWrite\":");
        self.can_write.write_to(out);
        out.extend_from_slice(if self.is_admin { b",\"isAdmin\":true}" } else { b",\"isAdmin\":false}" });
    }
}

impl Documents {
    fn include(&self, document: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(documents) => documents.iter().any(|named| named == document),
        }
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::All => out.extend_from_slice(b"[\"*\"]"),
            Self::Some(documents) => {
                out.push(b'[');
                for (index, document) in documents.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(out, document);
                }
                out.push(b']');
            }
        }
    }
}

/// Whether a client may do this.
///
/// # Errors
/// [`Refusal::NotAuthenticated`] to who has yet to say who it is, [`Refusal::PermissionDenied`].
pub fn check<'a>(identity: Option<&Identity>, access: Access, document: &'a str) -> Result<(), Refusal<'a>> {
    let identity = identity.ok_or(Refusal::NotAuthenticated)?;
    let documents = match access {
        Access::Read => &identity.can_read,
        Access::Write => &identity.can_write,
    };
    if identity.is_admin || documents.include(document) {
        Ok(())
    } else {
        Err(Refusal::PermissionDenied { document })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_may_do_what_was_given() {
        let some = |names: &[&str]| Documents::Some(names.iter().map(|&name| name.to_owned()).collect());
        let mut reader =
            Identity { can_read: some(&["a", "b"]), can_write: some(&["b"]), ..Identity::anonymous() };
        assert_eq!(check(Some(&reader), Access::Read, "a"), Ok(()));
        assert_eq!(check(Some(&reader), Access::Write, "b"), Ok(()));
        assert_eq!(
            check(Some(&reader), Access::Write, "a"),
            Err(Refusal::PermissionDenied { document: "a" })
        );
        reader.is_admin = true;
        assert_eq!(check(Some(&reader), Access::Write, "c"), Ok(()));
        assert_eq!(check(Some(&Identity::anonymous()), Access::Write, "c"), Ok(()));
        assert_eq!(check(None, Access::Read, "a"), Err(Refusal::NotAuthenticated));
    }
}
