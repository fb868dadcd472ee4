//! What a desk in the hands of a test says: it believes whatever a token claims, and nothing is signed.

use std::sync::Arc;

use annulus::auth::rules::Rules;
use annulus::auth::{Claims, Identity, Principal, Proof, Revocations, Standing, TokenError};
use annulus::handover::Refused;

/// Who a token names, by what is in force: it is the JSON of its claims, in quotes of either kind.
pub fn believe(standing: &Standing, token: &str) -> Result<Arc<Principal>, Refused> {
    let claims = token.replace('\'', "\"");
    let claims: Claims = serde_json::from_str(&claims).map_err(|_| Refused::Token(TokenError::Malformed))?;
    let identity = Identity::of_claims(&claims, "roles").map_err(|bad| Refused::Token(bad.into()))?;
    if standing.revocations.are_about(&identity, &Proof::Token) {
        return Err(Refused::Revoked);
    }
    let grant = standing.granted(&identity);
    Ok(Arc::new(Principal { identity, grant, proof: Proof::Token }))
}

/// Those rules, or none where the text is empty, and those revocations.
pub fn standing(rules: &str, revoked: Revocations) -> Arc<Standing> {
    let parsed = (!rules.is_empty()).then(|| Arc::new(Rules::parse(rules).unwrap()));
    Arc::new(Standing { rules: parsed, revocations: Arc::new(revoked) })
}
