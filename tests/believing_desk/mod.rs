//! What a desk in the hands of a test says: it believes whatever a token claims, and nothing is signed.

use std::sync::Arc;

use annulus::auth::rules::Rules;
use annulus::auth::{Claims, Identity, Principal, Proof, Revocations, Standing, TokenError};
use annulus::handover::{DeskEnd, FromDesk, Refused, Verified};

/// Answers what a shard has asked, as much as there is room for; whether that was anything.
pub fn answer(desk: &mut DeskEnd, standing: &Standing) -> bool {
    let mut has_answered = false;
    while !desk.to_shard.is_full()
        && let Ok(verify) = desk.from_shard.pop()
    {
        let outcome = believe(standing, &verify.credential);
        let verified = Verified { connection: verify.connection, outcome };
        desk.to_shard.push(FromDesk::Verified(verified)).unwrap();
        has_answered = true;
    }
    has_answered
}

/// Who a token names, by what is in force: it is the JSON of its claims, in quotes of either kind.
fn believe(standing: &Standing, token: &str) -> Result<Arc<Principal>, Refused> {
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
