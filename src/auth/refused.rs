//! Why a credential is not believed.

use super::TokenError;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Token(TokenError),
    UnknownKey,
    Revoked,
    /// Who it names may not use this server.
    Forbidden,
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl Refused {
    /// In a few words; nothing of the credential is in them.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Token(error) => error.text(),
            Self::UnknownKey => "there is no such API key",
            Self::Revoked => "it was revoked",
            Self::Forbidden => "this identity may not use this server",
        }
    }

    /// All that [`Self::reason`] may say.
    pub const REASONS: [&str; 8] = [
        "malformed",
        "unknown_key",
        "signature",
        "time",
        "audience",
        "unknown_api_key",
        "revoked",
        "forbidden",
    ];

    /// Its place in [`Self::REASONS`]: what is to be told apart by who looks at many.
    pub const fn reason(self) -> usize {
        match self {
            Self::Token(error) => match error {
                TokenError::TooLong
                | TokenError::Malformed
                | TokenError::Type
                | TokenError::Critical
                | TokenError::Claims
                | TokenError::NoExpiry
                | TokenError::Identity(_) => 0,
                TokenError::UnknownKey => 1,
                TokenError::Signature => 2,
                TokenError::Expired | TokenError::NotYet => 3,
                TokenError::Issuer | TokenError::Audience => 4,
            },
            Self::UnknownKey => 5,
            Self::Revoked => 6,
            Self::Forbidden => 7,
        }
    }
}
